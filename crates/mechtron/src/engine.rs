//! Runs one actor: handles the messages of a mailbox in order, with one future at a time. The five calls of a host
//! drive it.

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
    Call, Context, Kind, Outcome, Payload, Saved,
    actor::{Handling, Running, Starter},
    log,
    mesh::{Mesh, SLEEP_BIT, Wiring, enter},
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

impl Engine {
    pub(crate) fn start(
        starter: Starter,
        mesh: Rc<dyn Mesh>,
        [address, mechtron, settings]: [String; 3],
        saved: Option<Saved>,
    ) -> Result<Self, String> {
        enter(&mesh);
        let context = Context { wiring: Rc::new(Wiring::new(mesh, address, mechtron, settings)) };
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

    /// Runs until the actor awaits something or the mailbox is empty. Returns true if the message `received` was
    /// finished.
    fn advance(&mut self, received: u64) -> bool {
        enter(&self.context.wiring.mesh);
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
            mesh.reply(current.id, outcome);
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
            mesh.reply(current.id, Ok(Payload::default()));
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
