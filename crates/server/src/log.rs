//! The last lines of the log, for whoever asks from elsewhere, and the next ones as they come.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::broadcast;

/// How many lines are kept.
const KEPT: usize = 10_000;
/// How many new lines may wait for a slow reader; then it misses the oldest.
const WAITING: usize = 1_024;

/// The log's lines. Clones share them. Whoever writes the log pushes each line here too.
#[derive(Debug, Clone)]
pub struct LogLines {
    kept: Arc<Mutex<VecDeque<Arc<str>>>>,
    fresh: broadcast::Sender<Arc<str>>,
}

impl Default for LogLines {
    fn default() -> Self {
        Self { kept: Arc::default(), fresh: broadcast::Sender::new(WAITING) }
    }
}

impl LogLines {
    /// Takes a line, without its end.
    pub fn push(&self, line: &str) {
        let line: Arc<str> = line.into();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&line));
        drop(kept);
        // Without a reader there is nobody to tell.
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
