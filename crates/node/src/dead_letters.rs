//! One-way messages, events and wakes that were not delivered: counted, and logged at a bounded rate.

use litemap::LiteMap;
use starlane_protocol::{Address, Failure, Message, Trace};

use crate::{guest::Level, node::Node};

/// The maximum number of log lines per second for the dead letters of one space.
const MAX_LINES_PER_SECOND: u32 = 20;
/// The maximum number of spaces with a separate log rate.
const MAX_SPACES: usize = 256;

/// The log rates of spaces. They are few, so this is a sorted vector.
#[derive(Debug, Default)]
pub(crate) struct DeadLetters(LiteMap<String, Told>);

#[derive(Debug, Default)]
struct Told {
    second: u64,
    lines: u32,
    untold: u64,
}

impl DeadLetters {
    /// Whether the log gets a line of a space now, and how many lines it missed before.
    fn line(&mut self, now: u64, space: &str) -> Option<u64> {
        let second = now / 1_000;
        if self.0.len() >= MAX_SPACES {
            self.0.retain(|_, told| told.second == second);
        }
        // All further spaces share a line.
        let space = if self.0.len() < MAX_SPACES || self.0.contains_key(space) { space } else { "" };
        let told = self.0.entry(space.to_owned()).or_default();
        if told.second != second {
            (told.second, told.lines) = (second, 0);
        }
        if told.lines >= MAX_LINES_PER_SECOND {
            told.untold += 1;
            return None;
        }
        told.lines += 1;
        Some(std::mem::take(&mut told.untold))
    }
}

impl Node {
    /// Reports a one-way message, an event or a wake that was not delivered.
    pub(crate) fn dead_letter(
        &mut self,
        now: u64,
        to: &Address,
        operation: &str,
        trace: Option<Trace>,
        failure: &Failure,
    ) {
        self.stats.dead_letters += 1;
        let Some(untold) = self.dead_letters.line(now, to.space()) else { return };
        let mut text = format!("a one-way message `{operation}` was not delivered: {failure}");
        if untold > 0 {
            text += &format!("; {untold} lines like this suppressed");
        }
        self.log_traced(to, Level::Warn, trace, text);
    }

    /// Ends the one-way messages that actors hold or wait for, because the host closes.
    pub(crate) fn bury_mail(&mut self, now: u64, failure: &Failure) {
        let mut ended: Vec<(Address, Message)> = Vec::new();
        for (_, actor) in self.actors.iter_mut() {
            let in_flight = std::mem::take(&mut actor.in_flight);
            actor.requeue(in_flight.into_iter());
            let (unfinished, _) = actor.lose_instance();
            let waiting = std::mem::take(&mut actor.mailbox).into_iter().map(|entry| entry.1.it);
            let one_way = unfinished.into_iter().chain(waiting).filter(|letter| letter.request.is_none());
            ended.extend(one_way.map(|letter| (actor.address.clone(), letter)));
        }
        for (address, letter) in ended {
            self.dead_letter(now, &address, &letter.operation, letter.trace, failure);
        }
    }
}
