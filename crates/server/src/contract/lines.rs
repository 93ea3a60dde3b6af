//! Divides the parts of a stream into lines, which a schema checks one by one.

use bytes::Bytes;
use starlane_abi::limits::LINE_BYTES;

/// A line without its end, and its number from 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) number: u64,
    pub(crate) text: Bytes,
}

/// Lines that have ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct EndedLines {
    /// The lines in order, without empty ones.
    pub(crate) lines: Vec<Line>,
    /// The number of the line after them, if it is too long.
    pub(crate) too_long: Option<u64>,
}

/// Divides a stream into lines. The result does not depend on how the stream was divided into parts.
#[derive(Debug, Default)]
pub(crate) struct LineSplitter {
    /// The beginning of the line that has not ended.
    begun: Vec<u8>,
    /// The number of ended lines.
    ended: u64,
}

impl LineSplitter {
    /// Divides a whole body.
    pub(crate) fn of_whole(body: &Bytes) -> EndedLines {
        let mut splitter = Self::default();
        let mut found = splitter.push(body);
        if found.too_long.is_none() {
            let EndedLines { lines, too_long } = splitter.finish();
            found.lines.extend(lines);
            found.too_long = too_long;
        }
        found
    }

    /// Takes the next part. Returns the lines that end in it.
    pub(crate) fn push(&mut self, part: &Bytes) -> EndedLines {
        let mut found = EndedLines::default();
        let mut rest = part.clone();
        while let Some(end) = memchr::memchr(b'\n', &rest) {
            let mut line = rest.split_to(end + 1);
            line.truncate(end);
            self.take(line, &mut found);
            if found.too_long.is_some() {
                return found;
            }
        }
        if self.begun.len() + rest.len() > LINE_BYTES {
            found.too_long = Some(self.ended + 1);
        } else {
            self.begun.extend_from_slice(&rest);
        }
        found
    }

    /// Returns the last line, if the stream does not end with the end of a line.
    pub(crate) fn finish(&mut self) -> EndedLines {
        let mut found = EndedLines::default();
        if !self.begun.is_empty() {
            self.take(Bytes::new(), &mut found);
        }
        found
    }

    /// Takes the last bytes of a line.
    fn take(&mut self, end: Bytes, found: &mut EndedLines) {
        self.ended += 1;
        if self.begun.len() + end.len() > LINE_BYTES {
            found.too_long = Some(self.ended);
            return;
        }
        let text = if self.begun.is_empty() {
            end
        } else {
            self.begun.extend_from_slice(&end);
            std::mem::take(&mut self.begun).into()
        };
        if !matches!(&*text, b"" | b"\r") {
            found.lines.push(Line { number: self.ended, text });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(parts: &[&[u8]]) -> (Vec<(u64, Vec<u8>)>, Option<u64>) {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        for part in parts {
            let found = splitter.push(&Bytes::copy_from_slice(part));
            lines.extend(found.lines);
            if found.too_long.is_some() {
                return (lines.into_iter().map(|line| (line.number, line.text.to_vec())).collect(), found.too_long);
            }
        }
        let found = splitter.finish();
        lines.extend(found.lines);
        (lines.into_iter().map(|line| (line.number, line.text.to_vec())).collect(), found.too_long)
    }

    #[test]
    fn every_division_gives_the_same_lines() {
        let text = b"one\n\ntwo\r\n\r\n\nthree";
        let whole = split(&[text]);
        assert_eq!(whole, (vec![(1, b"one".to_vec()), (3, b"two\r".to_vec()), (6, b"three".to_vec())], None));
        for first in 0..=text.len() {
            for second in first..=text.len() {
                assert_eq!(split(&[&text[..first], &text[first..second], &text[second..]]), whole);
            }
        }
    }

    #[test]
    fn longer_line_than_the_limit_is_found() {
        let longest = vec![b'x'; LINE_BYTES];
        assert_eq!(split(&[b"1\n", &longest, b"\n2"]).1, None);
        for parts in [[&longest[..], b"x", b"\n"], [b"x", &longest, b""], [&longest, b"\r\n", b""]] {
            assert_eq!(split(&[b"1\n", parts[0], parts[1], parts[2]]), (vec![(1, b"1".to_vec())], Some(2)));
        }
    }
}
