//! The timeouts of a connection: for the header lines of a request, for the idle time between two requests, and for reading an
//! answer. Answers that the HTTP library makes itself are replaced here with failures of this server.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use starlane_protocol::Failure;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::answer;
use crate::limits::{Limit, Limiter};

/// The time for reading the rest of an unread request: if the server closed at once, the peer would lose the answer.
const LINGER: Duration = Duration::from_secs(3);

/// The state of a connection, shared by its stream and its requests.
pub(super) struct Pace {
    phase: Mutex<Phase>,
    /// Whether a request's body has unread bytes.
    unread: AtomicBool,
    /// Whether something reads it, or will.
    reading: AtomicBool,
    limiter: Arc<Limiter>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// No byte of the next request has arrived.
    Resting(Instant),
    /// A part of the header lines has arrived.
    Head(Instant),
    /// A request is being answered. Its body and its answer have their own timeouts.
    Answering,
    /// The answer has ended before the body of the request was read.
    Answered,
    /// The answer has ended, but is not written completely.
    Ended,
    /// It is a WebSocket now.
    Upgraded,
}

impl Pace {
    /// A new connection: its first byte has the same timeout as the header lines.
    pub(super) fn new(limiter: &Arc<Limiter>) -> Arc<Self> {
        let until = Instant::now() + limiter.time(Limit::HeadTime);
        Arc::new(Self {
            phase: Mutex::new(Phase::Resting(until)),
            unread: AtomicBool::new(false),
            reading: AtomicBool::new(false),
            limiter: Arc::clone(limiter),
        })
    }

    /// A request has arrived. `has_body`: a body follows its header lines.
    pub(super) fn begin(&self, has_body: bool) {
        self.unread.store(has_body, Relaxed);
        self.reading.store(has_body, Relaxed);
        *self.phase() = Phase::Answering;
    }

    /// Its body was read to the end.
    pub(super) fn body_read(&self) {
        self.unread.store(false, Relaxed);
    }

    /// Nobody reads its body any more. If its answer has ended before, the request has ended now.
    pub(super) fn body_over(&self) {
        self.reading.store(false, Relaxed);
        let mut phase = self.phase();
        if let Phase::Answered = *phase {
            *phase = Phase::Resting(Instant::now() + self.limiter.time(Limit::IdleTime));
        }
    }

    /// Its answer has ended. A body that is still being read has its own timeouts.
    pub(super) fn end(&self) {
        let mut phase = self.phase();
        if let Phase::Answering = *phase {
            *phase = if self.reading.load(Relaxed) { Phase::Answered } else { Phase::Ended };
        }
    }

    /// The HTTP library has written all of its bytes.
    fn written(&self) {
        let mut phase = self.phase();
        if let Phase::Ended = *phase {
            *phase = Phase::Resting(Instant::now() + self.limiter.time(Limit::IdleTime));
        }
    }

    /// Whether the bytes that are written now are an answer of the HTTP library itself.
    fn is_between(&self) -> bool {
        matches!(*self.phase(), Phase::Resting(_) | Phase::Head(_))
    }

    /// It is a WebSocket from now on: links have their own timeouts.
    pub(super) fn upgrade(&self) {
        *self.phase() = Phase::Upgraded;
    }

    fn is_upgraded(&self) -> bool {
        matches!(*self.phase(), Phase::Upgraded)
    }

    /// Bytes have arrived.
    fn received(&self) {
        let mut phase = self.phase();
        if let Phase::Resting(_) = *phase {
            *phase = Phase::Head(Instant::now() + self.limiter.time(Limit::HeadTime));
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream with timeouts for its peer.
pub(super) struct Paced<S> {
    stream: S,
    pace: Arc<Pace>,
    timer: Timer,
    writing: Writing,
    /// The answer that replaces that of the HTTP library, and the number of its written bytes.
    own: Option<(Vec<u8>, usize)>,
    /// The end of the time for reading and dropping the rest of a request.
    lingers: Option<Instant>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, pace: Arc<Pace>) -> Self {
        Self { stream, pace, timer: Timer::default(), writing: Writing::default(), own: None, lingers: None }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(context, buffer) {
            if buffer.filled().len() > before {
                this.pace.received();
            }
            return Poll::Ready(read);
        }
        let phase = *this.pace.phase();
        match phase {
            Phase::Resting(until) => {
                ready!(this.timer.poll(context, until));
                Poll::Ready(Err(timed_out("the connection was idle")))
            }
            Phase::Head(until) => {
                ready!(this.timer.poll(context, until));
                let failure = this.pace.limiter.refuse(Limit::HeadTime, "the request's header lines are not complete");
                let answer = answer::raw(&failure);
                // A socket that cannot take a small answer at once gets none.
                let _ = Pin::new(&mut this.stream).poll_write(context, &answer);
                Poll::Ready(Err(timed_out("the header lines of a request came too slowly")))
            }
            Phase::Answering | Phase::Answered | Phase::Ended | Phase::Upgraded => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Paced<S> {
    /// Writes the replacement of the HTTP library's answer. Ready when all of it is written.
    fn write_own(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((answer, written)) = &mut self.own {
            let rest = answer.get(*written..).unwrap_or_default();
            if rest.is_empty() {
                self.own = None;
                break;
            }
            *written += ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
        }
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match polled {
            Poll::Ready(Ok(length)) => {
                self.writing.took(length);
                Poll::Ready(Ok(length))
            }
            Poll::Pending if !self.pace.is_upgraded() => {
                ready!(self.writing.waits(context, &self.pace.limiter));
                Poll::Ready(Err(timed_out("the client read the answer too slowly")))
            }
            other => other,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.own.is_none()
            && bytes.starts_with(b"HTTP/1.1 4")
            && this.pace.is_between()
            && let Some(failure) = of_library(bytes)
        {
            this.own = Some((answer::raw(&failure), 0));
        }
        if this.own.is_some() {
            let written = this.write_own(context).map_ok(|()| bytes.len());
            return this.wrote(context, written);
        }
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.wrote(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = parts {
            return self.poll_write(context, only);
        }
        let this = &mut *self;
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, parts);
        this.wrote(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        if flushed.is_ready() {
            this.pace.written();
        }
        this.wrote(context, flushed.map_ok(|()| 0)).map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingers.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            if !this.pace.unread.load(Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        let until = *this.lingers.get_or_insert_with(|| Instant::now() + LINGER);
        let mut dropped = [0; 8 * 1024];
        // Yield now and then: other tasks wait for this thread.
        for _ in 0..32 {
            let mut buffer = ReadBuf::new(&mut dropped);
            match Pin::new(&mut this.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && Instant::now() < until => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return this.timer.poll(context, until).map(Ok),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The rate at which a peer reads an answer: the time spent waiting for the peer, and the bytes read in that time.
#[derive(Default)]
struct Writing {
    /// The start of the current wait for the peer.
    since: Option<Instant>,
    waited: Duration,
    taken: u64,
    timer: Timer,
}

impl Writing {
    fn took(&mut self, length: usize) {
        if length > 0 {
            if let Some(since) = self.since.take() {
                self.waited += since.elapsed();
            }
            self.taken += length as u64;
        }
    }

    /// The peer does not read now. Ready when it is too slow.
    fn waits(&mut self, context: &mut Context<'_>, limiter: &Limiter) -> Poll<()> {
        let limit = limiter.time(Limit::WriteTime);
        let since = *self.since.get_or_insert_with(Instant::now);
        if self.waited >= limit {
            let least = limiter.get(Limit::MinimumRate).saturating_mul(self.waited.as_secs());
            if self.taken < least {
                limiter.note(Limit::MinimumRate);
                return Poll::Ready(());
            }
            (self.waited, self.taken) = (Duration::ZERO, 0);
        }
        ready!(self.timer.poll(context, since + limit));
        limiter.note(Limit::WriteTime);
        Poll::Ready(())
    }
}

/// A timer whose deadline can change at each poll. It is reset only if it would fire too late.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn poll(&mut self, context: &mut Context<'_>, until: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        loop {
            if sleep.deadline() > until {
                sleep.as_mut().reset(until);
            }
            ready!(sleep.as_mut().poll(context));
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until);
        }
    }
}

/// The failure for a request that the HTTP library refused. None if the bytes are an answer of this server.
fn of_library(bytes: &[u8]) -> Option<Failure> {
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    // All failures of this server contain their code.
    if head.contains("\r\nstarlane-code: ") || !head.contains("content-length: 0") {
        return None;
    }
    let status = head.get(9..12)?.parse().ok()?;
    Some(match status {
        431 => Failure::new(431, "too-large", "the request has too many header lines, or too many bytes in them"),
        414 => Failure::new(414, "too-large", "the request's path and query are too long"),
        _ => Failure::malformed("this is not an HTTP/1.1 request: its first line or a header line is malformed"),
    })
}

fn timed_out(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}
