//! The connection from HTTP, whose tasks can move between threads, to the host, which stays on one thread.

use futures_util::StreamExt;
use starlane_host::{Host, Inspection, Item, Origin, Principal, Stats};
use starlane_protocol::{Address, Failure, Outcome, Payload, Topic};
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
        reply: oneshot::Sender<Outcome>,
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
    /// Whether it comes from a route of an app. The app's author has allowed it, so it needs no grant.
    pub(crate) by_route: bool,
}

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
    pub(crate) async fn request(&self, ask: Ask) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        self.send(Command::Request { ask, reply }).await?;
        outcome.await.unwrap_or_else(|_| Err(stopping()))
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
                let asked = host.request(&ask.from, &ask.to, &ask.operation, ask.payload, 0);
                tokio::select! {
                    outcome = asked => { let _ = reply.send(outcome); }
                    () = reply.closed() => {}
                }
            });
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
