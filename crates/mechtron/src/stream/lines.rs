//! Streams of JSON values, one a line.

use std::marker::PhantomData;

use serde::{Serialize, de::DeserializeOwned};
use starlane_abi::limits::LINE_BYTES;

use super::{Stream, StreamWriter};
use crate::{Bytes, Failure, FromPayload, IntoPayload, Payload};

const NDJSON: &str = "application/x-ndjson";
/// How much of a bad line its error shows, in bytes.
const SHOWN_BYTES: usize = 40;

/// A stream of values, each a line of JSON, as `application/x-ndjson`. It is read, made and cancelled like a [`Stream`].
#[must_use = "lines that are dropped are cancelled: read them, or send them"]
pub struct Lines<T> {
    stream: Stream,
    /// Bytes of the stream, of which those before `begin` are read.
    bytes: Vec<u8>,
    begin: usize,
    /// The number of the last line that was read, from 1.
    number: u64,
    values: PhantomData<fn() -> T>,
}

impl<T> Lines<T> {
    fn of(stream: Stream) -> Self {
        Lines { stream, bytes: Vec::new(), begin: 0, number: 0, values: PhantomData }
    }

    /// Makes a stream whose values a function writes. See [`Stream::from_fn`].
    ///
    /// ```
    /// # use mechtron::Lines;
    /// fn squares(count: u64) -> Lines<u64> {
    ///     Lines::from_fn(async move |mut lines| {
    ///         for number in 0..count {
    ///             lines.write(&(number * number)).await?;
    ///         }
    ///         Ok(())
    ///     })
    /// }
    /// ```
    pub fn from_fn(write: impl AsyncFnOnce(LinesWriter<T>) -> Result<(), Failure> + 'static) -> Self {
        Lines::of(Stream::from_fn(async move |writer| write(LinesWriter { writer, values: PhantomData }).await))
    }
}

impl<T: DeserializeOwned> Lines<T> {
    /// Returns the value of the next line, and `None` at the end. Empty lines are skipped.
    ///
    /// A line that is not the JSON of a `T` is 400 `malformed` with its number, and the next call reads the line after it. A line of
    /// more than 1 MiB is 413 `too-large`, and cancels the stream. A stream that ended early is an error, as in [`Stream::next`].
    pub async fn next(&mut self) -> Result<Option<T>, Failure> {
        loop {
            let Some(line) = self.line().await? else { return Ok(None) };
            self.number += 1;
            if line.len() > LINE_BYTES {
                return Err(self.too_long());
            }
            if !line.trim_ascii().is_empty() {
                return serde_json::from_slice(&line).map(Some).map_err(|error| self.malformed(&line, &error));
            }
        }
    }

    /// Returns the next line without its end. It can be longer than the maximum.
    async fn line(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let mut searched = self.begin;
        loop {
            let unsearched = self.bytes.get(searched..).unwrap_or_default();
            if let Some(length) = unsearched.iter().position(|byte| *byte == b'\n') {
                let end = searched + length;
                let line = self.bytes.get(self.begin..end).unwrap_or_default().to_vec();
                self.begin = end + 1;
                return Ok(Some(line));
            }
            self.bytes.drain(..self.begin);
            self.begin = 0;
            searched = self.bytes.len();
            if searched > LINE_BYTES {
                return Ok(Some(std::mem::take(&mut self.bytes)));
            }
            match self.stream.next().await {
                Ok(Some(Bytes(part))) => self.bytes.extend(part),
                // The end of the stream ends its last line.
                Ok(None) => return Ok(Some(std::mem::take(&mut self.bytes)).filter(|line| !line.is_empty())),
                Err(failure) => {
                    self.bytes.clear();
                    return Err(failure);
                }
            }
        }
    }

    fn too_long(&mut self) -> Failure {
        self.stream = Stream(super::Source::Over);
        self.bytes.clear();
        self.begin = 0;
        Failure::too_large(format!(
            "line {} of the stream is longer than the maximum of {LINE_BYTES} bytes: send shorter values, or end each with a line feed",
            self.number
        ))
    }

    fn malformed(&self, line: &[u8], error: &serde_json::Error) -> Failure {
        // The error of a parser that sees one line says "line 1".
        let reason = error.to_string();
        let reason = reason.rsplit_once(" at line ").map_or(&*reason, |(reason, _)| reason);
        let shown = String::from_utf8_lossy(line.get(..SHOWN_BYTES).unwrap_or(line));
        let more = if line.len() > SHOWN_BYTES { "…" } else { "" };
        Failure::malformed(format!(
            "line {} of the stream is not the expected JSON: {reason}, at column {}, in `{shown}{more}`: send one JSON value a line",
            self.number,
            error.column(),
        ))
    }
}

/// Writes a stream of values. [`Lines::from_fn`] passes it to its function.
pub struct LinesWriter<T> {
    writer: StreamWriter,
    values: PhantomData<fn(&T)>,
}

impl<T: Serialize> LinesWriter<T> {
    /// Writes a value as a line. It waits and fails like [`StreamWriter::write`].
    pub async fn write(&mut self, value: &T) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.writer.write(line).await
    }
}

impl<T> FromPayload for Lines<T> {
    fn from_payload(payload: Payload) -> Result<Self, Failure> {
        payload.expect(NDJSON, |essence| essence == NDJSON)?;
        Stream::from_payload(payload).map(Lines::of)
    }
}

impl<T> IntoPayload for Lines<T> {
    fn into_payload(self) -> Result<Payload, Failure> {
        Ok(Payload::new(NDJSON, self.stream))
    }
}
