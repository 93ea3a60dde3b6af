//! Connections: each speaks HTTP/1.1, and is closed when it keeps silent.

use std::{pin::pin, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

/// How long a connection may take to send its first byte, and the head of a request from its first byte on. A WebSocket is
/// no longer bound by it: its link has a time of its own for the first frame.
const SILENCE: Duration = Duration::from_secs(5);
/// How long to wait when the system has no room for another connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves connections until `stop` is ready. From then on no new ones are taken, and those that wait for an answer get it.
pub(crate) async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let mut http = auto::Builder::new(TokioExecutor::new()).http1_only();
    http.http1().timer(TokioTimer::new()).header_read_timeout(SILENCE);
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
        let service = TowerToHyperService::new(router.clone());
        let (http, connections) = (http.clone(), connections.watcher());
        tokio::spawn(async move {
            // Hyper's own time for a head begins with its first byte.
            if !matches!(timeout(SILENCE, stream.peek(&mut [0])).await, Ok(Ok(1))) {
                return;
            }
            let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), service);
            if let Err(error) = connections.watch(connection).await {
                tracing::debug!("a connection ended: {error}");
            }
        });
    }
    drop(listener);
    connections.shutdown().await;
}
