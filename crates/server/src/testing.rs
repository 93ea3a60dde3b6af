//! An echo of WebSocket messages on this server's listener, settings and pump, for the conformance tests.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    body::Body,
    extract::{FromRequestParts, WebSocketUpgrade},
    http::request::Parts,
    response::{IntoResponse, Response},
};
use tokio::net::TcpListener;

use crate::{
    http::{
        client::Peer,
        listen::{Answers, Server},
        with_settings,
    },
    limits::{Limiter, ServerLimits},
    serve::listen,
    socket::{self, Kinds},
};

/// An echo that listens. It has the limits of a server that was not configured, except for the size of a message.
pub struct Echo {
    listener: TcpListener,
    answers: EchoEach,
}

/// Opens a WebSocket for each request, and sends its messages back.
#[derive(Clone)]
struct EchoEach {
    limiter: Arc<Limiter>,
    max_message: usize,
}

impl Echo {
    /// Listens on an address. `max_message` is the maximum size of a message in bytes.
    pub fn listen(address: SocketAddr, max_message: usize) -> io::Result<Self> {
        let answers = EchoEach { limiter: Limiter::new(ServerLimits::default()), max_message };
        Ok(Self { listener: listen(address)?, answers })
    }

    /// The address that it listens on.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers, and never ends.
    pub async fn serve(self) {
        let server = Server { listener: self.listener, tls: None, site: self.answers };
        server.serve(std::future::pending()).await;
    }
}

impl Answers for EchoEach {
    fn limiter(&self) -> &Arc<Limiter> {
        &self.limiter
    }

    fn behind_proxy(&self) -> bool {
        false
    }

    async fn answer(&self, _: Peer, mut parts: Parts, _: Body) -> Response {
        let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
            Ok(upgrade) => with_settings(upgrade, self.max_message),
            Err(rejection) => return rejection.into_response(),
        };
        upgrade.on_upgrade(async |socket| {
            let (ends, pump) = socket::pump(socket, Kinds::All);
            let echo = async {
                ends.echo().await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = pump => {}
                () = echo => {}
            }
        })
    }
}
