//! Properties of a part of a pattern: the number of ways in which it can match, and its size.

use super::super::{
    MAX_TEXT_CHARS,
    characters::{Ranges, disjoint, sorted},
};

/// The size of a class whose characters are not known here: the largest Unicode class.
const UNICODE: u64 = 900;

/// The properties of a part.
#[derive(Clone)]
pub(super) struct Shape {
    /// The number of ways in which it can match, if each is tried.
    ways: u64,
    /// The same, if the next part cannot begin with a character of `tail`: the next character then decides whether a
    /// repetition continues.
    pub(super) settled: u64,
    /// The characters with which it may continue where it could end, if they are known.
    tail: Option<Ranges>,
    /// The characters with which it may begin, if they are known.
    first: Option<Ranges>,
    /// Whether it matches texts of different lengths.
    open: bool,
    /// Whether it also matches the empty text.
    pub(super) empty: bool,
    /// Whether it begins with `^`.
    pub(super) anchored: bool,
    /// The maximum number of states of an automaton, with repetitions expanded; a state takes about 100 bytes.
    pub(super) size: u64,
}

impl Shape {
    /// A part that matches one of these characters, if they are known.
    pub(super) fn character(first: Option<Ranges>) -> Self {
        let size = first.as_deref().map_or(UNICODE, size_of);
        Self { ways: 1, settled: 1, tail: Some(Vec::new()), first, open: false, empty: false, anchored: false, size }
    }

    /// A part that matches no character.
    pub(super) fn nothing(anchored: bool) -> Self {
        Self { first: Some(Vec::new()), empty: true, anchored, size: 1, ..Self::character(None) }
    }

    /// A choice: if the branches begin with different characters, the first character decides which branch matches.
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

    /// A sequence. A repetition has one way to end if the next part cannot begin with a character of the repetition.
    pub(super) fn sequence(parts: Vec<Self>) -> Self {
        let mut whole = Self::nothing(parts.first().is_some_and(|part| part.anchored));
        // From the end. `next` has the characters that may follow, if they are known; `outside`: the text behind the
        // sequence may follow too.
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

    /// This part from `least` to `most` times. The error says why matching may take forever.
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
                Err("a repetition contains a repetition, or choices that begin alike, so matching may take forever; \
                     use one class instead, such as `[a-z-]+`"
                    .to_owned())
            }
            _ => {
                let span = most.map_or(MAX_TEXT_CHARS, u64::from).saturating_sub(u64::from(least)).saturating_add(1);
                let (ways, tail) = (span.saturating_mul(repeated.ways), repeated.first.clone());
                Ok(Self { ways, tail, open: true, ..repeated })
            }
        }
    }
}

/// An automaton reads UTF-8, in which a range beyond ASCII becomes several ranges.
fn size_of(ranges: &[(char, char)]) -> u64 {
    let count = ranges.len() as u64;
    let size = if ranges.iter().all(|(_, to)| to.is_ascii()) { count + 1 } else { count * 8 + 16 };
    size.min(UNICODE)
}

/// The union of all ranges; `None` if one of them is not known.
fn all_of(known: impl IntoIterator<Item = Option<Ranges>>) -> Option<Ranges> {
    let all: Option<Vec<Ranges>> = known.into_iter().collect();
    all.map(|all| sorted(all.into_iter().flatten().collect()))
}
