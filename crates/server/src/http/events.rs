//! `GET /events/TOPIC`: the events of a topic as server-sent events, for `curl` and for `EventSource`.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use data_encoding::BASE64;
use futures_util::{Stream, stream};
use serde_json::{Value, json};
use starlane_host::Item;
use starlane_protocol::{Failure, Payload, Topic};

use super::{Site, answer, messages::bearer};

/// Streams events on behalf of the bearer. An event is `data` with a JSON object `{ from, contentType, body }`: JSON as it is,
/// other text as a string, anything else as `{ "$bytes": … }` in base64. `event: gap` says that some may have been missed, and
/// `event: lagged` how many this reader was too slow for.
pub(super) async fn stream(State(site): State<Arc<Site>>, Path(topic): Path<String>, headers: HeaderMap) -> Response {
    let subscribed = async {
        site.auth.principal(bearer(&headers)?)?;
        let topic = Topic::parse(&topic).map_err(|error| Failure::malformed(error.to_string()))?;
        site.handle.subscribe(topic).await
    };
    match subscribed.await {
        Ok(items) => Sse::new(events(items)).keep_alive(KeepAlive::default()).into_response(),
        Err(failure) => answer::failure(&failure),
    }
}

fn events(items: tokio::sync::mpsc::Receiver<Item>) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(items, async |mut items| {
        let item = items.recv().await?;
        Some((Ok(event(item)), items))
    })
}

fn event(item: Item) -> Event {
    match item {
        Item::Event { from, payload } => {
            let about = json!({ "from": from, "contentType": payload.content_type, "body": body(&payload) });
            Event::default().data(about.to_string())
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
    fn bodies_are_shown_as_what_they_are() {
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
