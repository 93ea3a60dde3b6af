//! What `#[actor]` implements, and the pieces that its code is made of.

use std::{future::Future, pin::Pin};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Call, Context, Failure, IntoPayload, Outcome, Payload};

/// State handed from one instance to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// The author's number for the layout of `data`; 0 is a mechtron without state.
    pub format: u32,
    /// The state.
    pub data: Vec<u8>,
}

/// A mechtron. `#[actor]` writes this from a plain `impl` block; by hand it is three functions.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no mechtron",
    note = "put `#[mechtron::actor]` on its `impl` block"
)]
pub trait Actor: Sized + 'static {
    /// What the actor is subscribed to at each start.
    const TOPICS: &'static [&'static str] = &[];

    /// A new instance, from what an earlier one saved, if any. An error refuses to start, and goes to the log.
    fn start(context: &Context, saved: Option<Saved>) -> Result<Self, String>;

    /// Deals with a request, a notify, an event or a wake. The next one waits until this future is done.
    fn handle(&mut self, call: &Call, payload: Payload) -> impl Future<Output = Outcome>;

    /// The state to hand on; only called between messages.
    fn save(&self) -> Result<Saved, String>;
}

/// What a handler may return: something that can be sent, or a `Result` of it.
#[diagnostic::on_unimplemented(
    message = "a handler can't return `{Self}`",
    note = "return `Json(value)`, `Text`, `Html`, `Bytes`, `Payload`, `()`, or a `Result` of one of these and `Failure`"
)]
pub trait IntoOutcome {
    /// Makes the outcome.
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

/// An actor whose type is forgotten, so that a module may hold several.
pub trait Running {
    /// Handles one message; the future owns the actor and gives it back.
    fn run(self: Box<Self>, call: Call, payload: Payload) -> Handling;
    /// See [`Actor::save`].
    fn save(&self) -> Result<Saved, String>;
}

/// A message being handled.
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

/// How to start one mechtron of a module.
pub type Starter = fn(&Context, Option<Saved>) -> Result<Box<dyn Running>, String>;

/// The [`Starter`] of a type.
pub fn starter<A: Actor>() -> Starter {
    |context, saved| {
        let actor = A::start(context, saved)?;
        for topic in A::TOPICS {
            context.subscribe(topic);
        }
        Ok(Box::new(actor))
    }
}

/// Whether to start afresh: nothing was saved, or by a mechtron without state.
pub fn fresh(saved: Option<Saved>) -> Option<Saved> {
    saved.filter(|saved| saved.format != 0 || !saved.data.is_empty())
}

/// A `#[migrate]` function.
type Migrate<A> = fn(u32, &[u8]) -> Result<A, String>;

/// State of the present format by serde; of another one by `migrate`, or not at all.
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
            "the saved state has format {}, this version reads format {format} only: give it a `#[migrate]` function",
            saved.format
        )),
    }
}

/// The state in its present format.
pub fn snapshot<A: Serialize>(actor: &A, format: u32) -> Result<Saved, String> {
    let data = serde_json::to_vec(actor).map_err(|error| format!("the state can't be saved: {error}"))?;
    Ok(Saved { format, data })
}
