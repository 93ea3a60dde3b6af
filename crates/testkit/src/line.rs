//! The line between a browser and a server after an upgrade: it can be cut, slowed and divided into small parts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
};

/// How a line is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Both ends see the end of the connection.
    End,
    /// The browser sees a reset, the server the end.
    Reset,
    /// Nothing arrives any more for this time; then both ends see the end.
    Hole(Duration),
}

/// The line. Its clones are the same line, for any number of connections.
#[derive(Clone)]
pub(crate) struct Line(Arc<State>);

struct State {
    cut: watch::Sender<Option<Cut>>,
    part_bytes: AtomicUsize,
    delay_ms: AtomicU64,
    /// Whether the next bytes are damaged.
    damages: AtomicBool,
}

impl Default for Line {
    fn default() -> Self {
        Self(Arc::new(State {
            cut: watch::Sender::new(None),
            part_bytes: AtomicUsize::new(usize::MAX),
            delay_ms: AtomicU64::new(0),
            damages: AtomicBool::new(false),
        }))
    }
}

impl Line {
    /// Cuts all present connections.
    pub(crate) fn cut(&self, how: Cut) {
        self.0.cut.send_replace(Some(how));
    }

    /// Divides what follows into parts of at most `bytes`, and delays each for up to `delay_ms`.
    pub(crate) fn slow(&self, bytes: usize, delay_ms: u64) {
        self.0.part_bytes.store(bytes.max(1), Ordering::Relaxed);
        self.0.delay_ms.store(delay_ms, Ordering::Relaxed);
    }

    /// Damages the payload of the next message to the browser.
    pub(crate) fn damage(&self) {
        self.0.damages.store(true, Ordering::Relaxed);
    }

    /// Carries bytes both ways until an end closes the connection or the line is cut.
    pub(crate) async fn carry(&self, near: Upgraded, far: Upgraded) {
        let mut cut = self.0.cut.subscribe();
        cut.mark_unchanged();
        let Ok(near) = near.downcast::<TokioIo<TcpStream>>() else { return };
        let (read_already, near) = (near.read_buf, near.io.into_inner());
        let (mut near_in, mut near_out) = near.into_split();
        let (mut far_in, mut far_out) = tokio::io::split(TokioIo::new(far));
        let how = tokio::select! {
            _ = async {
                far_out.write_all(&read_already).await?;
                self.copy(&mut near_in, &mut far_out, false).await
            } => None,
            _ = self.copy(&mut far_in, &mut near_out, true) => None,
            changed = cut.changed() => changed.ok().and_then(|()| *cut.borrow()),
        };
        match how {
            None | Some(Cut::End) => {}
            Some(Cut::Hole(time)) => tokio::time::sleep(time).await,
            Some(Cut::Reset) => {
                if let Ok(near) = near_in.reunite(near_out) {
                    let _ = near.set_zero_linger();
                }
                return;
            }
        }
        let _ = near_out.shutdown().await;
        let _ = far_out.shutdown().await;
    }

    async fn copy(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        to_browser: bool,
    ) -> std::io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = from.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            // A frame's payload begins behind two bytes, or four if it is longer than 125 bytes (RFC 6455, section 5.2).
            let payload = if buffer.get(1) == Some(&126) { 4 } else { 2 };
            if to_browser
                && let Some(first) = buffer.get_mut(payload).filter(|_| payload < length)
                && self.0.damages.swap(false, Ordering::Relaxed)
            {
                *first = 0xff;
            }
            for part in buffer.get(..length).unwrap_or_default().chunks(self.0.part_bytes.load(Ordering::Relaxed)) {
                let delay = self.0.delay_ms.load(Ordering::Relaxed);
                if delay > 0 {
                    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..=delay))).await;
                }
                to.write_all(part).await?;
            }
        }
    }
}
