//! What a link reports to its node.

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
    /// The body of a kept message is complete.
    Complete(Box<Parcel>),
    /// The body of a kept message was not complete in time.
    Late(Box<Parcel>),
    /// The socket has ended and the link stays; the last frame is still to be transmitted.
    Dropped(Goodbye),
    /// The link has ended; its last frame is still to be transmitted.
    Over(Goodbye),
}
