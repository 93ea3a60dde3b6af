//! What a link reports to its node.

use bytes::Bytes;
use starlane_protocol::{Failure, StreamId};

use super::{Goodbye, Lost, Parcel};

/// An event of a link for its node.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    /// The peer sent a token, in its hello or to renew it. The node must answer with `admit`, `attach` or `end`.
    Hello { token: Option<String> },
    /// Our own token expires soon.
    Expiring,
    /// A new link is up.
    Up,
    /// The link has a socket again.
    Resumed,
    /// The peer no longer knows the earlier link. `Up` of a new one follows.
    Gap(Box<Lost>, Goodbye),
    /// The server knows this host as another principal than before.
    OtherPrincipal(String),
    /// A complete message arrived in one frame.
    Parcel(Box<Parcel>),
    /// A message arrived whose body follows. The body is dropped unless `keep` is called.
    Announced { of: u64, parcel: Box<Parcel>, length: usize },
    /// A message arrived whose stream follows, with the first bytes of it. It has no number in this host yet.
    Streaming { of: u64, parcel: Box<Parcel>, first: Bytes },
    /// The next bytes of a stream of the peer.
    Part { stream: StreamId, part: Bytes },
    /// A stream of the peer has ended: it is complete, or it failed.
    Ended { stream: StreamId, failure: Option<Failure> },
    /// The peer wants no more of a stream.
    Stopped { stream: StreamId, failure: Failure },
    /// The peer allows `limit` bytes of the stream in the frame `of`. The link handles it itself.
    Credit { of: u64, limit: u64 },
    /// The peer wants no more of the stream in the frame `of`. The link makes `Stopped` of it.
    Stop { of: u64, failure: Failure },
    /// The body of a kept message is complete.
    Complete(Box<Parcel>),
    /// The body of a kept message will not be complete.
    Late(Box<Parcel>, Failure),
    /// The socket has ended and the link stays; the last frame is still to be transmitted.
    Dropped(Goodbye),
    /// The link has ended; its last frame is still to be transmitted.
    Over(Goodbye),
}
