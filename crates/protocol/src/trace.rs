//! Traces, which connect messages that belong together.

use std::fmt;

/// The length of a trace's text, in bytes.
const LENGTH: usize = 55;

/// A W3C `traceparent` (Trace Context, level 1) of version 00: `00-TRACE-PARENT-FLAGS`, in lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Trace([u8; LENGTH]);

/// The header, of HTTP and of payloads, with the trace of a message.
pub const TRACEPARENT: &str = "traceparent";

impl Trace {
    /// Parses a `traceparent`. Of a later version, it reads only the fields of version 00. Returns `None` for values
    /// that a receiver must ignore by the specification: other characters, the version ff, and ids of zeros.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, rest) = text.as_bytes().split_first_chunk::<LENGTH>()?;
        let mut bytes = *first;
        let (mut trace, mut parent) = (0, 0);
        for (at, byte) in bytes.iter().enumerate() {
            match (at, byte) {
                (2 | 35 | 52, b'-') => {}
                (2 | 35 | 52, _) => return None,
                (_, b'0'..=b'9' | b'a'..=b'f') => {
                    let digits = if at < 35 { &mut trace } else { &mut parent };
                    // The version and the flags may be zero.
                    *digits |= if (3..52).contains(&at) { byte - b'0' } else { 0 };
                }
                _ => return None,
            }
        }
        let is_whole = match bytes.first_chunk() {
            Some(b"00") => rest.is_empty(),
            Some(b"ff") => false,
            _ => matches!(rest, [] | [b'-', ..]),
        };
        if !is_whole || trace == 0 || parent == 0 {
            return None;
        }
        bytes[..2].copy_from_slice(b"00");
        Some(Self(bytes))
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The id of the trace, which all its messages have: 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        self.as_str().get(3..35).unwrap_or_default()
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_written() {
        let trace = Trace::parse(GOOD).unwrap();
        assert_eq!((trace.as_str(), trace.id()), (GOOD, "4bf92f3577b34da6a3ce929d0e0e4736"));
        let later = GOOD.replacen("00", "cc", 1);
        assert_eq!(Trace::parse(&later), Some(trace), "a later version");
        assert_eq!(Trace::parse(&format!("{later}-what-comes-then")), Some(trace));
    }

    #[test]
    fn values_that_a_receiver_must_ignore_are_none() {
        let zeros = |from: usize, to: usize| [&GOOD[..from], &"0".repeat(to - from), &GOOD[to..]].concat();
        for bad in [
            "".to_owned(),
            "nonsense".to_owned(),
            "00-1-2-01".to_owned(),
            GOOD.to_uppercase(),
            GOOD.replace('-', "_"),
            GOOD.replacen("00", "ff", 1),
            GOOD.replacen("00", "cc", 1) + "x",
            format!("{GOOD}-more"),
            zeros(3, 35),
            zeros(36, 52),
            GOOD.replace("4b", "4ä"),
        ] {
            assert_eq!(Trace::parse(&bad), None, "{bad}");
        }
    }
}
