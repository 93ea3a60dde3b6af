//! What goes wrong.

use crate::world::{Event, PAGES, SERVER, Sim};

impl Sim {
    /// Lets traffic and faults happen for a time.
    pub(crate) fn disturb(&mut self, ms: u64) {
        self.disturbed = true;
        self.at(1, Event::Traffic);
        self.at(1, Event::Fault);
        self.pass_until(self.now + ms);
        self.disturbed = false;
    }

    /// Lets time pass without faults and new traffic.
    pub(crate) fn heal(&mut self, ms: u64) {
        self.offline = [false; 3];
        self.slow = false;
        self.pass_until(self.now + ms);
    }

    pub(crate) fn fault(&mut self) {
        if !self.disturbed {
            return;
        }
        let delay = self.rng.u64(50..4_000);
        self.at(delay, Event::Fault);
        let page = PAGES[self.rng.usize(0..2)];
        match self.rng.u8(0..100) {
            0..55 => self.cut(page),
            55..65 => self.offline[page] = !self.offline[page],
            65..72 => self.slow = !self.slow,
            72..80 => {
                let ms = self.rng.u64(100..70_000);
                self.freeze(page, ms);
            }
            80..85 => {
                let ms = self.rng.u64(100..9_000);
                self.freeze(SERVER, ms);
            }
            85..92 if self.sides[page].frozen <= self.now => self.sides[page].node.handle_reconnect(self.now),
            92..94 => self.restart(SERVER),
            94..96 => self.restart(page),
            96..98 => {
                let other = if self.sides[page].token.ends_with('b') { "" } else { "b" };
                self.sides[page].token = format!("user{page}{other}");
                self.cut(page);
            }
            _ => {}
        }
    }

    /// Cuts the newest socket of a page. Each end notices at once, later, or only by the silence.
    fn cut(&mut self, page: usize) {
        let Some(pipe) = self.pipes.iter().rposition(|pipe| pipe.page == page) else { return };
        if !self.pipes[pipe].closed.is_empty() || !self.pipes[pipe].cut_at.is_empty() {
            return;
        }
        self.cuts += 1;
        for at in [page, SERVER] {
            let more = self.rng.u64(0..60);
            self.pipes[pipe].cut_at.insert(at, self.now + more);
            let delay = match self.rng.u8(0..10) {
                0..5 => self.rng.u64(60..300),
                5..8 => self.rng.u64(60..6_000),
                _ => continue,
            };
            self.at(delay, Event::Closed { pipe, at });
        }
    }
}
