//! Sends the frames of links to their sockets: together, and only to sockets with room.

use std::{
    future::poll_fn,
    rc::{Rc, Weak},
    task::Poll,
};

use futures_util::future::{AbortHandle, abortable};
use starlane_node::SocketId;

use crate::{
    host::{Host, Inner},
    ports::{SOCKET_BUFFER, SocketSink},
};

/// The number of turns without a read after which a reader of events counts as paused.
const QUIET_TURNS: u32 = 16;
/// The maximum time that frames wait for readers of events, in milliseconds.
const GATHER_MS: u64 = 2;

/// The sending half of an open socket.
pub(crate) struct Outlet {
    pub(crate) sink: Box<dyn SocketSink>,
    /// Ends the task that waits for room, if there is one.
    waiting: Option<AbortHandle>,
}

impl Outlet {
    pub(crate) fn new(sink: Box<dyn SocketSink>) -> Self {
        Self { sink, waiting: None }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        if let Some(waiting) = &self.waiting {
            waiting.abort();
        }
    }
}

impl Host {
    /// Sends the waiting frames after this turn and the turns that follow immediately, so that they are sent together.
    /// It also waits for readers that answer each event while other events wait.
    pub(crate) fn flush_soon(&self) {
        if self.0.flushing.replace(true) {
            return;
        }
        let host = Rc::downgrade(&self.0);
        self.0.ports.time.spawn(Box::pin(async move {
            readers_paused(&host).await;
            if let Some(inner) = host.upgrade() {
                inner.flushing.set(false);
                Host(inner).flush();
            }
        }));
    }

    pub(crate) fn flush(&self) {
        let now = self.0.ports.time.now_ms();
        let mut full = Vec::new();
        loop {
            let sockets = self.0.sockets.borrow();
            let next = self.0.node.borrow_mut().poll_transmit(now, |socket| {
                let has_room = sockets.get(&socket).is_none_or(|outlet| outlet.sink.buffered() < SOCKET_BUFFER);
                if !has_room {
                    full.push(socket);
                }
                has_room
            });
            let Some((socket, message)) = next else { break };
            if let Some(outlet) = sockets.get(&socket) {
                outlet.sink.send(message);
            }
        }
        for socket in full {
            self.flush_when_room(socket);
        }
        // What has left makes room for the writers of streams.
        if self.0.node.borrow().has_effects() {
            self.drain();
        }
        self.arm_timer();
    }

    /// Flushes again when a full socket has room.
    fn flush_when_room(&self, socket: SocketId) {
        let room = {
            let mut sockets = self.0.sockets.borrow_mut();
            let Some(outlet) = sockets.get_mut(&socket).filter(|outlet| outlet.waiting.is_none()) else { return };
            let (room, abort) = abortable(outlet.sink.room());
            outlet.waiting = Some(abort);
            room
        };
        let host = Rc::downgrade(&self.0);
        self.0.ports.time.spawn(Box::pin(async move {
            // An error means that the socket has ended.
            if room.await.is_ok()
                && let Some(inner) = host.upgrade()
            {
                if let Some(outlet) = inner.sockets.borrow_mut().get_mut(&socket) {
                    outlet.waiting = None;
                }
                inner.node.borrow_mut().handle_room(socket);
                Host(inner).flush();
            }
        }));
    }
}

/// Waits while subscriptions that answer together are being read. Completes at once if no events wait in them, or none
/// was read.
async fn readers_paused(host: &Weak<Inner>) {
    let (mut quiet, mut end) = (QUIET_TURNS, None);
    while let Some(inner) = host.upgrade() {
        let reading = &inner.reading;
        if reading.waiting.get() == 0 {
            return;
        }
        if reading.advanced.replace(false) {
            let now = inner.ports.time.now_ms();
            if now >= *end.get_or_insert(now + GATHER_MS) {
                return;
            }
            quiet = 0;
        } else if quiet < QUIET_TURNS {
            quiet += 1;
        } else {
            return;
        }
        drop(inner);
        next_turn().await;
    }
}

/// Lets other ready tasks run first.
async fn next_turn() {
    let mut is_later = false;
    poll_fn(|context| {
        if std::mem::replace(&mut is_later, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use futures_util::{
        StreamExt,
        future::{join, join_all, ready},
    };
    use starlane_node::{Operations, Origin, Principal};
    use starlane_protocol::{Outcome, Payload, Topic};

    use super::*;
    use crate::{
        MemoryStore, handler,
        ports::Time,
        testing::{
            launch_world::{Page, World, address},
            virtual_time::VirtualTime,
        },
    };

    fn origin() -> Origin {
        Origin { address: address("starlane:page"), caller: Principal::default() }
    }

    async fn ask(page: &Page, bytes: usize) -> Outcome {
        let body = format!(r#"{{ "app": "acme:none"{} }}"#, " ".repeat(bytes));
        page.0.request(&origin(), &address("starlane:apps"), "get", Payload::json(body), 0).await
    }

    #[test]
    fn full_socket_gets_more_as_soon_as_it_has_room() {
        let time = VirtualTime::default();
        let clock = time.clone();
        let ran = time.run(async move {
            let world = World::new(Rc::new(clock.clone()), Rc::new(MemoryStore::new()));
            let page = world.page();
            assert!(ask(&page, 0).await.is_err(), "there is no such app");

            world.hold(true);
            let asked = join_all((0..20).map(|_| ask(&page, 60 * 1024)));
            let slow = async {
                clock.sleep(1).await;
                let buffered = world.buffered();
                assert!((SOCKET_BUFFER..SOCKET_BUFFER + 512 * 1024).contains(&buffered), "{buffered}");
                world.hold(false);
                clock.now_ms()
            };
            let (answers, opened) = join(asked, slow).await;
            let codes: Vec<_> = answers.into_iter().map(|answer| answer.err().map(|failure| failure.code)).collect();
            assert!(codes.iter().all(|code| code.as_deref() == Some("not-found")), "{codes:?}");
            assert_eq!(clock.now_ms(), opened, "nothing waited for a timer");
        });
        assert!(ran.is_some());
    }

    /// Returns the number of WebSocket messages for twenty answers, when the reader of twenty events takes a few turns
    /// for each.
    async fn messages_for_answers(clock: VirtualTime, together: bool) -> usize {
        let world = World::new(Rc::new(clock.clone()), Rc::new(MemoryStore::new()));
        let page = world.page();
        assert!(ask(&page, 0).await.is_err(), "there is no such app");
        let silent = handler(|_| ready(Ok(Payload::default())));
        let served = page.0.serve(&address("acme:ui:clock"), Operations::Named(Vec::new()), silent).unwrap();
        let events = page.0.subscribe(Topic::parse("acme:ui:clock#tick").unwrap(), 32);
        let mut events = if together { events.answer_together() } else { events };
        for _ in 0..20 {
            served.emit("tick", Payload::default()).unwrap();
        }
        world.hold(true);
        for _ in 0..20 {
            assert!(events.next().await.is_some());
            page.0.notify(&origin(), &address("starlane:apps"), "get", Payload::json("{}")).unwrap();
            for _ in 0..3 {
                next_turn().await;
            }
        }
        clock.sleep(1).await;
        world.messages()
    }

    #[test]
    fn answers_of_a_reader_are_sent_together() {
        let time = VirtualTime::default();
        let clock = time.clone();
        let counts = time.run(async move {
            let together = messages_for_answers(clock.clone(), true).await;
            (together, messages_for_answers(clock, false).await)
        });
        assert_eq!(counts, Some((1, 20)));
    }

    /// Returns the number of turns after which a message is sent, while an unread event waits in a subscription.
    async fn turns_for_message(clock: VirtualTime, together: bool) -> usize {
        let world = World::new(Rc::new(clock), Rc::new(MemoryStore::new()));
        let page = world.page();
        assert!(ask(&page, 0).await.is_err(), "there is no such app");
        let silent = handler(|_| ready(Ok(Payload::default())));
        let served = page.0.serve(&address("acme:ui:clock"), Operations::Named(Vec::new()), silent).unwrap();
        let events = page.0.subscribe(Topic::parse("acme:ui:clock#tick").unwrap(), 32);
        let _events = if together { events.answer_together() } else { events };
        served.emit("tick", Payload::default()).unwrap();
        world.hold(true);
        page.0.notify(&origin(), &address("starlane:apps"), "get", Payload::json("{}")).unwrap();
        let mut turns = 0;
        while world.messages() == 0 {
            next_turn().await;
            turns += 1;
        }
        turns
    }

    #[test]
    fn message_does_not_wait_for_events_that_nobody_reads() {
        let time = VirtualTime::default();
        let clock = time.clone();
        let turns = time.run(async move {
            let beside = turns_for_message(clock.clone(), true).await;
            (beside, turns_for_message(clock, false).await)
        });
        let (beside, alone) = turns.unwrap();
        assert_eq!(beside, alone);
    }
}
