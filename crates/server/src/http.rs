//! HTTP: the handshake of links, the repository, messages and events for `curl`, metrics and backups for operators, and the routes
//! of apps.

mod answer;
mod backup;
mod bodies;
mod client;
pub(crate) mod collect;
mod cors;
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

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{MethodFilter, on},
};
use serde_json::json;
use starlane_host::resource::Kept;
use starlane_protocol::{Failure, frame};
use tower_http::compression::CompressionLayer;

use self::{client::Client, guard::Allowed, routes::Routes};
use crate::{
    audit::Audit,
    auth::Auth,
    handle::Handle,
    limits::Limiter,
    readiness::Readiness,
    sandbox::{GuestUsage, compile::Compiler},
    socket,
    state_store::StateCounts,
    storage::Storage,
};

/// What a socket reads at a time, in bytes. Each link keeps a buffer of this size, also while it is idle.
const READ_BUFFER: usize = 4 * 1024;
/// What a socket collects before it writes, in bytes. A flush writes less.
const WRITE_TOGETHER: usize = 16 * 1024;
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
    /// What resources of apps keep in it.
    pub(crate) kept: Arc<[Kept]>,
    /// What guests use.
    pub(crate) usage: Arc<GuestUsage>,
    pub(crate) compiler: Compiler,
    /// What the store of actors' state has done.
    pub(crate) state_counts: Arc<StateCounts>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) audit: Audit,
    pub(crate) storage: Storage,
    pub(crate) bodies: Bodies,
    pub(crate) readiness: Readiness,
    /// Whether a proxy in front is believed about whom it had a request from.
    pub(crate) behind_proxy: bool,
}

pub(crate) use bodies::Bodies;
pub(crate) use repository::Repository;
pub(crate) use visibility::Visibility;

type Shared = State<Arc<Site>>;

/// Makes the table of routes, and the router of it, from one list.
macro_rules! routes {
    ($($method:ident $path:literal => $handler:path;)+) => {
        /// The routes that every server has: method and path, with `{name}` for one segment. What takes GET takes HEAD too.
        pub const BUILT_IN: &[(&str, &str)] = &[$((stringify!($method), $path),)+];

        fn built_in() -> Router<Arc<Site>> {
            Router::new()$(.route($path, on(MethodFilter::$method, $handler)))+
        }
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

/// All routes. Every one is behind the guard.
pub(crate) fn router(site: Arc<Site>) -> Router {
    built_in()
        .fallback(serve_route::serve)
        // Bodies have limits of their own, by who sends them.
        .layer(DefaultBodyLimit::disable())
        .layer(CompressionLayer::new())
        .layer(middleware::from_fn(file::tag_encoded))
        .layer(middleware::from_fn_with_state(Arc::clone(&site), guard::check))
        .with_state(site)
}

/// The methods that a path takes under a host name, in the order of the alphabet; none if nothing is routed there.
fn methods(site: &Site, host: &str, path: &str) -> Vec<String> {
    static BY_PATH: LazyLock<matchit::Router<Vec<&'static str>>> = LazyLock::new(|| {
        let mut paths: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (method, path) in BUILT_IN {
            paths.entry(path).or_default().push(method);
        }
        let mut router = matchit::Router::new();
        for (path, methods) in paths {
            // Two of them never take the same path: axum refuses them too.
            let _ = router.insert(path, methods);
        }
        router
    });
    let own = BY_PATH.at(path).map(|found| found.value.iter().map(|method| (*method).to_owned()).collect());
    let mut methods: BTreeSet<String> = own.unwrap_or_else(|_| site.routes.methods(host, path));
    if methods.contains("GET") {
        methods.insert("HEAD".to_owned());
    }
    methods.into_iter().collect()
}

async fn healthz() -> &'static str {
    "ok\n"
}

/// The handshake of a link.
async fn mesh(
    State(site): Shared,
    Extension(client): Extension<Client>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade.protocols([frame::SUBPROTOCOL]),
        Err(rejection) => return not_upgraded(&rejection),
    };
    if let Err(failure) = client.permit_link(&site) {
        return answer::failure(&failure);
    }
    if upgrade.selected_protocol().is_none() {
        let message = format!("a link speaks the WebSocket subprotocol {}", frame::SUBPROTOCOL);
        return answer::failure(&Failure::malformed(message));
    }
    upgrade
        // The node says goodbye for one byte too many; what is far too long is not even read.
        .max_message_size(2 * frame::MAX_MESSAGE)
        .max_frame_size(2 * frame::MAX_MESSAGE)
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_TOGETHER)
        .max_write_buffer_size(WRITE_BUFFER)
        .on_upgrade(async move |socket| {
            let (ends, pump) = socket::pump(socket);
            site.handle.accept(ends).await;
            pump.await;
        })
}

/// That a link is asked for by something that opens no WebSocket (RFC 9110, 15.5.22).
fn not_upgraded(rejection: &WebSocketUpgradeRejection) -> Response {
    let message = format!("a link is a WebSocket with the subprotocol {}: {rejection}", frame::SUBPROTOCOL);
    let mut response = answer::failure(&Failure::new(426, "upgrade-required", message));
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response
}

/// What a page needs to know before it has a link.
async fn well_known(State(site): Shared) -> Response {
    let publishers = site.routes.publishers();
    let about = json!({ "mesh": "/mesh", "publishers": publishers, "version": env!("CARGO_PKG_VERSION") });
    (StatusCode::OK, Json(about)).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use starlane_bundle::route::{SERVER_PATHS, server_path};

    #[test]
    fn apps_may_have_all_routes_but_the_servers() {
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
