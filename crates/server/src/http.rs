//! HTTP: the handshake of links, the repository, messages and events for `curl`, metrics and backups for operators, and the routes
//! of apps.

mod answer;
mod backup;
mod bodies;
mod body_stream;
mod call;
pub(crate) mod client;
pub(crate) mod collect;
mod cors;
mod encoding;
mod events;
mod file;
mod gate;
pub(crate) mod guard;
mod headers;
pub(crate) mod listen;
mod messages;
mod metrics;
mod missing;
mod pace;
mod pieces;
mod ready;
mod repository;
pub(crate) mod routes;
mod serve_route;
pub(crate) mod visibility;

use std::{path::PathBuf, sync::Arc};

use axum::{
    Json,
    extract::{FromRequestParts, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use starlane_host::resource::Kept;
use starlane_protocol::{Failure, frame};

use self::{
    call::{Call, Handler},
    guard::Allowed,
    routes::Routes,
};
use crate::{
    audit::Audit,
    auth::Auth,
    handle::Handle,
    limits::Limiter,
    readiness::Readiness,
    sandbox::{GuestUsage, compile::Compiler},
    socket::{self, Kinds},
    state_store::StateCounts,
    storage::Storage,
};

/// The size of a socket's read buffer, in bytes. Each link keeps one, also while it is idle.
const READ_BUFFER: usize = 4 * 1024;
/// The number of bytes that a socket collects before it writes. A flush writes less.
const WRITE_TOGETHER: usize = 16 * 1024;

/// The state that all routes share.
pub(crate) struct Site {
    pub(crate) handle: Handle,
    pub(crate) auth: Auth,
    pub(crate) allowed: Allowed,
    pub(crate) routes: Routes,
    pub(crate) repository: repository::Repository,
    /// Whether only programs of this machine can reach the server.
    pub(crate) local: bool,
    pub(crate) data: PathBuf,
    /// The drivers' data in the data folder.
    pub(crate) kept: Arc<[Kept]>,
    /// The metrics of guests.
    pub(crate) usage: Arc<GuestUsage>,
    pub(crate) compiler: Compiler,
    /// The metrics of the state store.
    pub(crate) state_counts: Arc<StateCounts>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) audit: Audit,
    pub(crate) storage: Storage,
    pub(crate) bodies: Bodies,
    pub(crate) readiness: Readiness,
    /// Whether the server trusts a proxy's headers about the client.
    pub(crate) behind_proxy: bool,
}

pub(crate) use bodies::Bodies;
pub(crate) use repository::Repository;
pub(crate) use visibility::Visibility;

/// Makes the table of routes and the table of their handlers from one list.
macro_rules! routes {
    ($($method:ident $path:literal => $handler:path;)+) => {
        /// The routes of every server: method and path, with `{name}` for one segment. A GET route also accepts HEAD.
        pub const BUILT_IN: &[(&str, &str)] = &[$((stringify!($method), $path),)+];

        /// The handlers of these routes, in the same order.
        const HANDLERS: &[Handler] = &[$(|call| Box::pin($handler(call)),)+];
    };
}

routes! {
    GET "/mesh" => mesh;
    GET "/healthz" => healthz;
    GET "/readyz" => ready::show;
    GET "/.well-known/starlane.json" => well_known;
    GET "/bundles" => repository::list;
    GET "/bundles/{address}" => repository::manifest;
    PUT "/bundles/{address}" => repository::put_manifest;
    POST "/blobs/missing" => missing::missing_blobs;
    GET "/blobs/sha256/{digest}" => repository::blob;
    PUT "/blobs/sha256/{digest}" => repository::put_blob;
    POST "/messages/{address}/{operation}" => messages::send;
    GET "/events/{topic}" => events::stream;
    GET "/metrics" => metrics::show;
    GET "/backup" => backup::send;
}

async fn healthz(_: Call<'_>) -> Result<Response, Failure> {
    Ok("ok\n".into_response())
}

/// The handshake of a link.
async fn mesh(call: Call<'_>) -> Result<Response, Failure> {
    let site = Arc::clone(call.site);
    let upgrade = match WebSocketUpgrade::from_request_parts(call.parts, &()).await {
        Ok(upgrade) => upgrade.protocols([frame::SUBPROTOCOL]),
        Err(rejection) => return Ok(not_upgraded(&rejection)),
    };
    call.client.permit_link(&site)?;
    if upgrade.selected_protocol().is_none() {
        let message = format!("a link requires the WebSocket subprotocol {}", frame::SUBPROTOCOL);
        return Err(Failure::malformed(message));
    }
    // The node ends a link whose message is slightly too long; a much longer message is not read at all.
    let upgraded = with_settings(upgrade, 2 * frame::MAX_MESSAGE).on_upgrade(async move |socket| {
        let (ends, pump) = socket::pump(socket, Kinds::Binary);
        site.handle.accept(ends).await;
        pump.await;
    });
    Ok(upgraded)
}

/// Sets the sizes of a socket's buffers, and the maximum size of a message in bytes. The write buffer has room for two.
pub(crate) fn with_settings(upgrade: WebSocketUpgrade, max_message: usize) -> WebSocketUpgrade {
    upgrade
        .max_message_size(max_message)
        .max_frame_size(max_message)
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_TOGETHER)
        .max_write_buffer_size(2 * max_message)
}

/// The answer to a request for a link that does not open a WebSocket (RFC 9110, 15.5.22).
fn not_upgraded(rejection: &WebSocketUpgradeRejection) -> Response {
    let message = format!("a link requires a WebSocket with the subprotocol {}: {rejection}", frame::SUBPROTOCOL);
    let mut response = answer::failure(&Failure::new(426, "upgrade-required", message));
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response
}

/// The information that a page needs before it opens a link.
async fn well_known(call: Call<'_>) -> Result<Response, Failure> {
    let publishers = call.site.routes.publishers();
    let about = json!({ "mesh": "/mesh", "publishers": publishers, "version": env!("CARGO_PKG_VERSION") });
    Ok(Json(about).into_response())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use starlane_bundle::route::{SERVER_PATHS, server_path};

    #[test]
    fn apps_can_have_all_routes_except_the_servers() {
        let taken = super::BUILT_IN.iter().map(|(_, path)| {
            server_path(path).unwrap_or_else(|| panic!("{path} is not in `SERVER_PATHS`: an app could take it"))
        });
        assert_eq!(
            taken.collect::<BTreeSet<_>>(),
            BTreeSet::from(SERVER_PATHS),
            "what the server answers, and what is reserved"
        );
    }
}
