//! The trait that `#[actor]` implements, and helpers for the generated code.

use std::{future::Future, pin::Pin};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Call, Context, Failure, IntoPayload, Outcome, Payload};

/// The state that one instance saves for the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// The author's number for the format of `data`; 0 for a mechtron without state.
    pub format: u32,
    /// The state.
    pub data: Vec<u8>,
}

/// A mechtron. `#[actor]` implements this from a plain `impl` block. By hand, implement three functions.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a mechtron",
    note = "put `#[mechtron::actor]` on its `impl` block"
)]
pub trait Actor: Sized + 'static {
    /// The topics to which the actor subscribes at each start.
    const TOPICS: &'static [&'static str] = &[];
    /// Whether an operation takes or returns a stream, so that [`export!`](crate::export) must be told about streams.
    const STREAMS: bool = false;

    /// Makes a new instance, from the state that an earlier one saved, if there is any. An error means that the actor
    /// can't start; the log shows it.
    fn start(context: &Context, saved: Option<Saved>) -> Result<Self, String>;

    /// Handles a request, a notify, an event or a wake. The next message waits until this future completes.
    fn handle(&mut self, call: &Call, payload: Payload) -> impl Future<Output = Outcome>;

    /// Returns the state for the next instance. It is called only between messages.
    fn save(&self) -> Result<Saved, String>;
}

/// The return type of a handler: a value that can be sent, or a `Result` of one.
#[diagnostic::on_unimplemented(
    message = "a handler can't return `{Self}`",
    note = "return `Json(value)`, `Text`, `Html`, `Bytes`, `Stream`, `Lines<T>`, `Payload`, `()`, or a `Result` of one of these and `Failure`"
)]
pub trait IntoOutcome {
    /// Converts the value into an outcome.
    fn into_outcome(self) -> Outcome;
}

impl<T: IntoPayload> IntoOutcome for T {
    fn into_outcome(self) -> Outcome {
        self.into_payload()
    }
}

impl<T: IntoPayload, E: Into<Failure>> IntoOutcome for Result<T, E> {
    fn into_outcome(self) -> Outcome {
        self.map_err(Into::into)?.into_payload()
    }
}

/// An actor of any type, so that a module can have several.
pub trait Running {
    /// Handles one message. The future owns the actor, and returns it.
    fn run(self: Box<Self>, call: Call, payload: Payload) -> Handling;
    /// See [`Actor::save`].
    fn save(&self) -> Result<Saved, String>;
}

/// The future that handles a message.
pub(crate) type Handling = Pin<Box<dyn Future<Output = (Box<dyn Running>, Outcome)>>>;

impl<A: Actor> Running for A {
    fn run(mut self: Box<Self>, call: Call, payload: Payload) -> Handling {
        Box::pin(async move {
            let outcome = self.handle(&call, payload).await;
            (self as Box<dyn Running>, outcome)
        })
    }

    fn save(&self) -> Result<Saved, String> {
        Actor::save(self)
    }
}

/// A function that starts one mechtron of a module.
pub type Starter = fn(&Context, Option<Saved>) -> Result<Box<dyn Running>, String>;

/// Returns the [`Starter`] of a type.
pub fn starter<A: Actor>() -> Starter {
    |context, saved| {
        let actor = A::start(context, saved)?;
        for topic in A::TOPICS {
            context.subscribe(topic);
        }
        Ok(Box::new(actor))
    }
}

/// Returns `None` if there is no saved state, also if a mechtron without state saved it.
pub fn fresh(saved: Option<Saved>) -> Option<Saved> {
    saved.filter(|saved| saved.format != 0 || !saved.data.is_empty())
}

/// A `#[migrate]` function.
type Migrate<A> = fn(u32, &[u8]) -> Result<A, String>;

/// Restores state: the present format with serde, and another format with `migrate`, if there is one.
pub fn restore<A: DeserializeOwned>(saved: Saved, format: u32, migrate: Option<Migrate<A>>) -> Result<A, String> {
    if saved.format == format {
        return serde_json::from_slice(&saved.data)
            .map_err(|error| format!("the saved state of format {format} can't be read: {error}"));
    }
    match migrate {
        Some(migrate) => migrate(saved.format, &saved.data).map_err(|error| {
            format!("the saved state of format {} can't be migrated to {format}: {error}", saved.format)
        }),
        None => Err(format!(
            "the saved state has format {}, but this version reads only format {format}: add a `#[migrate]` function",
            saved.format
        )),
    }
}

/// Returns the state in its present format.
pub fn snapshot<A: Serialize>(actor: &A, format: u32) -> Result<Saved, String> {
    let data = serde_json::to_vec(actor).map_err(|error| format!("the state can't be saved: {error}"))?;
    Ok(Saved { format, data })
}
