//! Runs one actor: handles the messages of a mailbox in order, with one future at a time, and writes its streams beside them. The
//! calls of a host drive it.

use std::{
    collections::VecDeque,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as Task, Poll, Wake, Waker},
};

use crate::{
    Call, Context, Failure, Kind, Outcome, Payload, Saved,
    actor::{Handling, Running, Starter},
    log,
    mesh::{Mesh, SLEEP_BIT, Wiring, enter},
    stream::Streaming,
};

/// A message from the host.
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    pub(crate) sender: String,
    pub(crate) caller: String,
    pub(crate) operation: String,
    pub(crate) payload: Payload,
    pub(crate) remaining_ms: u32,
}

pub(crate) struct Engine {
    context: Context,
    /// `None` while a future owns the actor.
    idle: Option<Box<dyn Running>>,
    current: Option<Current>,
    waiting: VecDeque<(Call, Payload)>,
    woken: Arc<Woken>,
    waker: Waker,
}

struct Current {
    id: u64,
    kind: Kind,
    label: String,
    handling: Handling,
}

/// Ends the streams: their tasks own the wiring that has them.
impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(streams) = &self.context.wiring.streams {
            streams.close();
        }
    }
}

impl Engine {
    pub(crate) fn start(
        starter: Starter,
        mesh: Rc<dyn Mesh>,
        streams: Option<Rc<dyn Streaming>>,
        told: [String; 3],
        saved: Option<Saved>,
    ) -> Result<Self, String> {
        enter(&mesh);
        let context = Context { wiring: Rc::new(Wiring::new(mesh, streams, told)) };
        let idle = Some(starter(&context, saved)?);
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&woken));
        Ok(Engine { context, idle, current: None, waiting: VecDeque::new(), woken, waker })
    }

    /// Returns true if the message is already finished.
    pub(crate) fn receive(&mut self, message: Message) -> bool {
        let Message { id, kind, sender, caller, operation, payload, remaining_ms } = message;
        let deadline = (remaining_ms > 0).then(|| self.context.now().saturating_add(remaining_ms.into()));
        let headers = payload.headers.clone();
        let context = self.context.clone();
        self.waiting.push_back((Call { context, id, kind, sender, caller, operation, headers, deadline }, payload));
        self.advance(id)
    }

    /// Passes the outcome to the request. It is dropped if the request no longer exists.
    pub(crate) fn settle(&mut self, request: u64, outcome: Outcome) {
        if let Some(slot) = self.context.wiring.requests.borrow_mut().get_mut(&request) {
            *slot = Some(outcome);
        }
        self.advance(0);
    }

    pub(crate) fn wake(&mut self, token: u64) {
        if token & SLEEP_BIT != 0 {
            if let Some(over) = self.context.wiring.sleeps.borrow_mut().get_mut(&token) {
                *over = true;
            }
        } else {
            let call = Call {
                context: self.context.clone(),
                id: 0,
                kind: Kind::Wake(u32::try_from(token).unwrap_or(u32::MAX)),
                sender: self.context.address().to_owned(),
                caller: String::new(),
                operation: String::new(),
                headers: Vec::new(),
                deadline: None,
            };
            self.waiting.push_back((call, Payload::default()));
        }
        self.advance(0);
    }

    pub(crate) fn save(&self) -> Result<Saved, String> {
        enter(&self.context.wiring.mesh);
        match &self.idle {
            Some(actor) => actor.save(),
            None => Err("the host called save while the actor is in the middle of a message".to_owned()),
        }
    }

    /// Gives a payload the stream with this number, which the host delivers.
    pub(crate) fn attach(&self, payload: Payload, stream: u64) -> Payload {
        let Some(streams) = &self.context.wiring.streams else { return payload };
        let Payload { content_type, headers, .. } = payload;
        Payload { headers, ..Payload::new(content_type, Rc::clone(streams).incoming(stream)) }
    }

    pub(crate) fn part(&mut self, stream: u64, bytes: Vec<u8>) {
        self.stream_call(|streams| streams.part(stream, bytes));
    }

    pub(crate) fn ended(&mut self, stream: u64, error: Option<Failure>) {
        self.stream_call(|streams| streams.ended(stream, error));
    }

    pub(crate) fn ready(&mut self, stream: u64, credit: u32) {
        self.stream_call(|streams| streams.ready(stream, credit));
    }

    fn stream_call(&mut self, call: impl FnOnce(&dyn Streaming)) {
        if let Some(streams) = &self.context.wiring.streams {
            call(&**streams);
        }
        self.advance(0);
    }

    /// Runs until the actor and its streams all await something. Returns true if the message `received` was finished.
    fn advance(&mut self, received: u64) -> bool {
        enter(&self.context.wiring.mesh);
        let mut finished = false;
        loop {
            finished |= self.handle(received);
            let Some(streams) = &self.context.wiring.streams else { return finished };
            let has_begun = streams.run(&mut Task::from_waker(&self.waker));
            if !self.woken.0.swap(false, Ordering::Relaxed) && !has_begun {
                return finished;
            }
        }
    }

    /// Handles messages until the actor awaits something or the mailbox is empty.
    fn handle(&mut self, received: u64) -> bool {
        let mut finished = false;
        loop {
            if let Some(current) = &mut self.current {
                let Some((actor, outcome)) = poll(&mut current.handling, &self.woken, &self.waker) else {
                    return finished;
                };
                self.idle = Some(actor);
                if let Some(current) = self.current.take() {
                    self.finish(&current, outcome, received);
                    finished |= current.id == received;
                }
            }
            let Some((call, payload)) = self.waiting.pop_front() else { return finished };
            let Some(actor) = self.idle.take() else { return finished };
            let (id, kind) = (call.id, call.kind);
            let label = if kind == Kind::Request {
                String::new()
            } else {
                format!("`{}` from {}", call.operation, call.sender)
            };
            self.current = Some(Current { id, kind, label, handling: actor.run(call, payload) });
        }
    }

    fn finish(&self, current: &Current, outcome: Outcome, received: u64) {
        let mesh = &self.context.wiring.mesh;
        if current.kind == Kind::Request {
            let opened = outcome.and_then(|mut payload| {
                let stream = payload.open_stream(self.context.wiring.streams.as_ref())?;
                Ok((payload, stream))
            });
            match opened {
                Ok((payload, stream)) => mesh.reply(current.id, Ok(payload), stream),
                Err(failure) => mesh.reply(current.id, Err(failure), 0),
            }
            return;
        }
        if let Err(failure) = outcome {
            log::warn(match current.kind {
                Kind::Wake(token) => format!("wake {token} failed: {failure}"),
                _ => format!("{} failed: {failure}", current.label),
            });
        }
        // In its own `receive`, the result `true` reports the end. A wake has no sender.
        if current.id != received && !matches!(current.kind, Kind::Wake(_)) {
            mesh.reply(current.id, Ok(Payload::default()), 0);
        }
    }
}

fn poll(handling: &mut Handling, woken: &Woken, waker: &Waker) -> Option<(Box<dyn Running>, Outcome)> {
    loop {
        match handling.as_mut().poll(&mut Task::from_waker(waker)) {
            Poll::Ready(done) => return Some(done),
            // Poll a future again at once if it woke itself, such as a cooperative yield.
            Poll::Pending if woken.0.swap(false, Ordering::Relaxed) => {}
            Poll::Pending => return None,
        }
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
