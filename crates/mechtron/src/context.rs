//! What an actor knows of itself and of the message that it handles, and the mesh around it.

use std::{ops::Deref, rc::Rc, time::Duration};

use serde::de::DeserializeOwned;

use crate::{
    Failure, FromPayload, Header, IntoPayload, Payload, Request, Sleep,
    mesh::{Mesh, Wiring},
    request::millis,
};

/// The actor's own address and settings, and the mesh. A `#[start]` function gets it alone, handlers as part of [`Call`].
///
/// Targets and topics may begin with `.:`, which is the app that the actor belongs to. What is sent leaves the host
/// when the actor awaits or returns; if it traps before, nothing is sent.
#[derive(Clone)]
pub struct Context {
    pub(crate) wiring: Rc<Wiring>,
}

impl Context {
    /// The actor's own address, its key included.
    pub fn address(&self) -> &str {
        &self.wiring.address
    }

    /// Which mechtron of the module this is.
    pub fn mechtron(&self) -> &str {
        &self.wiring.mechtron
    }

    /// The settings of mechtron and app config. Missing settings are an empty object.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let text = if self.wiring.settings.is_empty() { "{}" } else { &self.wiring.settings };
        serde_json::from_str(text).map_err(|error| {
            Failure::internal(format!("the settings of {} do not fit what it expects: {error}", self.address()))
        })
    }

    /// A request to any address; await it for the reply. Several may be in flight: see [`join`](crate::join),
    /// [`join_all`](crate::join_all) and [`Request::send`].
    pub fn request(
        &self,
        target: impl Into<String>,
        operation: impl Into<String>,
        payload: impl IntoPayload,
    ) -> Request {
        Request::new(Rc::clone(&self.wiring), target.into(), operation.into(), payload.into_payload())
    }

    /// Reads a file of the bundle that this mechtron's app came from: `/templates/page.html`. Its media type is the
    /// content type of the payload.
    pub fn bundle(&self, path: &str) -> Request {
        self.request(".:bundle", "read", crate::Json(BundleRead { path }))
    }

    /// A one-way message. Fails only if the payload can't be made.
    pub fn notify(&self, target: &str, operation: &str, payload: impl IntoPayload) -> Result<(), Failure> {
        let payload = payload.into_payload()?;
        self.mesh().notify(target, operation, payload);
        Ok(())
    }

    /// Emits an event of this actor's own bind to all who subscribed to `<own address>#<event>`.
    pub fn emit(&self, event: &str, payload: impl IntoPayload) -> Result<(), Failure> {
        let payload = payload.into_payload()?;
        self.mesh().emit(event, payload);
        Ok(())
    }

    /// Subscribes to a topic, `address#event`. It belongs to the actor's address and survives restart and swap.
    pub fn subscribe(&self, topic: &str) {
        self.mesh().subscribe(topic);
    }

    /// Ends a subscription.
    pub fn unsubscribe(&self, topic: &str) {
        self.mesh().unsubscribe(topic);
    }

    /// Has the `#[wake]` method called with this token after a delay; survives sleep, restart and swap.
    pub fn wake_after(&self, delay: Duration, token: u32) {
        self.mesh().wake_after(millis(delay), token.into());
    }

    /// Waits inside a method. The actor is not put to sleep meanwhile; a crash ends the wait with the method.
    pub fn sleep(&self, delay: Duration) -> Sleep {
        Sleep::new(Rc::clone(&self.wiring), delay)
    }

    /// Milliseconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        self.mesh().now_ms()
    }

    /// 64 random bits of cryptographic quality.
    pub fn random(&self) -> u64 {
        self.mesh().random()
    }

    fn mesh(&self) -> &dyn Mesh {
        &*self.wiring.mesh
    }
}

#[derive(serde::Serialize)]
struct BundleRead<'a> {
    path: &'a str,
}

/// What a call of the actor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Somebody waits for the reply.
    Request,
    /// One-way: what the handler returns is ignored, a failure is logged.
    Notify,
    /// From a topic that the actor subscribed to.
    Event,
    /// A timer: the token that it was set with.
    Wake(u32),
}

/// The message that a handler answers, and everything of [`Context`].
pub struct Call {
    pub(crate) context: Context,
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    pub(crate) sender: String,
    pub(crate) caller: String,
    pub(crate) operation: String,
    pub(crate) headers: Vec<Header>,
    /// When nobody waits any more, in milliseconds since the epoch.
    pub(crate) deadline: Option<u64>,
}

impl Call {
    /// Request, notify, event or wake.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The operation, or for an event its name.
    pub fn operation(&self) -> &str {
        &self.operation
    }

    /// The address of who sent it, stamped by the hosts; for an event, the resource that emitted it.
    pub fn sender(&self) -> &str {
        &self.sender
    }

    /// The host that the sender is on, `~…`, when it is not this one: what to put before `::` to reach something there.
    pub fn sender_host(&self) -> Option<&str> {
        self.sender.starts_with('~').then(|| self.sender.split("::").next().unwrap_or_default())
    }

    /// The principal on whose behalf it comes; "" is anonymous.
    pub fn caller(&self) -> &str {
        &self.caller
    }

    /// The headers of the payload.
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// How long somebody still waits; `None` when there is no deadline.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| Duration::from_millis(deadline.saturating_sub(self.now())))
    }

    /// Whether this is an event of the topic: `acme:x:y#changes`, `.:y#changes` in the own app, `#changes` of anyone.
    #[doc(hidden)]
    pub fn is_of(&self, topic: &str) -> bool {
        let Some((source, event)) = topic.split_once('#') else { return false };
        if event != self.operation {
            return false;
        }
        let sender = self.sender.split_once("::").map_or(&*self.sender, |(_, address)| address);
        match source.strip_prefix(".:") {
            None => source.is_empty() || source == self.sender || source == sender,
            // The app's own address is not told to an actor; but both addresses begin with it.
            Some(name) => sender.strip_suffix(name).is_some_and(|app| {
                let own = self.address().split_once("::").map_or(self.address(), |(_, address)| address);
                app.ends_with(':') && own.starts_with(app)
            }),
        }
    }

    #[doc(hidden)]
    pub fn read<T: FromPayload>(payload: Payload) -> Result<T, Failure> {
        T::from_payload(payload)
    }
}

impl Deref for Call {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}
