//! HTTP: the handshake of links, the repository, messages and events for `curl`, metrics and backups for operators, and the routes
//! of apps.

mod answer;
mod backup;
pub(crate) mod collect;
mod events;
mod file;
pub(crate) mod guard;
mod headers;
pub(crate) mod listen;
mod messages;
mod metrics;
mod missing;
mod repository;
pub(crate) mod routes;
mod serve_route;
pub(crate) mod visibility;

use std::{path::PathBuf, sync::Arc};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State, WebSocketUpgrade},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;
use starlane_bundle::SIGNATURE_HEADER;
use starlane_protocol::{Failure, frame};
use tower_http::{compression::CompressionLayer, cors::CorsLayer};

use self::{guard::Allowed, routes::Routes};
use crate::{
    audit::Audit,
    auth::Auth,
    handle::Handle,
    limits::Limiter,
    sandbox::{GuestUsage, compile::Compiler},
    socket,
    storage::Storage,
};

/// The longest body of a message over plain HTTP, in bytes.
const MESSAGE_BODY: usize = 16 * 1024 * 1024;
/// The longest blob or manifest that is taken, in bytes.
const BLOB_BODY: usize = 64 * 1024 * 1024;
/// What may wait to be written to a socket, in bytes: more than the link ever lets wait.
const WRITE_BUFFER: usize = 4 * 1024 * 1024;

/// What every route needs.
pub(crate) struct Site {
    pub(crate) handle: Handle,
    pub(crate) auth: Auth,
    pub(crate) allowed: Allowed,
    pub(crate) routes: Routes,
    pub(crate) repository: repository::Repository,
    /// Whether only its own machine reaches this server.
    pub(crate) local: bool,
    pub(crate) data: PathBuf,
    /// What guests use.
    pub(crate) usage: Arc<GuestUsage>,
    pub(crate) compiler: Compiler,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) audit: Audit,
    pub(crate) storage: Storage,
}

pub(crate) use repository::Repository;

type Shared = State<Arc<Site>>;

/// All routes. Every one is behind the guard.
pub(crate) fn router(site: Arc<Site>) -> Router {
    let cors = CorsLayer::new()
        .allow_origin(site.allowed.origins().filter_map(|o| HeaderValue::from_str(o).ok()).collect::<Vec<_>>())
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, header::RANGE])
        .expose_headers([
            HeaderName::from_static(SIGNATURE_HEADER),
            HeaderName::from_static("starlane-code"),
            header::ACCEPT_RANGES,
            header::CONTENT_RANGE,
            header::ETAG,
        ]);
    Router::new()
        .route("/mesh", get(mesh))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/.well-known/starlane.json", get(well_known))
        .route("/bundles", get(repository::list))
        .route("/bundles/{address}", get(repository::manifest).put(repository::put_manifest))
        .route("/blobs/missing", post(missing::missing_blobs))
        .route("/blobs/sha256/{digest}", get(repository::blob).put(repository::put_blob))
        .route("/messages/{address}/{operation}", post(messages::send).layer(DefaultBodyLimit::max(MESSAGE_BODY)))
        .route("/events/{topic}", get(events::stream))
        .route("/metrics", get(metrics::show))
        .route("/backup", get(backup::send))
        .fallback(serve_route::serve)
        .layer(CompressionLayer::new())
        .layer(cors)
        .layer(middleware::from_fn_with_state(Arc::clone(&site), guard::check))
        .with_state(site)
}

/// The handshake of a link.
async fn mesh(
    State(site): Shared,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.protocols([frame::SUBPROTOCOL]),
        Err(rejection) => return rejection.into_response(),
    };
    if upgrade.selected_protocol().is_none() {
        let message = format!("a link speaks the WebSocket subprotocol {}", frame::SUBPROTOCOL);
        return answer::failure(&Failure::malformed(message));
    }
    upgrade
        // The node says goodbye for one byte too many; what is far too long is not even read.
        .max_message_size(2 * frame::MAX_MESSAGE)
        .max_frame_size(2 * frame::MAX_MESSAGE)
        .max_write_buffer_size(WRITE_BUFFER)
        .on_upgrade(async move |socket| {
            let (ends, pump) = socket::pump(socket);
            site.handle.accept(ends).await;
            pump.await;
        })
}

/// What a page needs to know before it has a link.
async fn well_known(State(site): Shared) -> Response {
    let publishers = site.routes.publishers();
    let about = json!({ "mesh": "/mesh", "publishers": publishers, "version": env!("CARGO_PKG_VERSION") });
    (StatusCode::OK, Json(about)).into_response()
}
