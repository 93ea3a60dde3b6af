//! The loop of a host: passes inputs to the node, and performs the node's effects on the ports.

use std::rc::Rc;

use futures_channel::oneshot;
use futures_util::{
    FutureExt, StreamExt,
    future::{Either, LocalBoxFuture, Shared, abortable, select},
};
use starlane_bundle::Digest;
use starlane_node::{
    CloseCode, Effect, Goodbye, HandlerId, LinkStatus, LogLine, Node, SocketId,
    guest::{GuestPlan, Level},
};
use starlane_protocol::{Address, Failure, Message, Trace};

use crate::{
    flush::Outlet,
    handler::Handling,
    host::{Host, Inner},
    ports::{SandboxError, Socket},
    stream::Incoming,
};

/// Returns the token for the next hello. The error says why there is none.
pub type TokenProvider = Rc<dyn Fn() -> LocalBoxFuture<'static, Result<Option<String>, String>>>;
/// A module that is being loaded and compiled. All actors that need it wait for the same task.
pub(crate) type Compiling = Shared<LocalBoxFuture<'static, Result<(), Failure>>>;

impl Host {
    /// Passes an input to the node, and performs the effects.
    pub(crate) fn turn<T>(&self, happened: impl FnOnce(&mut Node, u64) -> T) -> T {
        let now = self.0.ports.time.now_ms();
        let result = happened(&mut self.0.node.borrow_mut(), now);
        self.drain();
        result
    }

    /// Performs the effects of the node. The same loop handles inputs that arrive meanwhile.
    pub(crate) fn drain(&self) {
        if self.0.draining.replace(true) {
            return;
        }
        loop {
            let now = self.0.ports.time.now_ms();
            let effect = self.0.node.borrow_mut().poll_effect(now);
            let Some(effect) = effect else { break };
            self.perform(effect);
        }
        self.0.draining.set(false);
        self.flush_soon();
        self.arm_timer();
    }

    fn perform(&self, effect: Effect) {
        let ports = &self.0.ports;
        match effect {
            Effect::Dial => self.dial(),
            Effect::Transmit { socket, message } => {
                if let Some(outlet) = self.0.sockets.borrow().get(&socket) {
                    outlet.sink.send(message);
                }
            }
            Effect::Hangup { socket, goodbye } => {
                let outlet = self.0.sockets.borrow_mut().remove(&socket);
                if let Some(outlet) = outlet {
                    outlet.sink.close(close_code(&goodbye), &short(&goodbye.reason));
                }
            }
            Effect::Authenticate { peer, token } => {
                let result = (self.0.config.authenticate)(token.as_deref());
                let now = ports.time.now_ms();
                self.0.node.borrow_mut().handle_authenticated(now, peer, result);
            }
            Effect::Renew { socket } => self.renew(socket),
            Effect::LinkStatus(status) => self.link_is(status),
            Effect::Deliver { handler, message } => self.deliver(handler, message),
            Effect::StreamPart { stream, part } => {
                if let Some(flow) = self.0.inflows.borrow().get(&stream) {
                    flow.borrow_mut().part(part);
                }
            }
            Effect::StreamEnded { stream, failure } => {
                let flow = self.0.inflows.borrow_mut().remove(&stream);
                if let Some(flow) = flow {
                    flow.borrow_mut().end(failure);
                }
            }
            Effect::StreamCredit { stream, limit } => {
                if let Some(credit) = self.0.credits.borrow().get(&stream) {
                    credit.allow(limit);
                }
            }
            Effect::StreamStopped { stream, failure } => {
                let credit = self.0.credits.borrow_mut().remove(&stream);
                if let Some(credit) = credit {
                    credit.stop(failure);
                }
            }
            Effect::Abandon(request) => {
                let handling = self.0.handling.borrow_mut().remove(&request);
                if let Some(handling) = handling {
                    handling.abort.abort();
                }
            }
            Effect::Settle { request, outcome } => {
                let asker = self.0.askers.borrow_mut().remove(&request);
                // An outcome that nobody waits for is dropped, and so is its stream.
                let fetched = outcome.map(|payload| self.fetched(payload));
                if let Some(asker) = asker {
                    let _ = asker.send(fetched);
                }
            }
            Effect::Notice { subscription, notice } => {
                if let Some(sink) = self.0.subscriptions.borrow().get(&subscription) {
                    sink.push(notice);
                }
            }
            Effect::StartGuest(plan) => self.start_guest(plan),
            Effect::RunGuest { instance, calls } => {
                let running = ports.sandbox.run(instance, calls);
                let host = self.clone();
                ports.time.spawn(Box::pin(async move {
                    let mut report = running.await;
                    let time = &host.0.ports.time;
                    report.on_the_clock(time.now_ms(), time.unix_ms());
                    host.turn(|node, now| node.handle_ran(now, instance, report));
                }));
            }
            Effect::StopGuest(instance) => ports.sandbox.stop(instance),
            Effect::TakeState { app, number, after_ms } => self.take_state(app, number, after_ms),
            Effect::LoadState { instance, app, actor } => self.load_state(instance, &app, &actor),
            Effect::SaveState { write, app, epoch, state } => self.save_state(write, &app, epoch, state),
            Effect::Log(line) => (self.0.config.log)(&line),
        }
    }

    pub(crate) fn log(&self, address: &Address, level: Level, text: &str) {
        self.log_traced(address, level, None, text);
    }

    fn log_traced(&self, address: &Address, level: Level, trace: Option<Trace>, text: &str) {
        let (address, text) = (address.clone(), text.to_owned());
        (self.0.config.log)(&LogLine { address, level, trace, text });
    }

    fn dial(&self) {
        let Some((url, token)) = self.0.server.borrow().clone() else { return };
        let host = self.clone();
        self.0.ports.time.spawn(Box::pin(async move {
            let dialled = match host.in_time(token(), || "no answer".to_owned()).await {
                Ok(token) => {
                    let opened = host.open_socket(&url).await;
                    opened.map(|socket| (socket, token)).map_err(|reason| (CloseCode::Unreachable, reason))
                }
                Err(reason) => Err((CloseCode::TokenFailed, format!("no token for {url}: {reason}"))),
            };
            match dialled {
                Ok((socket, token)) => {
                    let id = host.adopt(socket);
                    let unix_ms = host.0.ports.time.unix_ms();
                    host.turn(|node, now| node.handle_dialled(now, id, token, unix_ms));
                }
                Err((code, reason)) => {
                    host.log(&host.own_address(), Level::Info, &reason);
                    host.turn(|node, now| node.handle_dial_failed(now, code, &reason));
                }
            }
        }));
    }

    fn renew(&self, socket: SocketId) {
        let Some((url, token)) = self.0.server.borrow().clone() else { return };
        let host = self.clone();
        self.0.ports.time.spawn(Box::pin(async move {
            match host.in_time(token(), || "no answer".to_owned()).await {
                Ok(token) => host.turn(|node, _| node.handle_renewed(socket, token)),
                Err(reason) => {
                    host.log(&host.own_address(), Level::Warn, &format!("no fresh token for {url}: {reason}"))
                }
            }
        }));
    }

    /// Opens a socket. Some networks and browsers do not report a failure.
    async fn open_socket(&self, url: &str) -> Result<Socket, String> {
        self.in_time(self.0.ports.dialer.dial(url), || format!("no WebSocket to {url}")).await
    }

    /// Waits for a foreign answer, but no longer than a dial may last.
    async fn in_time<T>(
        &self,
        answer: LocalBoxFuture<'static, Result<T, String>>,
        without: impl FnOnce() -> String,
    ) -> Result<T, String> {
        let most = self.0.config.link.dial_ms;
        match select(answer, self.0.ports.time.sleep(most)).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => Err(format!("{} within {most} ms", without())),
        }
    }

    /// Gives a socket an id, and reads it until it ends.
    pub(crate) fn adopt(&self, socket: Socket) -> SocketId {
        let id = SocketId(self.0.last_socket.get() + 1);
        self.0.last_socket.set(id.0);
        self.0.sockets.borrow_mut().insert(id, Outlet::new(socket.sink));
        let (host, mut incoming) = (Rc::downgrade(&self.0), socket.incoming);
        self.0.ports.time.spawn(Box::pin(async move {
            while let Some(message) = incoming.next().await {
                let Some(inner) = host.upgrade() else { return };
                Host(inner).turn(|node, now| node.handle_message(now, id, &message));
            }
            if let Some(inner) = host.upgrade() {
                let host = Host(inner);
                host.0.sockets.borrow_mut().remove(&id);
                host.turn(|node, now| node.handle_closed(now, id));
            }
        }));
        id
    }

    fn link_is(&self, status: LinkStatus) {
        *self.0.link_status.borrow_mut() = status.clone();
        self.0.link_watchers.borrow_mut().retain(|watcher| watcher.unbounded_send(status.clone()).is_ok());
    }

    fn deliver(&self, id: HandlerId, mut message: Message) {
        let stream = message.payload.stream.take().map(|stream| Incoming::open(self, &stream));
        let Some(handler) = self.0.handlers.borrow().get(&id).cloned() else {
            // The handler was released meanwhile, and its senders have got a failure.
            if message.request.is_none() {
                let text =
                    format!("a one-way message `{}` was not delivered: the resource was released", message.operation);
                self.log_traced(&message.to, Level::Warn, message.trace, &text);
            }
            return;
        };
        let (to, operation, trace) = (message.to.clone(), message.operation.clone(), message.trace);
        let request = message.request;
        let handled = match stream {
            Some(stream) => handler.handle_stream(message, stream),
            None => handler.handle(message),
        };
        let (handling, abort) = abortable(handled);
        let (ends, ended) = oneshot::channel::<()>();
        if let Some(request) = request {
            let handling = Handling { abort, handler: id, to: to.clone(), ended: Some(ended) };
            self.0.handling.borrow_mut().insert(request, handling);
        }
        let host = self.clone();
        self.0.ports.time.spawn(Box::pin(async move {
            let _ends = ends;
            let Ok(outcome) = handling.await else { return };
            match (request, outcome) {
                (Some(request), outcome) => {
                    let outcome = outcome.map_err(Failure::of_resource);
                    host.0.handling.borrow_mut().remove(&request);
                    host.turn(|node, now| node.handle_reply(now, request, outcome));
                }
                (None, Err(failure)) => {
                    let text = format!("the one-way message `{operation}` failed: {failure}");
                    host.log_traced(&to, Level::Warn, trace, &text);
                }
                (None, Ok(_)) => {}
            }
        }));
    }

    fn start_guest(&self, plan: GuestPlan) {
        let host = self.clone();
        self.0.ports.time.spawn(Box::pin(async move {
            let space = plan.app().split(':').next().unwrap_or_default().to_owned();
            let started = match host.module(space, plan.wasm, plan.limits.memory).await {
                Ok(()) => host.0.ports.sandbox.start(&plan).await.map_err(SandboxError::failure),
                Err(failure) => Err(failure),
            };
            // The app may have been uninstalled while the module was compiled.
            host.forget_unused(&[plan.wasm]);
            host.turn(|node, now| node.handle_started(now, plan.instance, started));
        }));
    }

    /// Loads, verifies and compiles a module for guests of a space with a memory limit. All waiting actors share the
    /// work.
    pub(crate) async fn module(&self, space: String, digest: Digest, memory: u64) -> Result<(), Failure> {
        if self.0.ports.sandbox.has_module(&digest, memory) {
            return Ok(());
        }
        let key = (digest, memory, space);
        let known = self.0.compiling.borrow().get(&key).cloned();
        let compiling = known.unwrap_or_else(|| {
            let (host, space) = (self.clone(), key.2.clone());
            let compiling = async move {
                let size = host.0.apps.borrow().size_of(&digest);
                let loaded = host.blob(&digest, size).await.map_err(|e| Failure::not_running(e.to_string()))?;
                host.0.ports.sandbox.compile(&space, digest, memory, loaded).await.map_err(SandboxError::failure)
            };
            let compiling = compiling.boxed_local().shared();
            self.0.compiling.borrow_mut().insert(key.clone(), compiling.clone());
            compiling
        });
        let result = compiling.await;
        self.0.compiling.borrow_mut().remove(&key);
        result
    }

    /// Sets the one timer for all deadlines. It is replaced only if a deadline is earlier.
    pub(crate) fn arm_timer(&self) {
        let Some(due) = self.0.node.borrow().next_timeout() else { return };
        if self.0.closed.get() || self.0.timer.borrow().as_ref().is_some_and(|(at, _)| *at <= due) {
            return;
        }
        let now = self.0.ports.time.now_ms();
        let host = Rc::downgrade(&self.0);
        let sleep = self.0.ports.time.sleep(due.saturating_sub(now));
        let (wait, abort) = abortable(async move {
            sleep.await;
            host
        });
        if let Some((_, earlier)) = self.0.timer.borrow_mut().replace((due, abort)) {
            earlier.abort();
        }
        self.0.ports.time.spawn(Box::pin(async move {
            if let Ok(host) = wait.await
                && let Some(inner) = host.upgrade()
            {
                timer_fired(inner);
            }
        }));
    }
}

fn timer_fired(inner: Rc<Inner>) {
    inner.timer.borrow_mut().take();
    let host = Host(inner);
    host.turn(|node, now| node.handle_timeout(now));
}

/// Returns the WebSocket close code for a goodbye (RFC 6455, section 7.4; applications use 4000 and above).
fn close_code(goodbye: &Goodbye) -> u16 {
    match goodbye.code {
        CloseCode::Closed => 1000,
        CloseCode::Closing => 1001,
        CloseCode::Malformed => 1002,
        CloseCode::TooLarge => 1009,
        CloseCode::AuthRefused => 4401,
        CloseCode::Silent => 4408,
        CloseCode::Version => 4426,
        _ => 4000,
    }
}

/// Shortens a reason to the maximum of a close frame, 123 bytes.
fn short(reason: &str) -> String {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.get(..end).unwrap_or_default().to_owned()
}
