//! Request bodies: read after the caller is known, with timeouts, and counted while they are in memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt;
use starlane_protocol::Failure;
use tokio::time::{Instant, timeout};

use super::client::Account;
use crate::limits::{Limit, Limiter};

/// The bodies in memory, and their limits.
#[derive(Clone)]
pub(crate) struct Bodies(Arc<Inner>);

struct Inner {
    limiter: Arc<Limiter>,
    held: Mutex<Usage>,
}

#[derive(Default)]
struct Usage {
    all: u64,
    by_client: HashMap<Account, u64>,
}

/// A body, counted until this is dropped.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    /// None: it is empty.
    _share: Option<Share>,
}

impl Held {
    /// An empty body.
    pub(super) fn nothing() -> Self {
        Self { bytes: Bytes::new(), _share: None }
    }
}

/// The share of one body in the memory for bodies.
struct Share {
    bodies: Bodies,
    client: Account,
    bytes: u64,
}

impl Bodies {
    pub(crate) fn new(limiter: &Arc<Limiter>) -> Self {
        Self(Arc::new(Inner { limiter: Arc::clone(limiter), held: Mutex::default() }))
    }

    /// Reads a body of at most `limit` bytes for a permitted caller. Errors with 413 if it is longer, 408 if it arrives too
    /// slowly, 429 and 503 if the memory for bodies is full, and 400 if it is incomplete.
    pub(super) async fn read(&self, client: Account, limit: Limit, mut body: Body) -> Result<Held, Failure> {
        if body.is_end_stream() {
            return Ok(Held::nothing());
        }
        let limiter = &self.0.limiter;
        let most = limiter.get(limit);
        let too_long = |length: u64| limiter.refuse(limit, format!("the body is {length} bytes"));
        let announced = body.size_hint();
        if announced.lower() > most {
            return Err(too_long(announced.lower()));
        }
        let mut share = Share { bodies: self.clone(), client, bytes: 0 };
        let mut bytes = Vec::new();
        let (begin, patience) = (Instant::now(), limiter.time(Limit::BodyTime));
        loop {
            let frame = match timeout(patience, body.frame()).await {
                Ok(None) => break,
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return Err(Failure::malformed(format!("the body is incomplete: {error}"))),
                Err(_) => return Err(limiter.refuse(Limit::BodyTime, "no more bytes of the body arrived")),
            };
            let Ok(part) = frame.into_data() else { continue };
            let length = bytes.len() as u64 + part.len() as u64;
            if length > most {
                return Err(too_long(length));
            }
            share.grow(part.len() as u64)?;
            if bytes.is_empty() {
                // A single piece is used unchanged; several are joined in one buffer.
                if announced.exact() == Some(length) {
                    return Ok(Held { bytes: part, _share: Some(share) });
                }
            }
            append(&mut bytes, &part, announced.exact());
            let took = begin.elapsed();
            if took > patience && length < rate(limiter, took) {
                return Err(limiter.refuse(
                    Limit::MinimumRate,
                    format!("only {length} bytes of the body arrived in {} s", took.as_secs()),
                ));
            }
        }
        Ok(Held { bytes: bytes.into(), _share: Some(share) })
    }

    fn held(&self) -> MutexGuard<'_, Usage> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Appends a piece. The buffer grows to twice the received bytes, but not above the announced length, because the rest might
/// never arrive.
fn append(bytes: &mut Vec<u8>, part: &[u8], announced: Option<u64>) {
    let length = bytes.len() + part.len();
    if length > bytes.capacity() {
        let announced = announced.and_then(|announced| usize::try_from(announced).ok()).unwrap_or(usize::MAX);
        let room = length.saturating_mul(2).min(announced).max(length);
        bytes.reserve_exact(room - bytes.len());
    }
    bytes.extend_from_slice(part);
}

/// The minimum number of bytes that must arrive within a given time.
pub(super) fn rate(limiter: &Limiter, took: Duration) -> u64 {
    limiter.get(Limit::MinimumRate).saturating_mul(took.as_secs())
}

impl Share {
    fn grow(&mut self, bytes: u64) -> Result<(), Failure> {
        let limiter = &self.bodies.0.limiter;
        let mut held = self.bodies.held();
        if held.all + bytes > limiter.get(Limit::Bodies) {
            return Err(limiter.refuse(Limit::Bodies, format!("{} bytes of bodies are in memory", held.all)));
        }
        let theirs = held.by_client.get(&self.client).copied().unwrap_or_default();
        if theirs + bytes > limiter.get(Limit::BodiesPerClient) {
            let message = format!("{theirs} bytes of your bodies are in memory");
            return Err(limiter.refuse(Limit::BodiesPerClient, message));
        }
        held.all += bytes;
        *held.by_client.entry(self.client).or_default() += bytes;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.bodies.held();
        held.all = held.all.saturating_sub(self.bytes);
        if let Some(theirs) = held.by_client.get_mut(&self.client) {
            *theirs = theirs.saturating_sub(self.bytes);
            if *theirs == 0 {
                held.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_for_a_body_grows_with_the_received_bytes() {
        const ANNOUNCED: usize = 64 << 20;
        let (mut bytes, mut moved) = (Vec::new(), 0);
        for part in [1, 1, 1_000].into_iter().chain(std::iter::repeat_n(16_384, 4_095)) {
            let before = bytes.capacity();
            append(&mut bytes, &vec![7; part], Some(ANNOUNCED as u64));
            moved += usize::from(bytes.capacity() != before);
            let most = ANNOUNCED.min(2 * bytes.len());
            assert!(bytes.capacity() <= most, "{} bytes for {}", bytes.capacity(), bytes.len());
        }
        assert!(moved <= 30, "it was moved {moved} times");
        let mut unknown = Vec::new();
        append(&mut unknown, b"abc", None);
        append(&mut unknown, b"defg", None);
        assert_eq!(unknown, b"abcdefg");
    }
}
