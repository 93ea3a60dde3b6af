//! The context of an actor, the message that it handles, and its access to the mesh.

use std::{ops::Deref, rc::Rc, time::Duration};

use serde::de::DeserializeOwned;

use crate::{
    Failure, FromPayload, Header, IntoPayload, Payload, Request, Sleep,
    mesh::{Mesh, Wiring},
};

/// The actor's address and settings, and the mesh. A `#[start]` function gets this; handlers get it as a part of
/// [`Call`].
///
/// Targets and topics may begin with `.:`, which stands for the actor's app. The host sends messages when the actor
/// awaits or returns. If the actor traps before that, the host sends nothing.
#[derive(Clone)]
pub struct Context {
    pub(crate) wiring: Rc<Wiring>,
}

impl Context {
    /// The actor's own address, including its key.
    pub fn address(&self) -> &str {
        &self.wiring.address
    }

    /// The name of this mechtron in the module.
    pub fn mechtron(&self) -> &str {
        &self.wiring.mechtron
    }

    /// The merged settings of the mechtron's config and of the app. Missing settings are an empty object.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        let text = if self.wiring.settings.is_empty() { "{}" } else { &self.wiring.settings };
        serde_json::from_str(text)
            .map_err(|error| Failure::internal(format!("the settings of {} are invalid: {error}", self.address())))
    }

    /// Makes a request to any address. Await it for the reply. Several requests can run at the same time: see
    /// [`join`](crate::join), [`join_all`](crate::join_all) and [`Request::send`].
    pub fn request(
        &self,
        target: impl Into<String>,
        operation: impl Into<String>,
        payload: impl IntoPayload,
    ) -> Request {
        Request::new(Rc::clone(&self.wiring), target.into(), operation.into(), payload.into_payload())
    }

    /// Reads a file of the app's bundle: `/templates/page.html`. The content type of the payload is the file's media
    /// type.
    pub fn bundle(&self, path: &str) -> Request {
        self.request(".:bundle", "read", crate::Json(BundleRead { path }))
    }

    /// Sends a one-way message. Fails only if the payload can't be made.
    pub fn notify(&self, target: &str, operation: &str, payload: impl IntoPayload) -> Result<(), Failure> {
        let mut payload = payload.into_payload()?;
        let stream = payload.open_stream(self.wiring.streams.as_ref())?;
        self.mesh().notify(target, operation, payload, stream);
        Ok(())
    }

    /// Emits an event of this actor's bind to all subscribers of `<own address>#<event>`. Fails if the payload is a stream: an event
    /// has no single reader.
    pub fn emit(&self, event: &str, payload: impl IntoPayload) -> Result<(), Failure> {
        let payload = payload.into_payload()?;
        if payload.attached.is_some() {
            return Err(Failure::internal(format!(
                "the event `{event}` has a stream: send it with `request` or `notify`"
            )));
        }
        self.mesh().emit(event, payload);
        Ok(())
    }

    /// Subscribes to a topic, `address#event`. The subscription belongs to the actor's address, and survives a restart
    /// and an upgrade.
    pub fn subscribe(&self, topic: &str) {
        self.mesh().subscribe(topic);
    }

    /// Ends a subscription.
    pub fn unsubscribe(&self, topic: &str) {
        self.mesh().unsubscribe(topic);
    }

    /// Calls the `#[wake]` method with this token after a delay. The timer survives sleep, a restart and an upgrade.
    pub fn wake_after(&self, delay: Duration, token: u32) {
        self.wiring.set_timer(delay, token.into());
    }

    /// Calls the `#[wake]` method with this token at a time, in milliseconds since the Unix epoch; at once if it is past. The timer
    /// survives sleep, a restart and an upgrade.
    pub fn wake_at(&self, unix_ms: u64, token: u32) {
        self.mesh().wake_at(unix_ms, token.into());
    }

    /// Waits in a method. The host does not put the actor to sleep meanwhile. A crash ends the method and the wait.
    pub fn sleep(&self, delay: Duration) -> Sleep {
        Sleep::new(Rc::clone(&self.wiring), delay)
    }

    /// Milliseconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        self.mesh().now_ms()
    }

    /// Returns 64 random bits of cryptographic quality.
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

/// The kind of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request, whose sender waits for the reply.
    Request,
    /// A one-way message: the handler's result is ignored, and a failure is logged.
    Notify,
    /// An event of a topic to which the actor has subscribed.
    Event,
    /// A timer with its token.
    Wake(u32),
}

/// The message of a handler, and everything of [`Context`].
pub struct Call {
    pub(crate) context: Context,
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    pub(crate) sender: String,
    pub(crate) caller: String,
    pub(crate) operation: String,
    pub(crate) headers: Vec<Header>,
    /// When the sender stops waiting, in milliseconds since the epoch.
    pub(crate) deadline: Option<u64>,
}

impl Call {
    /// The actor's context, for a stream that goes on after the method has returned.
    pub fn context(&self) -> Context {
        self.context.clone()
    }

    /// The kind: request, notify, event or wake.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The operation, or the name of the event.
    pub fn operation(&self) -> &str {
        &self.operation
    }

    /// The address of the sender, which hosts set; for an event, the resource that emitted it.
    pub fn sender(&self) -> &str {
        &self.sender
    }

    /// The host of the sender, `~…`, if it is another host. Put it before `::` to reach resources there.
    pub fn sender_host(&self) -> Option<&str> {
        self.sender.starts_with('~').then(|| self.sender.split("::").next().unwrap_or_default())
    }

    /// The principal on whose behalf the message was sent; "" for an anonymous one.
    pub fn caller(&self) -> &str {
        &self.caller
    }

    /// The headers of the payload.
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// How long the sender still waits; `None` if there is no deadline.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| Duration::from_millis(deadline.saturating_sub(self.now())))
    }

    /// Returns whether this is an event of the topic: `acme:x:y#changes`, `.:y#changes` in the same app, `#changes` of
    /// any sender.
    #[doc(hidden)]
    pub fn is_of(&self, topic: &str) -> bool {
        let Some((source, event)) = topic.split_once('#') else { return false };
        if event != self.operation {
            return false;
        }
        let sender = self.sender.split_once("::").map_or(&*self.sender, |(_, address)| address);
        match source.strip_prefix(".:") {
            None => source.is_empty() || source == self.sender || source == sender,
            // An actor does not know the address of its app, but both addresses begin with it.
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
