//! A mechtron that does whatever a host test needs of a guest, good and bad.

use std::time::Duration;

use mechtron::{Call, Context, Failure, Header, Json, Kind, Payload, actor, log};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Saved between instances.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Echo {
    count: u64,
    last_event: Option<Seen>,
    woken: Vec<u32>,
    /// Memory that `grow` took; an instance's own.
    #[serde(skip)]
    hoard: Vec<Vec<u8>>,
}

/// The last event that came.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seen {
    from: String,
    event: String,
    body: Value,
}

/// `call`, `notify`: whom, what, and with which JSON.
#[derive(Debug, Deserialize)]
pub struct Forward {
    target: String,
    operation: String,
    #[serde(default)]
    body: Value,
    /// Milliseconds; 0 is the host's default.
    #[serde(default)]
    timeout: u64,
}

/// `emit`: which event, with which JSON.
#[derive(Debug, Deserialize)]
pub struct Emit {
    event: String,
    #[serde(default)]
    body: Value,
}

/// `page`: what to show, and with which headers.
#[derive(Debug, Deserialize)]
pub struct Page {
    headers: Vec<(String, String)>,
    body: String,
}

/// `fail`: the failure to answer with.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Fail {
    status: u16,
    code: String,
    message: String,
}

impl Default for Fail {
    fn default() -> Self {
        Fail { status: 418, code: "asked-for".to_owned(), message: "this was asked for".to_owned() }
    }
}

/// A number of milliseconds.
#[derive(Debug, Deserialize)]
pub struct Millis {
    ms: u64,
}

/// `grow`: how much memory to take and keep.
#[derive(Debug, Deserialize)]
pub struct Grow {
    bytes: usize,
}

/// `log`: a line at the level info.
#[derive(Debug, Deserialize)]
pub struct Line {
    text: String,
}

#[actor(format = 1)]
impl Echo {
    /// A start that the settings `{"refuse": "why"}` make fail.
    #[start]
    fn start(context: &Context) -> Result<Self, String> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Settings {
            refuse: Option<String>,
        }
        let settings: Settings = context.settings().map_err(|failure| failure.to_string())?;
        settings.refuse.map_or_else(|| Ok(Self::default()), Err)
    }

    /// Any payload back, headers included.
    #[operation]
    fn echo(&self, payload: Payload) -> Payload {
        payload
    }

    /// A page with the headers that the body describes.
    #[operation]
    fn page(&self, Json(page): Json<Page>) -> Payload {
        let headers = page.headers.into_iter().map(|(name, value)| Header { name, value }).collect();
        Payload { content_type: "text/html".to_owned(), headers, body: page.body.into() }
    }

    /// The failure that the body describes, or 418.
    #[operation]
    fn fail(&self, fail: Option<Json<Fail>>) -> Result<(), Failure> {
        let Json(Fail { status, code, message }) = fail.unwrap_or_default();
        Err(Failure::new(status, code, message))
    }

    /// Panics: a trap.
    #[operation]
    fn trap(&mut self) {
        self.count += 1_000_000; // lost with the instance
        panic!("trapped as asked");
    }

    /// Never ends.
    #[operation]
    fn spin(&mut self) {
        loop {
            self.count = std::hint::black_box(self.count.wrapping_add(1));
        }
    }

    /// A request on the caller's behalf; its outcome is the answer.
    #[operation]
    async fn call(&mut self, call: &Call, Json(forward): Json<Forward>) -> Result<Payload, Failure> {
        let request = call.request(forward.target, forward.operation, Json(forward.body));
        if forward.timeout == 0 { request.await } else { request.timeout(Duration::from_millis(forward.timeout)).await }
    }

    /// A one-way message on the caller's behalf.
    #[operation]
    fn tell(&mut self, call: &Call, Json(forward): Json<Forward>) -> Result<(), Failure> {
        call.notify(&forward.target, &forward.operation, Json(forward.body))
    }

    /// One more, and how many these are: saved state.
    #[operation]
    fn count(&mut self) -> Json<u64> {
        self.count += 1;
        Json(self.count)
    }

    /// Emits an event.
    #[operation]
    fn emit(&mut self, call: &Call, Json(emit): Json<Emit>) -> Result<(), Failure> {
        call.emit(&emit.event, Json(emit.body))
    }

    /// Subscribes to the topic given as JSON text.
    #[operation]
    fn subscribe(&mut self, call: &Call, Json(topic): Json<String>) {
        call.subscribe(&topic);
    }

    /// Ends that subscription.
    #[operation]
    fn unsubscribe(&mut self, call: &Call, Json(topic): Json<String>) {
        call.unsubscribe(&topic);
    }

    /// `{ from, event, body }` of the last event that came, or null.
    #[operation]
    fn last_event(&self) -> Json<Option<Seen>> {
        Json(self.last_event.clone())
    }

    /// Answers after `{ ms }`.
    #[operation]
    async fn sleep(&mut self, call: &Call, Json(Millis { ms }): Json<Millis>) -> Json<u64> {
        let before = call.now();
        call.sleep(Duration::from_millis(ms)).await;
        Json(call.now() - before)
    }

    /// Asks for a wake after `{ ms }`, its token being the number of milliseconds.
    #[operation]
    fn wake_me(&mut self, call: &Call, Json(Millis { ms }): Json<Millis>) {
        call.wake_after(Duration::from_millis(ms), u32::try_from(ms).unwrap_or(u32::MAX));
    }

    /// The tokens that it was woken with.
    #[operation]
    fn woken(&self) -> Json<Vec<u32>> {
        Json(self.woken.clone())
    }

    /// Takes so many bytes of memory more and keeps them; answers how many it holds.
    #[operation]
    fn grow(&mut self, Json(Grow { bytes }): Json<Grow>) -> Json<usize> {
        self.hoard.push(vec![1; bytes]);
        Json(self.hoard.iter().map(Vec::len).sum())
    }

    /// Writes a line to the log.
    #[operation]
    fn log(&self, Json(Line { text }): Json<Line>) {
        log::info(text);
    }

    /// What the message says of itself: who sent it, for whom, how long they wait, where this is.
    #[operation]
    fn about(&self, call: &Call) -> Json<Value> {
        let headers: Vec<_> = call.headers().iter().map(|Header { name, value }| [name, value]).collect();
        Json(serde_json::json!({
            "address": call.address(),
            "mechtron": call.mechtron(),
            "sender": call.sender(),
            "senderHost": call.sender_host(),
            "caller": call.caller(),
            "kind": if call.kind() == Kind::Request { "request" } else { "notify" },
            "remaining": call.remaining().map(|left| left.as_millis() as u64),
            "headers": headers,
            "settings": call.settings::<Value>().unwrap_or_default(),
        }))
    }

    /// A file of the own bundle: `"/templates/page.html"`.
    #[operation]
    async fn read(&self, call: &Call, Json(path): Json<String>) -> Result<Payload, Failure> {
        call.bundle(&path).await
    }

    #[event]
    fn seen(&mut self, call: &Call, payload: Payload) {
        let body = serde_json::from_slice(&payload.body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&payload.body).into_owned()));
        self.last_event = Some(Seen { from: call.sender().to_owned(), event: call.operation().to_owned(), body });
    }

    #[wake]
    fn wake(&mut self, token: u32) {
        self.woken.push(token);
    }
}

mechtron::export! { "echo" => Echo }
