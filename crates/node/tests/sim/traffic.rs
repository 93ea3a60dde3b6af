//! What the hosts send, and what became of it.

use std::collections::BTreeMap;

use starlane_node::{Origin, Principal, RequestId};
use starlane_protocol::{Message, Outcome, Payload};

use crate::world::{Event, PAGES, SERVER, Sim, address, topic};

/// A message that was sent.
pub(crate) struct Sent {
    pub(crate) from: usize,
    /// The name of the sender's host, which changes with its principal and when it is started again.
    name: String,
    pub(crate) to: usize,
    /// The address of the target, which changes with the name of its host.
    target: String,
    /// The principal of the sender's last welcome.
    principal: Option<String>,
    pub(crate) request: Option<RequestId>,
    pub(crate) deadline: u64,
    /// The outcome of a request, or of a one-way message that was refused at once.
    pub(crate) outcome: Option<Outcome>,
    /// Whether the sender or the target died: nobody is left to say what became of it.
    pub(crate) excused: bool,
}

#[derive(Default)]
pub(crate) struct Record {
    pub(crate) sent: BTreeMap<u64, Sent>,
    by_request: BTreeMap<(usize, RequestId), u64>,
    /// Each message that a handler got, in order.
    pub(crate) taken: std::collections::BTreeSet<(usize, u64)>,
    /// The last taken message of each sender and target.
    last: BTreeMap<(String, String), u64>,
    /// The dead letters of nodes that were killed.
    pub(crate) buried: u64,
    emitted: u64,
    /// The last event of each page, and whether a gap was reported since.
    events: BTreeMap<usize, (Option<u64>, bool)>,
}

impl Record {
    pub(crate) fn died(&mut self, side: usize, dead_letters: u64) {
        self.buried += dead_letters;
        let concerned = |sent: &&mut Sent| sent.from == side || sent.to == side || side == SERVER;
        self.sent.values_mut().filter(concerned).for_each(|sent| sent.excused |= sent.outcome.is_none());
        for sent in self.sent.values_mut().filter(|sent| sent.from == side) {
            sent.outcome.get_or_insert(Ok(Payload::nothing()));
        }
        self.by_request.retain(|(owner, _), _| *owner != side);
        if side != SERVER {
            self.events.remove(&side);
        }
    }

    pub(crate) fn ended(&mut self, now: u64, at: usize, request: RequestId, outcome: Outcome) {
        let Some(id) = self.by_request.remove(&(at, request)) else { return };
        let was_taken = self.taken.iter().any(|(_, taken)| *taken == id);
        let sent = self.sent.get_mut(&id).unwrap();
        assert!(sent.outcome.is_none(), "request {id} ended twice");
        match &outcome {
            Ok(reply) => assert!(was_taken && number(&reply.body) == id, "request {id} got the reply of another"),
            Err(failure) => {
                assert!(!(was_taken && failure.sent == Some(false)), "request {id} was taken at {now}, but: {failure}");
            }
        }
        sent.outcome = Some(outcome);
    }

    pub(crate) fn event(&mut self, page: usize, body: &[u8]) {
        let (last, gap) = self.events.entry(page).or_default();
        let number = number(body);
        if let Some(last) = *last {
            assert!(number > last, "event {number} came after event {last}");
            assert!(number == last + 1 || *gap, "events between {last} and {number} are missing without a gap");
        }
        (*last, *gap) = (Some(number), false);
    }

    pub(crate) fn gap(&mut self, page: usize) {
        self.events.entry(page).or_default().1 = true;
    }

    /// Whether the last event, or a gap behind it, reached a page.
    pub(crate) fn has_all_events(&self, page: usize) -> bool {
        self.events.get(&page).is_none_or(|(last, gap)| *gap || last.is_none_or(|last| last == self.emitted))
    }
}

/// The number at the beginning of a body.
fn number(body: &[u8]) -> u64 {
    let digits: String = body.iter().take_while(|byte| byte.is_ascii_digit()).map(|byte| char::from(*byte)).collect();
    digits.parse().unwrap()
}

impl Sim {
    /// A body with the number of its message, mostly short.
    fn body(&mut self, id: u64) -> Payload {
        let size = match self.rng.u8(..) {
            0..2 => self.rng.usize(65_000..400_000),
            2..20 => self.rng.usize(1_000..40_000),
            _ => self.rng.usize(0..100),
        };
        let mut body = format!("{id}x").into_bytes();
        body.resize(body.len() + size, b'x');
        Payload::new("text/plain", body)
    }

    /// A page sends something, or the server emits an event.
    pub(crate) fn traffic(&mut self) {
        let delay = if self.rng.u8(..) < 10 { 1 } else { self.rng.u64(5..120) };
        if self.disturbed {
            self.at(delay, Event::Traffic);
        }
        let many = if self.rng.u8(..) < 2 { 150 } else { 1 };
        for _ in 0..many {
            match self.rng.u8(0..8) {
                0..2 => self.emit(),
                2 if many == 1 => self.send_stream(),
                _ => self.send(),
            }
        }
        self.run();
    }

    fn emit(&mut self) {
        if self.sides[SERVER].frozen > self.now {
            return;
        }
        self.record.emitted += 1;
        let (now, body) = (self.now, self.body(self.record.emitted));
        self.sides[SERVER].node.handle_emit(now, &topic().address, "changes", body).unwrap();
    }

    fn send(&mut self) {
        let from = PAGES[self.rng.usize(0..2)];
        if self.sides[from].frozen > self.now {
            return;
        }
        let other = PAGES[usize::from(from == PAGES[0])];
        let to = if self.rng.u8(0..3) == 0 { other } else { SERVER };
        let target = match to {
            SERVER => address("acme:service"),
            page => address(&format!("{}::acme:ui", self.sides[page].node.name())),
        };
        let id = self.record.sent.len() as u64 + 1;
        let (now, body) = (self.now, self.body(id));
        let origin = Origin { address: address("starlane:page"), caller: Principal::named("me") };
        let timeout = self.rng.u32(100..40_000);
        let principal = self.sides[from].principal.clone();
        let name = self.sides[from].node.name().to_string();
        let mut sent = Sent {
            from,
            name,
            to,
            target: target.to_string(),
            principal,
            request: None,
            deadline: now,
            outcome: None,
            excused: false,
        };
        let node = &mut self.sides[from].node;
        if self.rng.bool() {
            let request = node.handle_request(now, &origin, &target, "echo", body, timeout);
            (sent.request, sent.deadline) = (Some(request), now + u64::from(timeout));
            self.record.by_request.insert((from, request), id);
        } else {
            sent.outcome = node.handle_notify(now, &origin, &target, "note", body).err().map(Err);
        }
        self.record.sent.insert(id, sent);
    }

    /// A handler got a message.
    pub(crate) fn delivered(&mut self, at: usize, message: Message) {
        let id = number(&message.payload.body);
        let record = &mut self.record;
        let sent = &record.sent[&id];
        assert!(!record.taken.contains(&(at, id)), "message {id} was taken twice");
        assert_eq!(sent.to, at, "message {id} reached another host");
        if let Some(Err(failure)) = &sent.outcome {
            assert_ne!(failure.sent, Some(false), "message {id} was taken, but: {failure}");
        }
        // Messages to another page pass through the server, which stamps the caller once.
        if let Some(principal) = &sent.principal {
            assert_eq!(message.caller.name(), principal, "message {id} left on the link of another principal");
        }
        if let Some(last) = record.last.insert((sent.name.clone(), sent.target.clone()), id) {
            assert!(last < id, "message {id} came after message {last}");
        }
        record.taken.insert((at, id));
        if let Some(request) = message.request {
            let epoch = self.sides[at].epoch;
            // Some handlers never answer.
            if self.rng.u8(..) > 8 {
                let delay = if self.rng.u8(..) < 30 { self.rng.u64(0..8_000) } else { self.rng.u64(0..30) };
                let body = self.body(id).body.to_vec();
                self.at(delay, Event::Reply { at, request, body, epoch });
            }
        }
    }
}
