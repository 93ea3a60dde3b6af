//! A mechtron with the behaviour that tests of hosts need, including misbehaviour.

use std::time::Duration;

use mechtron::{Bytes, Call, Context, Failure, Header, Json, Kind, Lines, Payload, Stream, actor, log};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Saved between instances.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Echo {
    count: u64,
    last_event: Option<Seen>,
    woken: Vec<u32>,
    /// The memory that `grow` has allocated in this instance.
    #[serde(skip)]
    hoard: Vec<Vec<u8>>,
}

/// The last received event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seen {
    from: String,
    event: String,
    body: Value,
}

/// `call`, `notify`: the target, the operation, and the JSON body.
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

/// `emit`: the event and its JSON body.
#[derive(Debug, Deserialize)]
pub struct Emit {
    event: String,
    #[serde(default)]
    body: Value,
}

/// `page`: the content and its headers.
#[derive(Debug, Deserialize)]
pub struct Page {
    headers: Vec<(String, String)>,
    body: String,
}

/// `fail`: the failure to return.
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

/// `grow`: the size of the memory to allocate and keep.
#[derive(Debug, Deserialize)]
pub struct Grow {
    bytes: usize,
}

/// `log`: a line with the level info.
#[derive(Debug, Deserialize)]
pub struct Line {
    text: String,
}

/// `download`: the size of the reply stream.
#[derive(Debug, Deserialize)]
pub struct Download {
    bytes: u64,
}

/// `upload`: what came. `checksum` is FNV-1a of 64 bits, in hex.
#[derive(Debug, Serialize)]
pub struct Receipt {
    bytes: u64,
    checksum: String,
}

/// The bytes of `download` from this offset: 0, 1, … 250, 0, 1, …
fn pattern(from: u64, bytes: u64) -> Vec<u8> {
    (from..from + bytes).map(|at| (at % 251) as u8).collect()
}

#[actor(format = 1)]
impl Echo {
    /// The start fails with the settings `{"refuse": "why"}`.
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

    /// Returns the payload, including its headers.
    #[operation]
    fn echo(&self, payload: Payload) -> Payload {
        payload
    }

    /// Returns a page with the headers in the body.
    #[operation]
    fn page(&self, Json(page): Json<Page>) -> Payload {
        let mut payload = Payload::new("text/html", page.body);
        payload.headers = page.headers.into_iter().map(|(name, value)| Header { name, value }).collect();
        payload
    }

    /// Fails as the body describes, or with 418.
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

    /// Sends a request on the caller's behalf, and returns its outcome.
    #[operation]
    async fn call(&mut self, call: &Call, Json(forward): Json<Forward>) -> Result<Payload, Failure> {
        let request = call.request(forward.target, forward.operation, Json(forward.body));
        if forward.timeout == 0 { request.await } else { request.timeout(Duration::from_millis(forward.timeout)).await }
    }

    /// Sends a one-way message on the caller's behalf.
    #[operation]
    fn tell(&mut self, call: &Call, Json(forward): Json<Forward>) -> Result<(), Failure> {
        call.notify(&forward.target, &forward.operation, Json(forward.body))
    }

    /// Increments and returns a counter, which is saved state.
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

    /// Returns `{ from, event, body }` of the last received event, or null.
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

    /// Sets a wake after `{ ms }`, with the number of milliseconds as its token.
    #[operation]
    fn wake_me(&mut self, call: &Call, Json(Millis { ms }): Json<Millis>) {
        call.wake_after(Duration::from_millis(ms), u32::try_from(ms).unwrap_or(u32::MAX));
    }

    /// Returns the tokens of its wakes.
    #[operation]
    fn woken(&self) -> Json<Vec<u32>> {
        Json(self.woken.clone())
    }

    /// Allocates this many more bytes and keeps them. Returns the number of kept bytes.
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

    /// Returns the context of the message: its sender, its caller, the remaining time, and the actor's own address.
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

    /// Returns a file of its own bundle: `"/templates/page.html"`.
    #[operation]
    async fn read(&self, call: &Call, Json(path): Json<String>) -> Result<Payload, Failure> {
        call.bundle(&path).await
    }

    /// Reads a stream. Returns its size and its checksum.
    #[operation]
    async fn upload(&self, mut body: Stream) -> Result<Json<Receipt>, Failure> {
        let (mut bytes, mut hash) = (0, 0xcbf2_9ce4_8422_2325_u64);
        while let Some(Bytes(part)) = body.next().await? {
            bytes += part.len() as u64;
            for byte in part {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        Ok(Json(Receipt { bytes, checksum: format!("{hash:016x}") }))
    }

    /// Returns a stream of `{ bytes }`.
    #[operation]
    fn download(&self, Json(Download { bytes }): Json<Download>) -> Stream {
        Stream::from_fn(async move |mut writer| {
            let mut written = 0;
            while written < bytes {
                let next = (bytes - written).min(16 * 1024);
                writer.write(pattern(written, next)).await?;
                written += next;
            }
            Ok(())
        })
    }

    /// Returns the stream that it gets.
    #[operation]
    fn mirror(&self, body: Stream) -> Stream {
        body
    }

    /// Returns each value as a line `{ n, value }`, with `n` from 1.
    #[operation]
    fn lines(&self, mut values: Lines<Value>) -> Lines<Value> {
        Lines::from_fn(async move |mut numbered| {
            let mut n = 0;
            while let Some(value) = values.next().await? {
                n += 1;
                numbered.write(&serde_json::json!({ "n": n, "value": value })).await?;
            }
            Ok(())
        })
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

mechtron::export! { streams; "echo" => Echo }
