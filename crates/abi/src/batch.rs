//! Numbers of the calls and records between a host and a sandbox that runs elsewhere, such as in a worker of a page.
//! `starlane_host::batch` defines the bytes around them.

/// Calls into a guest.
pub mod call {
    /// `actor.start`.
    pub const START: u8 = 0;
    /// `actor.receive`.
    pub const RECEIVE: u8 = 1;
    /// `actor.settle`.
    pub const SETTLE: u8 = 2;
    /// `actor.wake`.
    pub const WAKE: u8 = 3;
    /// `actor.save`.
    pub const SAVE: u8 = 4;
    /// `stream-actor.part`.
    pub const PART: u8 = 5;
    /// `stream-actor.ended`.
    pub const ENDED: u8 = 6;
    /// `stream-actor.ready`.
    pub const READY: u8 = 7;
}

/// Records from a sandbox: calls of a guest into the mesh, and the ends of calls into the guest.
pub mod record {
    /// `mesh.request`.
    pub const REQUEST: u8 = 1;
    /// `mesh.notify`.
    pub const NOTIFY: u8 = 2;
    /// `mesh.reply`.
    pub const REPLY: u8 = 3;
    /// `mesh.emit`.
    pub const EMIT: u8 = 4;
    /// `mesh.subscribe`.
    pub const SUBSCRIBE: u8 = 5;
    /// `mesh.unsubscribe`.
    pub const UNSUBSCRIBE: u8 = 6;
    /// `mesh.wake-after`.
    pub const WAKE_AFTER: u8 = 7;
    /// `mesh.wake-at`.
    pub const WAKE_AT: u8 = 8;
    /// `mesh.open-stream`.
    pub const OPEN_STREAM: u8 = 9;
    /// `mesh.write`.
    pub const WRITE: u8 = 10;
    /// `mesh.finish`.
    pub const FINISH: u8 = 11;
    /// `mesh.grant`.
    pub const GRANT: u8 = 12;
    /// `mesh.cancel-stream`.
    pub const CANCEL_STREAM: u8 = 13;
    /// A call returned nothing.
    pub const DONE: u8 = 16;
    /// `start` returned an error.
    pub const REFUSED: u8 = 17;
    /// `receive` returned whether the message is finished.
    pub const RECEIVED: u8 = 18;
    /// `save` returned state.
    pub const SAVED: u8 = 19;
    /// A message does not match its schema; the guest was not called.
    pub const MISFIT: u8 = 20;
    /// The guest has no memory for a message or an outcome.
    pub const TOO_LARGE: u8 = 21;
    /// A message or an outcome has a stream, and the guest exports nothing for streams; it was not called.
    pub const NO_STREAMS: u8 = 22;
    /// A part or the end of a stream was not given to the guest: the stream has ended for a reason of the sandbox.
    pub const BAD_LINE: u8 = 23;
    /// The instance has ended.
    pub const CRASH: u8 = 24;
    /// `mesh.log`.
    pub const LOG: u8 = 25;
}
