//! `GET /events/TOPIC`: the events of a topic as server-sent events, for `curl` and for `EventSource`.

use std::{convert::Infallible, time::Duration};

use axum::response::{
    IntoResponse, Response,
    sse::{Event, KeepAlive, Sse},
};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use futures_util::{Stream, StreamExt, future::BoxFuture, stream};
use serde_json::{Value, json};
use starlane_host::Item;
use starlane_protocol::{Failure, Payload, Topic};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};

use super::{Call, client::bearer};
use crate::{auth::Auth, handle::Handle, time::random};

/// The length of the stream part of an event's id, in characters of six random bits.
const ID: usize = 12;

/// Streams events on behalf of the bearer. An event is `data` with a JSON object `{ from, contentType, body }`: JSON as it is,
/// other text as a string, anything else as `{ "$bytes": … }` in base64. `event: gap` reports that events can be missing, and
/// `event: lagged` reports how many events a slow reader missed.
///
/// Events have ids, but are not stored: a reader that reconnects with `last-event-id` gets `event: gap` first.
pub(super) async fn stream(mut call: Call<'_>) -> Result<Response, Failure> {
    let ([topic], site, headers) = (call.captured()?, call.site, &call.parts.headers);
    call.principal()?;
    let token = bearer(headers)?.map(str::to_owned);
    let topic = Topic::parse(&topic).map_err(|error| Failure::malformed(error.to_string()))?;
    // The watch starts before the check, so that no change of permissions is missed.
    let (auth, changes) = (site.auth.clone(), site.auth.changes());
    let found = auth.authenticate(token.as_deref())?;
    let items = site.handle.subscribe(found.principal, topic.clone()).await?;
    let guard = Guard { auth, handle: site.handle.clone(), changes, token, topic };
    let refused = guard.refused(found.remaining_ms.map(Duration::from_millis));
    let returns = headers.get("last-event-id").is_some_and(|id| !id.is_empty());
    let events = Sse::new(events(items, Box::pin(refused), returns)).keep_alive(KeepAlive::default());
    // Otherwise nginx holds events until its buffer is full.
    Ok(([("x-accel-buffering", "no"), ("cache-control", "no-store")], events).into_response())
}

/// The listener of a stream, and its permission.
struct Guard {
    auth: Auth,
    handle: Handle,
    changes: watch::Receiver<()>,
    token: Option<String>,
    topic: Topic,
}

impl Guard {
    /// The time until the permission expires; none if it does not expire.
    async fn look(&self) -> Result<Option<Duration>, Failure> {
        let found = self.auth.authenticate(self.token.as_deref())?;
        self.handle.permit_topic(found.principal, self.topic.clone()).await?;
        Ok(found.remaining_ms.map(Duration::from_millis))
    }

    /// Waits until the permission ends, and returns the reason.
    async fn refused(mut self, mut ends: Option<Duration>) -> Failure {
        loop {
            let ended = async {
                match ends {
                    Some(remaining) => sleep(remaining).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = self.changes.changed() => {}
                () = ended => {}
            }
            match self.look().await {
                Ok(then) => ends = then,
                Err(failure) => return failure,
            }
        }
    }
}

/// The events until the subscription ends or is refused. `returns`: this reader had events earlier.
fn events(
    items: mpsc::Receiver<Item>,
    refused: BoxFuture<'static, Failure>,
    returns: bool,
) -> impl Stream<Item = Result<Event, Infallible>> {
    // No other stream has the same ids, also not one from before a restart of this server.
    let name: String = BASE64URL_NOPAD.encode(&random()).chars().take(ID).collect();
    // An id alone is not an event. A reader that reconnects names it, even if it never saw an event.
    let first = if returns { event(Item::Gap) } else { Event::default() };
    let later = stream::unfold(Some((items, refused)), async |open| {
        let (mut items, mut refused) = open?;
        tokio::select! {
            item = items.recv() => item.map(|item| (event(item), Some((items, refused)))),
            failure = &mut refused => Some((event(Item::Refused(failure)), None)),
        }
    });
    let all = stream::iter([first]).chain(later).enumerate();
    all.map(move |(number, event)| Ok(event.id(format!("{name}-{number}"))))
}

fn event(item: Item) -> Event {
    match item {
        Item::Event { from, payload } => {
            let about = json!({ "from": from, "contentType": payload.content_type, "body": body(&payload) });
            Event::default().data(about.to_string())
        }
        Item::Refused(failure) => {
            let about = json!({ "code": failure.code, "message": failure.message });
            Event::default().event("refused").data(about.to_string())
        }
        Item::Gap => Event::default().event("gap").data("{}"),
        Item::Lagged(missed) => Event::default().event("lagged").data(json!({ "missed": missed }).to_string()),
    }
}

fn body(payload: &Payload) -> Value {
    let json = payload.media_type() == "application/json";
    let value = json.then(|| serde_json::from_slice(&payload.body).ok()).flatten();
    value.unwrap_or_else(|| match std::str::from_utf8(&payload.body) {
        Ok(text) => Value::from(text),
        Err(_) => json!({ "$bytes": BASE64.encode(&payload.body) }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_shown_by_their_content_type() {
        for (content_type, bytes, shown) in [
            ("application/json", &b"{\"a\":1}"[..], json!({ "a": 1 })),
            ("application/json", b"{", json!("{")),
            ("text/plain", b"hi\n", json!("hi\n")),
            ("image/png", b"\x89PNG", json!({ "$bytes": "iVBORw==" })),
            ("", b"", json!("")),
        ] {
            assert_eq!(body(&Payload::new(content_type, bytes.to_vec())), shown);
        }
    }
}
