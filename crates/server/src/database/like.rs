//! LIKE and GLOB with a deadline. They follow `patternCompare` in SQLite's `func.c`.

/// The special characters of a pattern; 0 where there is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wildcards {
    all: u32,
    one: u32,
    /// In GLOB this is `[`, which begins a set; in LIKE it is the escape character.
    other: u32,
    sets: bool,
    any_case: bool,
}

pub(super) const LIKE: Wildcards =
    Wildcards { all: '%' as u32, one: '_' as u32, other: 0, sets: false, any_case: true };
pub(super) const GLOB: Wildcards =
    Wildcards { all: '*' as u32, one: '?' as u32, other: '[' as u32, sets: true, any_case: false };

impl Wildcards {
    pub(super) fn escape_with(&mut self, escape: u32) {
        if escape == self.all {
            self.all = 0;
        }
        if escape == self.one {
            self.one = 0;
        }
        self.other = escape;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Match,
    NoMatch,
    /// There is no match, wherever an earlier wildcard ends. This result avoids exponential time.
    NoMatchAtAll,
    Interrupted,
}

/// The number of compared characters between two checks of the deadline.
const LOOK: u32 = 1 << 16;

struct Comparison<'a> {
    wildcards: &'a Wildcards,
    over: &'a mut dyn FnMut() -> bool,
    steps: u32,
}

/// Compares a text with a pattern. Both end at their first zero byte. `over` returns whether the deadline has passed.
pub(super) fn compare(pattern: &[u8], text: &[u8], wildcards: &Wildcards, over: &mut dyn FnMut() -> bool) -> Outcome {
    Comparison { wildcards, over, steps: 0 }.compare(Bytes(pattern), Bytes(text))
}

/// The character of a text with exactly one character, otherwise none.
pub(super) fn only_character(text: &[u8]) -> Option<u32> {
    let mut text = Bytes(text);
    let character = text.next();
    (character != 0 && text.peek() == 0).then_some(character)
}

/// The rest of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn peek(&self) -> u8 {
        self.0.first().copied().unwrap_or_default()
    }

    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) if *first != 0 => {
                self.0 = rest;
                *first
            }
            _ => 0,
        }
    }

    /// The next character, 0 at the end. Bytes that are not UTF-8 are decoded as SQLite decodes them.
    fn next(&mut self) -> u32 {
        let first = u32::from(self.byte());
        if first < 0xc0 {
            return first;
        }
        let mut character = match first {
            0xc0..0xe0 => first - 0xc0,
            0xe0..0xf0 => first - 0xe0,
            0xf0..0xf8 => first - 0xf0,
            0xf8..0xfc => first - 0xf8,
            0xfc..0xfe => first - 0xfc,
            _ => 0,
        };
        while self.peek() & 0xc0 == 0x80 {
            character = (character << 6).wrapping_add(u32::from(self.byte() & 0x3f));
        }
        if character < 0x80 || character & 0xffff_f800 == 0xd800 || character & 0xffff_fffe == 0xfffe {
            return 0xfffd;
        }
        character
    }

    fn skip(&mut self) {
        if self.byte() >= 0xc0 {
            while self.peek() & 0xc0 == 0x80 {
                self.byte();
            }
        }
    }
}

fn lower(character: u32) -> u32 {
    if (u32::from(b'A')..=u32::from(b'Z')).contains(&character) { character + 32 } else { character }
}

impl Comparison<'_> {
    fn is_over(&mut self) -> bool {
        self.steps += 1;
        if self.steps < LOOK {
            return false;
        }
        self.steps = 0;
        (self.over)()
    }

    fn compare(&mut self, mut pattern: Bytes<'_>, mut text: Bytes<'_>) -> Outcome {
        let wildcards = *self.wildcards;
        loop {
            if self.is_over() {
                return Outcome::Interrupted;
            }
            let mut wanted = pattern.next();
            if wanted == 0 {
                return if text.peek() == 0 { Outcome::Match } else { Outcome::NoMatch };
            }
            if wanted == wildcards.all {
                return self.after_all(pattern, text);
            }
            let mut escaped = false;
            if wanted == wildcards.other {
                if wildcards.sets {
                    match in_set(&mut pattern, text.next()) {
                        true => continue,
                        false => return Outcome::NoMatch,
                    }
                }
                wanted = pattern.next();
                if wanted == 0 {
                    return Outcome::NoMatch;
                }
                escaped = true;
            }
            let found = text.next();
            let same = wanted == found
                || (wildcards.any_case && wanted < 0x80 && found < 0x80 && lower(wanted) == lower(found))
                || (wanted == wildcards.one && !escaped && found != 0);
            if !same {
                return Outcome::NoMatch;
            }
        }
    }

    /// The rest of a pattern after `%` or `*`, which takes any number of characters.
    fn after_all(&mut self, mut pattern: Bytes<'_>, mut text: Bytes<'_>) -> Outcome {
        let wildcards = *self.wildcards;
        let mut at = pattern;
        let mut wanted = pattern.next();
        while wanted != 0 && (wanted == wildcards.all || wanted == wildcards.one) {
            if wanted == wildcards.one && text.next() == 0 {
                return Outcome::NoMatchAtAll;
            }
            at = pattern;
            wanted = pattern.next();
        }
        if wanted == 0 {
            return Outcome::Match;
        }
        if wanted == wildcards.other {
            if wildcards.sets {
                while text.peek() != 0 {
                    match self.compare(at, text) {
                        Outcome::NoMatch => text.skip(),
                        outcome => return outcome,
                    }
                }
                return Outcome::NoMatchAtAll;
            }
            wanted = pattern.next();
            if wanted == 0 {
                return Outcome::NoMatchAtAll;
            }
        }
        loop {
            if self.is_over() {
                return Outcome::Interrupted;
            }
            // SQLite searches for a one-byte character by bytes.
            let found = if wanted < 0x80 { u32::from(text.byte()) } else { text.next() };
            if found == 0 {
                return Outcome::NoMatchAtAll;
            }
            if found == wanted || (wildcards.any_case && wanted < 0x80 && lower(found) == lower(wanted)) {
                match self.compare(pattern, text) {
                    Outcome::NoMatch => {}
                    outcome => return outcome,
                }
            }
        }
    }
}

/// Whether a character is in the set that follows a `[`.
fn in_set(pattern: &mut Bytes<'_>, character: u32) -> bool {
    if character == 0 {
        return false;
    }
    let (mut seen, mut before) = (false, 0);
    let mut member = pattern.next();
    let invert = member == u32::from(b'^');
    if invert {
        member = pattern.next();
    }
    if member == u32::from(b']') {
        seen = character == member;
        member = pattern.next();
    }
    while member != 0 && member != u32::from(b']') {
        if member == u32::from(b'-') && !matches!(pattern.peek(), b']' | 0) && before > 0 {
            member = pattern.next();
            seen |= (before..=member).contains(&character);
            before = 0;
        } else {
            seen |= character == member;
            before = member;
        }
        member = pattern.next();
    }
    member != 0 && seen != invert
}
