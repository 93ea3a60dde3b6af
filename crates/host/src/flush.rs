//! What the links have to send goes to their sockets: together, and only to those that have room.

use std::rc::Rc;

use futures_util::future::{AbortHandle, abortable};
use starlane_node::SocketId;

use crate::{
    host::Host,
    ports::{SOCKET_BUFFER, SocketSink},
};

/// The sending half of an open socket.
pub(crate) struct Outlet {
    pub(crate) sink: Box<dyn SocketSink>,
    /// Ends the task that waits for room, while there is one.
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
    /// Transmits when this turn and the ones that follow at once are over: frames that wait together leave together.
    pub(crate) fn flush_soon(&self) {
        if self.0.flushing.replace(true) {
            return;
        }
        let host = Rc::downgrade(&self.0);
        self.0.ports.time.spawn(Box::pin(async move {
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
        self.arm_timer();
    }

    /// Flushes again when a socket that is full has room.
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
            // An error says that the socket is gone.
            if room.await.is_ok()
                && let Some(inner) = host.upgrade()
            {
                if let Some(outlet) = inner.sockets.borrow_mut().get_mut(&socket) {
                    outlet.waiting = None;
                }
                Host(inner).flush();
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use futures_util::future::{join, join_all};
    use starlane_node::{Origin, Principal};
    use starlane_protocol::{Outcome, Payload};

    use super::*;
    use crate::{
        MemoryStore,
        ports::Time,
        testing::{
            launch_world::{Page, World, address},
            virtual_time::VirtualTime,
        },
    };

    async fn ask(page: &Page, bytes: usize) -> Outcome {
        let origin = Origin { address: address("starlane:page"), caller: Principal::default() };
        let body = format!(r#"{{ "app": "acme:none"{} }}"#, " ".repeat(bytes));
        page.0.request(&origin, &address("starlane:apps"), "get", Payload::json(body), 0).await
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
            let asked = join_all((0..20).map(|_| ask(&page, 100 * 1024)));
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
}
