//! The log. Its lines have a maximum length and rate, and writing never waits for a reader. The last lines are kept for requests,
//! which can also follow new ones.

mod line;
mod rate;

use std::{
    collections::VecDeque,
    io::Write,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

use starlane_protocol::Address;
use tokio::sync::broadcast;
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::{Context, Layer};

use self::{line::Line, rate::Rates};
use crate::limits::{Limit, Limiter, ServerLimits};

/// The number of kept lines.
const KEPT: usize = 10_000;
/// The maximum number of new lines that wait for a slow reader. Above it, the reader misses the oldest.
const WAITING: usize = 1_024;

/// The maximum number of lines that wait for a slow standard error. Above it, new lines are dropped and counted.
const UNWRITTEN: usize = 4_096;
/// The interval between two reports of suppressed and dropped lines.
const REPORT: Duration = Duration::from_secs(1);

/// The log's lines. Clones share them.
#[derive(Debug, Clone)]
pub struct LogLines {
    kept: Arc<Mutex<VecDeque<Arc<str>>>>,
    fresh: broadcast::Sender<Arc<str>>,
    /// Counts suppressed lines, after the server has its limits.
    limiter: Arc<OnceLock<Arc<Limiter>>>,
}

impl Default for LogLines {
    fn default() -> Self {
        Self { kept: Arc::default(), fresh: broadcast::Sender::new(WAITING), limiter: Arc::default() }
    }
}

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogShape {
    /// For people.
    #[default]
    Text,
    /// For people at a terminal, with colour.
    Coloured,
    /// One JSON object a line: `timestamp`, `level`, `fields`.
    Json,
}

/// A layer of `tracing` that writes the log.
///
/// A line is at most `log-line` bytes long and contains no control characters. At most `log-lines-per-second` lines are
/// written for each principal, each app, and each place in the code for other lines. A line reports how many were
/// suppressed. Writing never waits: if `out` is too slow, lines are dropped, and a line reports how many.
pub struct LogLayer(Arc<Writer>);

/// When it is dropped, it writes the remaining lines, with a timeout.
pub struct LogGuard(#[allow(dead_code, reason = "it acts when it is dropped")] WorkerGuard);

struct Writer {
    shape: LogShape,
    longest: usize,
    rates: Mutex<Rates>,
    lines: LogLines,
    out: NonBlocking,
    dropped: ErrorCounter,
}

impl LogLayer {
    /// A layer that writes into `out` on its own thread and keeps the last lines in `lines`.
    pub fn new(
        shape: LogShape,
        limits: &ServerLimits,
        lines: LogLines,
        out: impl Write + Send + 'static,
    ) -> (Self, LogGuard) {
        let (out, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(UNWRITTEN)
            .lossy(true)
            .thread_name("starlane-log")
            .finish(out);
        let rates = Mutex::new(Rates::new(limits.get(Limit::LogRate)));
        let dropped = out.error_counter();
        let writer = Arc::new(Writer { shape, longest: limits.count(Limit::LogLine), rates, lines, out, dropped });
        let reported = Arc::downgrade(&writer);
        // Without it, lines are suppressed and dropped too, but the log does not report their number.
        let _ = thread::Builder::new().name("starlane-log-report".into()).spawn(move || report(&reported));
        (Self(writer), LogGuard(guard))
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = Line::of(event);
        let place = event.metadata();
        let about = about(&line).unwrap_or_else(|| {
            format!("{}:{}", place.file().unwrap_or_else(|| place.target()), place.line().unwrap_or_default())
        });
        let mut rates = self.0.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = rates.admits(&about, Instant::now());
        drop(rates);
        match admitted {
            true => self.0.write(&line),
            false => self.0.lines.suppressed(),
        }
    }
}

/// The subject of a line: its principal, or else its app.
fn about(line: &Line) -> Option<String> {
    let principal = line.field("principal").or_else(|| line.field("caller")).map(|name| format!("principal {name}"));
    principal.or_else(|| {
        let address = Address::parse(line.field("app").or_else(|| line.field("address"))?).ok()?;
        Some(format!("app {}", address.segments().take(2).collect::<Vec<_>>().join(":")))
    })
}

impl Writer {
    fn write(&self, line: &Line) {
        let text = line.text(self.longest);
        let mut written = match self.shape {
            LogShape::Text => text.clone(),
            LogShape::Coloured => line.coloured(self.longest),
            LogShape::Json => line.json(self.longest),
        };
        written.push('\n');
        // It never fails: lines without room are counted.
        let _ = self.out.clone().write_all(written.as_bytes());
        self.lines.push(&text);
    }
}

/// Reports suppressed and dropped lines, as long as the log is written.
fn report(writer: &Weak<Writer>) {
    let mut told = 0;
    loop {
        thread::sleep(REPORT);
        let Some(writer) = writer.upgrade() else { return };
        let suppressed = writer.rates.lock().unwrap_or_else(PoisonError::into_inner).suppressed();
        for (of, count) in suppressed {
            let fields =
                vec![("of", of), ("suppressed", count.to_string()), ("limit", Limit::LogRate.name().to_owned())];
            writer.write(&Line::own(&format!("{count} suppressed"), fields));
        }
        let dropped = writer.dropped.dropped_lines();
        if dropped > told {
            let fields = vec![("dropped", (dropped - told).to_string())];
            writer.write(&Line::own("log lines were dropped: the reader of standard error is too slow", fields));
            // This line can have been dropped too.
            told = dropped;
        }
    }
}

impl LogLines {
    /// From now on, the server's metrics count suppressed lines.
    pub(crate) fn count_with(&self, limiter: &Arc<Limiter>) {
        // A second server in the same process shares the counter of the first.
        let _ = self.limiter.set(Arc::clone(limiter));
    }

    fn suppressed(&self) {
        if let Some(limiter) = self.limiter.get() {
            limiter.note(Limit::LogRate);
        }
    }

    /// Takes a line, without its end.
    fn push(&self, line: &str) {
        let line: Arc<str> = line.into();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&line));
        drop(kept);
        // An error means that there is no reader.
        let _ = self.fresh.send(line);
    }

    /// The last `count` lines, oldest first.
    pub(crate) fn last(&self, count: usize) -> Vec<Arc<str>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().skip(kept.len().saturating_sub(count)).cloned().collect()
    }

    /// The lines from now on.
    pub(crate) fn follow(&self) -> broadcast::Receiver<Arc<str>> {
        self.fresh.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let lines = LogLines::default();
        let mut fresh = lines.follow();
        for n in 0..KEPT + 5 {
            lines.push(&n.to_string());
        }
        let last = lines.last(2);
        assert_eq!(last.iter().map(|line| &**line).collect::<Vec<_>>(), ["10003", "10004"]);
        assert_eq!(lines.last(usize::MAX).len(), KEPT);
        assert!(fresh.try_recv().is_err_and(|error| matches!(error, broadcast::error::TryRecvError::Lagged(_))));
    }
}
