//! The connection from HTTP, whose tasks can move between threads, to the host, which stays on one thread.

use bytes::Bytes;
use futures_util::StreamExt;
use starlane_host::{Fetched, Host, Incoming, Inspection, Item, Origin, Outgoing, Principal, Stats};
use starlane_protocol::{Address, Failure, Payload, Topic};
use tokio::sync::{mpsc, oneshot};

use crate::socket::Ends;

/// The maximum number of commands that wait for the host.
const QUEUE: usize = 4_096;
/// The maximum number of commands that the host takes at once.
const TAKEN_TOGETHER: usize = 256;
/// The maximum number of events that wait for a slow reader over HTTP.
const EVENTS: usize = 1_024;

enum Command {
    Request {
        ask: Ask,
        reply: oneshot::Sender<Result<Answer, Failure>>,
    },
    TakesStream {
        to: Address,
        operation: String,
        reply: oneshot::Sender<bool>,
    },
    Look {
        reply: oneshot::Sender<(Inspection, Stats)>,
    },
    Accept(Ends),
    Subscribe {
        caller: Principal,
        topic: Topic,
        items: mpsc::Sender<Item>,
        reply: oneshot::Sender<Result<(), Failure>>,
    },
    Permit {
        caller: Principal,
        topic: Topic,
        reply: oneshot::Sender<Result<(), Failure>>,
    },
}

/// A request from outside the mesh.
pub(crate) struct Ask {
    pub(crate) from: Origin,
    pub(crate) to: Address,
    pub(crate) operation: String,
    pub(crate) payload: Payload,
    /// The stream that takes the place of the payload's body.
    pub(crate) stream: Option<Parts>,
    /// Whether it comes from a route of an app. The app's author has allowed it, so it needs no grant.
    pub(crate) by_route: bool,
}

/// The parts of a stream between the host's thread and another one. The last item is a failure, or none for a complete stream. A
/// sender that is dropped before that was interrupted. Dropping the receiver stops the writer.
pub(crate) type Parts = mpsc::Receiver<Result<Option<Bytes>, Failure>>;

/// The answer to a request.
pub(crate) struct Answer {
    pub(crate) payload: Payload,
    pub(crate) stream: Option<Parts>,
}

/// The number of parts of a stream that wait between two threads.
pub(crate) const PARTS: usize = 1;

/// Access to the host from any task.
#[derive(Clone)]
pub(crate) struct Handle(mpsc::Sender<Command>);

impl Handle {
    /// A handle, and the task that serves it beside the host.
    pub(crate) fn new(host: Host) -> (Self, impl Future<Output = ()>) {
        let (sender, mut receiver) = mpsc::channel(QUEUE);
        let serve = async move {
            let mut taken = Vec::new();
            while receiver.recv_many(&mut taken, TAKEN_TOGETHER).await > 0 {
                for command in taken.drain(..) {
                    obey(&host, command);
                }
            }
        };
        (Self(sender), serve)
    }

    /// The host's state, for inspection.
    pub(crate) async fn look(&self) -> Result<(Inspection, Stats), Failure> {
        let (reply, look) = oneshot::channel();
        self.send(Command::Look { reply }).await?;
        look.await.map_err(|_| stopping())
    }

    /// Sends a request, if its sender is permitted. Dropping the future cancels it.
    pub(crate) async fn request(&self, ask: Ask) -> Result<Answer, Failure> {
        let (reply, outcome) = oneshot::channel();
        self.send(Command::Request { ask, reply }).await?;
        outcome.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Whether an operation of a resource on this host takes a stream. Anybody may ask: the answer is in the resource's bind.
    pub(crate) async fn takes_stream(&self, to: &Address, operation: &str) -> Result<bool, Failure> {
        let (reply, takes) = oneshot::channel();
        self.send(Command::TakesStream { to: to.clone(), operation: operation.to_owned(), reply }).await?;
        takes.await.map_err(|_| stopping())
    }

    /// Gives the host a socket that a client opened.
    pub(crate) async fn accept(&self, ends: Ends) {
        let _ = self.send(Command::Accept(ends)).await;
    }

    /// The events of a topic; dropping the receiver ends the subscription. Errors with 403 when the caller is not
    /// permitted to listen, and with 404 when the resource or event does not exist.
    pub(crate) async fn subscribe(&self, caller: Principal, topic: Topic) -> Result<mpsc::Receiver<Item>, Failure> {
        let (items, received) = mpsc::channel(1);
        let (reply, subscribed) = oneshot::channel();
        self.send(Command::Subscribe { caller, topic, items, reply }).await?;
        subscribed.await.unwrap_or_else(|_| Err(stopping()))?;
        Ok(received)
    }

    /// Checks whether a caller is still permitted to listen to a topic. Errors with 403 when not.
    pub(crate) async fn permit_topic(&self, caller: Principal, topic: Topic) -> Result<(), Failure> {
        let (reply, admitted) = oneshot::channel();
        self.send(Command::Permit { caller, topic, reply }).await?;
        admitted.await.unwrap_or_else(|_| Err(stopping()))
    }

    async fn send(&self, command: Command) -> Result<(), Failure> {
        self.0.send(command).await.map_err(|_| stopping())
    }
}

fn stopping() -> Failure {
    Failure::not_running("the server is stopping")
}

fn obey(host: &Host, command: Command) {
    let host = host.clone();
    match command {
        Command::Look { reply } => {
            let _ = reply.send((host.inspect(), host.stats()));
        }
        Command::Accept(ends) => host.accept(ends.into_socket()),
        Command::Request { ask, mut reply } => {
            tokio::task::spawn_local(async move {
                let (caller, to) = (&ask.from.caller, &ask.to);
                let admitted =
                    if ask.by_route { host.count_message(caller) } else { host.admit(caller, to, &ask.operation) };
                if let Err(failure) = admitted {
                    let _ = reply.send(Err(failure.at(to)));
                    return;
                }
                let payload = with_stream(&host, ask.payload, ask.stream);
                let asked = host.fetch(&ask.from, &ask.to, &ask.operation, payload, 0);
                tokio::select! {
                    outcome = asked => { let _ = reply.send(outcome.map(answer)); }
                    () = reply.closed() => {}
                }
            });
        }
        Command::TakesStream { to, operation, reply } => {
            let _ = reply.send(host.takes_stream(&to, &operation));
        }
        Command::Permit { caller, topic, reply } => {
            let _ = reply.send(host.permit_topic(&caller, &topic));
        }
        Command::Subscribe { caller, topic, items, reply } => {
            let admitted = host.admit_subscriber(&caller, &topic);
            let is_admitted = admitted.is_ok();
            let _ = reply.send(admitted);
            if !is_admitted {
                return;
            }
            let mut subscription = host.subscribe(topic, EVENTS);
            tokio::task::spawn_local(async move {
                loop {
                    let item = tokio::select! {
                        item = subscription.next() => item,
                        () = items.closed() => None,
                    };
                    let Some(item) = item else { break };
                    if items.send(item).await.is_err() {
                        break;
                    }
                }
            });
        }
    }
}

/// Puts a stream from another thread into a payload.
fn with_stream(host: &Host, mut payload: Payload, parts: Option<Parts>) -> Payload {
    let Some(parts) = parts else { return payload };
    let (stream, outgoing) = host.open_stream();
    payload.stream = Some(stream);
    tokio::task::spawn_local(copy_in(parts, outgoing));
    payload
}

async fn copy_in(mut parts: Parts, mut outgoing: Outgoing) {
    loop {
        let next = tokio::select! {
            next = parts.recv() => next,
            _ = outgoing.stopped() => return,
        };
        match next {
            Some(Ok(Some(part))) => {
                if outgoing.write(part).await.is_err() {
                    return;
                }
            }
            Some(Ok(None)) => return outgoing.finish(None),
            Some(Err(failure)) => return outgoing.finish(Some(failure)),
            None => return outgoing.finish(Some(Failure::cancelled("the body was interrupted"))),
        }
    }
}

/// An answer whose stream another thread can read.
fn answer(fetched: Fetched) -> Answer {
    let stream = fetched.stream.map(|incoming| {
        let (sender, parts) = mpsc::channel(PARTS);
        tokio::task::spawn_local(copy_out(incoming, sender));
        parts
    });
    Answer { payload: fetched.payload, stream }
}

async fn copy_out(mut incoming: Incoming, sender: mpsc::Sender<Result<Option<Bytes>, Failure>>) {
    loop {
        // A part is taken only when there is room for it, because what is taken makes room at the writer.
        let Ok(room) = sender.reserve().await else { return };
        let next = tokio::select! {
            next = incoming.next() => next,
            () = sender.closed() => return,
        };
        let is_last = !matches!(next, Some(Ok(_)));
        room.send(next.transpose());
        if is_last {
            return;
        }
    }
}
