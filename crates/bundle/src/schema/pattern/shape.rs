//! What is known of a part of a pattern: in how many ways it can match, and how large it is.

use super::super::{
    MAX_LENGTH,
    characters::{Ranges, disjoint, sorted},
};

/// The size of a class whose characters are not known here: none of Unicode's is larger.
const UNICODE: u64 = 900;

/// What is known of a part.
#[derive(Clone)]
pub(super) struct Shape {
    /// In how many ways it can match, if each is tried.
    ways: u64,
    /// The same, if what follows begins with nothing of `tail`: then the next character says whether a repetition goes on.
    pub(super) settled: u64,
    /// What it may go on with where it could end, if that is known.
    tail: Option<Ranges>,
    /// What it may begin with, if that is known.
    first: Option<Ranges>,
    /// Whether how much it matches is open.
    open: bool,
    /// Whether it matches nothing, too.
    pub(super) empty: bool,
    /// Whether it begins with `^`.
    pub(super) anchored: bool,
    /// At most so many states of an automaton, its repetitions written out, if one has about 100 bytes.
    pub(super) size: u64,
}

impl Shape {
    /// One of these characters, if they are known.
    pub(super) fn character(first: Option<Ranges>) -> Self {
        let size = first.as_deref().map_or(UNICODE, size_of);
        Self { ways: 1, settled: 1, tail: Some(Vec::new()), first, open: false, empty: false, anchored: false, size }
    }

    /// No character.
    pub(super) fn nothing(anchored: bool) -> Self {
        Self { first: Some(Vec::new()), empty: true, anchored, size: 1, ..Self::character(None) }
    }

    /// One of several: if they begin differently, the first character says which.
    pub(super) fn one_of(branches: &[Self]) -> Self {
        let first = all_of(branches.iter().map(|branch| branch.first.clone()));
        let apart = first.is_some() && {
            let mut all: Ranges =
                branches.iter().filter_map(|branch| branch.first.as_ref()).flatten().copied().collect();
            all.sort_unstable();
            branches.iter().all(|branch| !branch.empty)
                && all.windows(2).all(|pair| matches!(pair, [a, b] if a.1 < b.0))
        };
        let count = |ways: &dyn Fn(&Self) -> u64| match apart {
            true => branches.iter().map(ways).max().unwrap_or(1),
            false => branches.iter().map(ways).fold(0, u64::saturating_add),
        };
        Self {
            ways: count(&|branch| branch.ways),
            settled: count(&|branch| branch.settled),
            tail: all_of(branches.iter().map(|branch| branch.tail.clone())),
            first,
            open: !apart || branches.iter().any(|branch| branch.open),
            empty: branches.iter().any(|branch| branch.empty),
            anchored: branches.iter().all(|branch| branch.anchored),
            size: branches.iter().fold(1, |sum, branch| sum.saturating_add(branch.size)),
        }
    }

    /// One after another: a repetition that is followed by what it can't match has one way to end.
    pub(super) fn sequence(parts: Vec<Self>) -> Self {
        let mut whole = Self::nothing(parts.first().is_some_and(|part| part.anchored));
        // From the end. What may follow: characters, if they are known, and perhaps what stands behind the sequence.
        let (mut next, mut outside) = (Some(Vec::new()), true);
        for part in parts.into_iter().rev() {
            let told_apart = part.tail.as_ref().zip(next.as_ref()).is_some_and(|(tail, next)| disjoint(tail, next));
            let settled = if told_apart { part.settled } else { part.ways };
            whole.settled = whole.settled.saturating_mul(settled);
            whole.ways = whole.ways.saturating_mul(if outside { part.ways } else { settled });
            whole.size = whole.size.saturating_add(part.size);
            if outside {
                whole.tail = all_of([whole.tail.take(), part.tail]);
            }
            whole.open |= part.open;
            if part.empty {
                next = all_of([next, part.first]);
            } else {
                (next, outside, whole.empty) = (part.first, false, false);
            }
        }
        whole.first = next;
        whole
    }

    /// This from `least` to `most` times. The error says why that can take for ever.
    pub(super) fn repeated(self, least: u32, most: Option<u32>) -> Result<Self, String> {
        let times = most.unwrap_or(least.saturating_add(1));
        let size = self.size.saturating_add(1).saturating_mul(times.into());
        let repeated = Self { empty: least == 0, anchored: false, size, ..self };
        match (least, most) {
            (0, Some(1)) => Ok(Self {
                ways: repeated.ways.saturating_add(1),
                tail: all_of([repeated.first.clone(), repeated.tail]),
                open: true,
                ..repeated
            }),
            (least, Some(most)) if least == most => {
                let before = repeated.ways.saturating_pow(most.saturating_sub(1));
                let (ways, settled) = (before.saturating_mul(repeated.ways), before.saturating_mul(repeated.settled));
                Ok(Self { ways, settled, ..repeated })
            }
            _ if repeated.open => {
                Err("repetitions within a repetition, or choices there that begin alike, can take for ever; \
                     write what may come in one class, such as `[a-z-]+`"
                    .to_owned())
            }
            _ => {
                let span = most.map_or(MAX_LENGTH, u64::from).saturating_sub(u64::from(least)).saturating_add(1);
                let (ways, tail) = (span.saturating_mul(repeated.ways), repeated.first.clone());
                Ok(Self { ways, tail, open: true, ..repeated })
            }
        }
    }
}

/// An automaton reads UTF-8: a range of more than ASCII is several there.
fn size_of(ranges: &[(char, char)]) -> u64 {
    let count = ranges.len() as u64;
    let size = if ranges.iter().all(|(_, to)| to.is_ascii()) { count + 1 } else { count * 8 + 16 };
    size.min(UNICODE)
}

/// All ranges, if all are known.
fn all_of(known: impl IntoIterator<Item = Option<Ranges>>) -> Option<Ranges> {
    let all: Option<Vec<Ranges>> = known.into_iter().collect();
    all.map(|all| sorted(all.into_iter().flatten().collect()))
}
