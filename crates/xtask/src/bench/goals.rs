//! The rows of the benchmark, with their goals.

use super::table::grouped;

/// The goal of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Goal {
    /// Our value is at most this multiple of the other.
    AtMostTimes(&'static str, f64),
    /// Our value is at least this multiple of the other.
    AtLeastTimes(&'static str, f64),
    /// The other value is at least this multiple of ours.
    Faster(&'static str, f64),
    /// Our value exceeds the other by at most this much.
    AtMostMore(&'static str, f64),
    /// Our value is at most this.
    AtMost(f64),
}

impl Goal {
    /// The number to reach.
    pub(super) fn bound(self) -> f64 {
        match self {
            Goal::AtMostTimes(_, bound)
            | Goal::AtLeastTimes(_, bound)
            | Goal::Faster(_, bound)
            | Goal::AtMostMore(_, bound)
            | Goal::AtMost(bound) => bound,
        }
    }

    /// The contender that ours is compared with, if any.
    pub(super) fn other(self) -> Option<&'static str> {
        match self {
            Goal::AtMostTimes(other, _)
            | Goal::AtLeastTimes(other, _)
            | Goal::Faster(other, _)
            | Goal::AtMostMore(other, _) => Some(other),
            Goal::AtMost(_) => None,
        }
    }

    /// Whether a ratio is judged.
    pub(super) fn is_ratio(self) -> bool {
        !matches!(self, Goal::AtMostMore(..) | Goal::AtMost(_))
    }

    /// The judged number of a round: a ratio, a difference, or ours.
    pub(super) fn judged(self, ours: f64, other: f64) -> f64 {
        match self {
            Goal::AtMostTimes(..) | Goal::AtLeastTimes(..) => ours / other,
            Goal::Faster(..) => other / ours,
            Goal::AtMostMore(..) => ours - other,
            Goal::AtMost(_) => ours,
        }
    }

    /// Whether a judged number reaches the goal.
    pub(super) fn is_reached_by(self, judged: f64) -> bool {
        match self {
            Goal::AtMostTimes(..) | Goal::AtMostMore(..) | Goal::AtMost(_) => judged <= self.bound(),
            Goal::AtLeastTimes(..) | Goal::Faster(..) => judged >= self.bound(),
        }
    }

    /// In a few words: `≤ 3 × floor`.
    pub(super) fn words(self) -> String {
        match self {
            Goal::AtMostTimes(other, bound) => format!("≤ {bound} × {other}"),
            Goal::AtLeastTimes(other, bound) => format!("≥ {bound} × {other}"),
            Goal::Faster(other, bound) => format!("≥ {bound} × faster than {other}"),
            Goal::AtMostMore(other, bound) => format!("≤ {other} + {}", grouped(bound)),
            Goal::AtMost(bound) => format!("≤ {}", grouped(bound)),
        }
    }
}

/// A row of the benchmark.
pub(super) struct Entry {
    /// Its name in `target/bench.json`.
    pub(super) id: &'static str,
    /// The measure that it judges. Several rows may judge the same measure.
    pub(super) measure: &'static str,
    /// The description of the measure, for people.
    pub(super) title: &'static str,
    pub(super) goal: Goal,
}

const fn entry(id: &'static str, measure: &'static str, title: &'static str, goal: Goal) -> Entry {
    Entry { id, measure, title, goal }
}

/// All rows, in their order in tables.
pub(super) const CATALOGUE: &[Entry] = {
    use Goal::{AtLeastTimes, AtMost, AtMostMore, AtMostTimes, Faster};
    &[
        entry("P1/64B", "P1/64B", "Call into a guest and back, same thread, 64 B", AtMostTimes("floor", 3.0)),
        entry(
            "P1/64B/extism",
            "P1/64B",
            "Call into a guest and back, same thread, 64 B, beside Extism",
            Faster("extism", 3.0),
        ),
        entry("P1/4KiB", "P1/4KiB", "Call into a guest and back, same thread, 4 KiB", AtMostTimes("floor", 3.0)),
        entry(
            "P1/4KiB/extism",
            "P1/4KiB",
            "Call into a guest and back, same thread, 4 KiB, beside Extism",
            Faster("extism", 10.0),
        ),
        entry("P1/64KiB", "P1/64KiB", "Call into a guest and back, same thread, 64 KiB", AtMostTimes("floor", 3.0)),
        entry(
            "P1/64KiB/extism",
            "P1/64KiB",
            "Call into a guest and back, same thread, 64 KiB, beside Extism",
            Faster("extism", 50.0),
        ),
        entry("P2/1KiB", "P2/1KiB", "Call through a worker, one at a time, 1 KiB", AtMostTimes("floor", 1.3)),
        entry(
            "P2/1KiB/worn",
            "P2/1KiB/worn",
            "Call through a worker, one at a time, 1 KiB, after 100,000 calls",
            AtMostTimes("floor", 1.3),
        ),
        entry("P3/64B", "P3/64B", "Calls through a worker, 256 in flight, 64 B", AtLeastTimes("comlink", 3.0)),
        entry("P4/1MiB", "P4/1MiB", "1 MiB through a guest in a worker and back", AtMost(2.0)),
        entry(
            "P5/64B",
            "P5/64B",
            "Page to a mechtron on the server and back, one at a time, 64 B",
            AtMostTimes("floor", 1.4),
        ),
        entry(
            "P5/64B/nats",
            "P5/64B",
            "Page to a mechtron on the server and back, one at a time, 64 B, beside NATS",
            AtMostTimes("nats", 0.5),
        ),
        entry(
            "P5/4KiB",
            "P5/4KiB",
            "Page to a mechtron on the server and back, one at a time, 4 KiB",
            AtMostTimes("floor", 1.4),
        ),
        entry(
            "P5/4KiB/nats",
            "P5/4KiB",
            "Page to a mechtron on the server and back, one at a time, 4 KiB, beside NATS",
            AtMostTimes("nats", 0.5),
        ),
        entry(
            "P6/64B",
            "P6/64B",
            "Page to a mechtron on the server and back, 256 in flight, 64 B",
            AtLeastTimes("nats", 1.2),
        ),
        entry(
            "P6/4KiB",
            "P6/4KiB",
            "Page to a mechtron on the server and back, 256 in flight, 4 KiB",
            AtLeastTimes("nats", 3.0),
        ),
        entry("P7/64B", "P7/64B", "Events, page to server to page, 256 in flight, 64 B", AtLeastTimes("nats", 0.8)),
        entry("P8", "P8", "Launch of a cached app to its first reply, warm worker", AtMost(5.0)),
        entry(
            "P10/first-load",
            "P10/first-load",
            "First load of the npm package, each file by gzip -9",
            AtMost(150_000.0),
        ),
        entry("P10/meter", "P10/meter", "Checker of modules in a page, loaded later, by gzip -9", AtMost(122_880.0)),
        entry(
            "P11/64B",
            "P11/64B",
            "One link to a mechtron on the server, 256 in flight, 64 B",
            AtLeastTimes("raw", 0.6),
        ),
        entry(
            "P11/4KiB",
            "P11/4KiB",
            "One link to a mechtron on the server, 256 in flight, 4 KiB",
            AtLeastTimes("raw", 0.25),
        ),
        entry("P12/asleep", "P12/asleep", "Memory of an actor that sleeps, of 10,000 on a server", AtMost(4_096.0)),
        entry(
            "P12/awake",
            "P12/awake",
            "Memory of an actor that is awake, of 800 on a server, without its own",
            AtMost(64_000.0),
        ),
        entry("P12/wake", "P12/wake", "Waking an actor on a server, to its reply", AtMost(2.0)),
        entry("P12/tab/asleep", "P12/tab/asleep", "Memory of an actor that sleeps, of 1,000 in a tab", AtMost(4_096.0)),
        entry(
            "P12/tab/awake",
            "P12/tab/awake",
            "Memory of an actor that is awake, in a tab, beside a bare instance",
            AtMostMore("floor", 200_000.0),
        ),
        entry("P12/tab/wake", "P12/tab/wake", "Waking an actor in a tab, to its reply", AtMost(2.0)),
        entry("http/static", "http/static", "A file of 4 KiB, 32 connections", AtLeastTimes("nginx", 0.5)),
        entry(
            "links.idle-cost",
            "links.idle-cost",
            "A message over one link, with 2,000 other links that are idle and with none",
            AtMostTimes("none", 1.3),
        ),
        entry("links.idle-bytes", "links.idle-bytes", "Memory of a link that is idle, of 2,000", AtMost(16_384.0)),
        entry(
            "actors.idle-cost",
            "actors.idle-cost",
            "A message, with 10,000 actors that sleep and with none",
            AtMostTimes("none", 1.3),
        ),
        entry("actors.failed", "actors.failed", "Requests to 10,000 actors in turn that fail", AtMost(0.0)),
        entry(
            "database/write",
            "database/write",
            "A write to a database by `/messages`, 32 connections, beside SQLite behind plain HTTP",
            AtLeastTimes("sqlite", 0.5),
        ),
        entry("run.cold", "run.cold", "`cargo xtask run` on a fresh machine, until the demo is served", AtMost(600.0)),
        entry(
            "http/messages",
            "http/messages",
            "Messages over HTTP, beside another version",
            AtLeastTimes("baseline", 0.95),
        ),
        entry(
            "http/route",
            "http/route",
            "A route to a mechtron, beside another version",
            AtLeastTimes("baseline", 0.95),
        ),
        entry("http/files", "http/files", "A file of 4 KiB, beside another version", AtLeastTimes("baseline", 0.95)),
    ]
};

/// The rows that judge a measure.
pub(super) fn of_measure(measure: &str) -> impl Iterator<Item = &'static Entry> {
    CATALOGUE.iter().filter(move |entry| entry.measure == measure)
}

/// The row with this name.
pub(super) fn by_id(id: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rows_are_unique() {
        for (at, entry) in CATALOGUE.iter().enumerate() {
            assert!(CATALOGUE.iter().skip(at + 1).all(|other| other.id != entry.id), "{} is there twice", entry.id);
        }
    }

    #[test]
    fn a_goal_knows_its_direction() {
        assert!(Goal::AtMost(2.0).is_reached_by(2.0) && !Goal::AtMost(2.0).is_reached_by(2.1));
        assert!(
            Goal::AtMostTimes("floor", 3.0).is_reached_by(0.5) && !Goal::AtMostTimes("floor", 3.0).is_reached_by(3.5)
        );
        assert!(
            Goal::AtLeastTimes("nats", 0.8).is_reached_by(1.0) && !Goal::AtLeastTimes("nats", 0.8).is_reached_by(0.7)
        );
        assert_eq!(Goal::AtMostMore("floor", 100.0).judged(150.0, 80.0), 70.0);
        assert_eq!(
            [Goal::Faster("x", 1.0), Goal::AtLeastTimes("x", 1.0)].map(|goal| goal.judged(2.0, 8.0)),
            [4.0, 0.25]
        );
        assert!(Goal::Faster("extism", 3.0).is_reached_by(4.0) && !Goal::Faster("extism", 3.0).is_reached_by(2.0));
        assert_eq!(Goal::Faster("extism", 3.0).words(), "≥ 3 × faster than extism");
    }
}
