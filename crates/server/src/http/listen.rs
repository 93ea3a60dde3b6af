//! Connections: each speaks HTTP/1.1, over TLS if that is wanted, and is closed when it keeps silent.

use std::{pin::pin, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufStream},
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

/// How long a connection may take to send its first byte, and the head of a request from its first byte on. A WebSocket is
/// no longer bound by it: its link has a time of its own for the first frame.
const SILENCE: Duration = Duration::from_secs(5);
/// How long to wait when the system has no room for another connection.
const PAUSE: Duration = Duration::from_millis(100);

/// What speaks HTTP on a connection.
#[derive(Clone)]
struct Speaker {
    http: auto::Builder<TokioExecutor>,
    router: Router,
}

/// Serves connections until `stop` is ready. From then on no new ones are taken, and those that wait for an answer get it.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    let mut http = auto::Builder::new(TokioExecutor::new()).http1_only();
    http.http1().timer(TokioTimer::new()).header_read_timeout(SILENCE);
    let speaker = Speaker { http, router };
    let connections = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("a connection could not be taken: {error}");
                sleep(PAUSE).await;
                continue;
            }
        };
        // An answer is written at once; without the option it may wait for the peer's acknowledgement.
        let _ = stream.set_nodelay(true);
        let (speaker, watcher, tls) = (speaker.clone(), connections.watcher(), tls.clone());
        tokio::spawn(async move {
            let Some(tls) = tls else { return speaker.speak(stream, watcher).await };
            match timeout(SILENCE, tls.accept(stream)).await {
                Ok(Ok(stream)) => speaker.speak(stream, watcher).await,
                Ok(Err(error)) => tracing::debug!("a TLS handshake failed: {error}"),
                Err(_) => {}
            }
        });
    }
    drop(listener);
    connections.shutdown().await;
}

impl Speaker {
    async fn speak(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, watcher: Watcher) {
        // Hyper's own time for a head begins with its first byte.
        let mut stream = BufStream::new(stream);
        if !matches!(timeout(SILENCE, stream.fill_buf()).await, Ok(Ok(first)) if !first.is_empty()) {
            return;
        }
        let service = TowerToHyperService::new(self.router);
        let connection = self.http.serve_connection_with_upgrades(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!("a connection ended: {error}");
        }
    }
}
