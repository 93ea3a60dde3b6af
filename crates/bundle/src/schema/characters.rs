//! Sets of characters, and those that JavaScript and the server's engine name differently.

use regex_syntax::ast::{ClassPerl, ClassPerlKind};

/// Ranges of characters, with both ends included; sorted, without overlaps.
pub(super) type Ranges = Vec<(char, char)>;

const DIGIT: &[(char, char)] = &[('0', '9')];
const WORD: &[(char, char)] = &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];
/// White space and line terminators of ECMAScript.
const SPACE: &[(char, char)] = &[
    ('\t', '\r'),
    (' ', ' '),
    ('\u{a0}', '\u{a0}'),
    ('\u{1680}', '\u{1680}'),
    ('\u{2000}', '\u{200a}'),
    ('\u{2028}', '\u{2029}'),
    ('\u{202f}', '\u{202f}'),
    ('\u{205f}', '\u{205f}'),
    ('\u{3000}', '\u{3000}'),
    ('\u{feff}', '\u{feff}'),
];
/// The characters that `.` does not match in ECMAScript.
pub(super) const LINE_ENDS: &[(char, char)] = &[('\n', '\n'), ('\r', '\r'), ('\u{2028}', '\u{2029}')];

/// The characters of `\d`, `\s` and `\w` in ECMAScript.
pub(super) fn perl_ranges(perl: &ClassPerl) -> Ranges {
    let ranges = match perl.kind {
        ClassPerlKind::Digit => DIGIT,
        ClassPerlKind::Space => SPACE,
        ClassPerlKind::Word => WORD,
    };
    if perl.negated { complement(ranges) } else { ranges.to_vec() }
}

/// Sorts ranges and joins overlaps.
pub(super) fn sorted(mut ranges: Ranges) -> Ranges {
    ranges.sort_unstable();
    let mut merged: Ranges = Vec::new();
    for (from, to) in ranges {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

/// Returns all other characters.
pub(super) fn complement(ranges: &[(char, char)]) -> Ranges {
    let after = |c: char| (u32::from(c) + 1..=0x10_ffff).find_map(char::from_u32);
    let before = |c: char| (0..u32::from(c)).rev().find_map(char::from_u32);
    let mut rest = Vec::new();
    let mut from = Some('\0');
    for (first, last) in ranges {
        if let (Some(from), Some(to)) = (from, before(*first))
            && from <= to
        {
            rest.push((from, to));
        }
        from = after(*last);
    }
    rest.extend(from.map(|from| (from, char::MAX)));
    rest
}

/// Returns whether two sets have no character in common.
pub(super) fn disjoint(a: &[(char, char)], b: &[(char, char)]) -> bool {
    a.iter().all(|a| b.iter().all(|b| a.1 < b.0 || b.1 < a.0))
}
