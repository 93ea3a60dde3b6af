//! The run of a server, from start to end.

use std::{
    collections::BTreeMap, future::Future, io, net::SocketAddr, num::NonZero, path::PathBuf, rc::Rc, sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use starlane_host::{
    Host, HostConfig, Level, LinkConfig, LocalVerifier, LogLine,
    ports::{NoSource, Ports, Time},
    resource::Registry,
};
use starlane_protocol::{Failure, HostSecret, Trace};
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::{Builder, Handle},
    sync::watch,
    task::LocalSet,
    time::sleep,
};

use crate::{
    apps::{Apps, rights::Rights},
    audit::Audit,
    auth::{self, Auth},
    builtin,
    data_folder::{self, DataFolder},
    handle,
    http::{
        self, Bodies, Repository, Site, collect,
        guard::{Allowed, Names},
        routes::Routes,
    },
    limits::{Limit, Limiter, ServerLimits},
    log::LogLines,
    names::{Authority, Origin, SpaceName},
    operator,
    readiness::Readiness,
    sandbox::{
        SandboxConfig, WasmtimeSandbox,
        compile::{self, CompileConfig},
    },
    socket::NoDialer,
    state_store::SqliteStateStore,
    storage::Storage,
    store::DiskStore,
    time::TokioTime,
    tls::{Tls, TlsFiles},
};

/// The maximum number of awake actors.
const MAX_AWAKE: usize = 1_000;
/// The listen backlog: all pages reconnect after a restart of the server.
const BACKLOG: u32 = 4_096;
/// The time for open requests to finish when the server stops.
const GRACE: Duration = Duration::from_secs(5);
/// The interval between two checks whether all requests are answered.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// The time for the last frames of links.
const PARTING: Duration = Duration::from_millis(100);

/// The configuration of a server.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// The data folder.
    pub data: PathBuf,
    /// The listening address. Port 0 chooses a free port. An address that is not loopback requires `tls` or `behind_proxy`.
    pub listen: SocketAddr,
    /// The certificate and key, to speak TLS.
    pub tls: Option<TlsFiles>,
    /// Whether a proxy in front speaks TLS. The proxy must pass `Host` on unchanged.
    pub behind_proxy: bool,
    /// Additional allowed `Host` headers.
    pub allow_hosts: Vec<Authority>,
    /// Additional origins whose pages can use it.
    pub allow_origins: Vec<Origin>,
    /// Spaces whose apps answer only for these `Host` headers. Other spaces answer for all other headers.
    pub spaces: BTreeMap<SpaceName, Vec<Authority>>,
    /// The limits on the resources that peers, guests and visitors use.
    pub limits: ServerLimits,
    /// The program with the command `compile-module`, that of [`crate::compile_module`]: modules are compiled in processes of it,
    /// which are limited. Without one, this process compiles them without limits of memory and time.
    pub compiler: Option<PathBuf>,
    /// The log lines, for requests by message.
    pub logs: LogLines,
}

/// A running server.
#[derive(Debug, Clone)]
pub struct Ready {
    /// Its URL.
    pub url: String,
    /// The data folder.
    pub data: PathBuf,
    /// The admin token's file.
    pub admin_token: PathBuf,
}

/// The reason why a server cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The port is taken.
    #[error("{0} is in use by another program: choose another with `--listen ADDRESS:PORT`")]
    Busy(SocketAddr),
    /// It would be reachable from other machines without TLS.
    #[error(
        "{0} can be reached from other machines: give a certificate with `--cert FILE --key FILE`, or set `--behind-proxy` if a \
         proxy in front speaks TLS; without TLS the server listens on 127.0.0.1 or [::1] only"
    )]
    NotLoopback(SocketAddr),
    /// The certificate or key can't be used.
    #[error("{0}")]
    Tls(String),
    /// Two spaces have the same host name.
    #[error("the host {0} belongs to two spaces, {1} and {2}; assign it to one of them")]
    TwoSpaces(Authority, SpaceName, SpaceName),
    /// The address can't be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// The data folder can't be used.
    #[error("cannot use the data folder {0}: {1}")]
    Data(PathBuf, String),
    /// Another server uses it.
    #[error("another server is using the data folder {0}: stop it, or choose another folder with `--data FOLDER`")]
    InUse(PathBuf),
    /// The engine does not start.
    #[error("cannot start the sandbox: {0}")]
    Sandbox(String),
    /// An error of the host itself.
    #[error("cannot start the server: {0}")]
    Host(#[from] Failure),
}

impl Default for ServeConfig {
    /// A server of this machine alone: `./starlane-data`, 127.0.0.1:7711.
    fn default() -> Self {
        Self {
            data: PathBuf::from("starlane-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 7711)),
            tls: None,
            behind_proxy: false,
            allow_hosts: Vec::new(),
            allow_origins: Vec::new(),
            spaces: BTreeMap::new(),
            limits: ServerLimits::default(),
            compiler: None,
            logs: LogLines::default(),
        }
    }
}

impl ServeConfig {
    /// Checks whether a server can be started with this configuration, as far as that can be known beforehand. Errors
    /// with `NotLoopback` when others could reach it without TLS, with `Tls` when the certificate or key cannot be
    /// used, with `TwoSpaces` when two spaces have one host name, and with `Data` when the data folder is a file or of
    /// a newer format.
    pub fn check(&self) -> Result<(), ServeError> {
        if !self.listen.ip().is_loopback() && self.tls.is_none() && !self.behind_proxy {
            return Err(ServeError::NotLoopback(self.listen));
        }
        let (names, mut hosts) = (Names::of(self), BTreeMap::new());
        for (space, host) in self.spaces.iter().flat_map(|(space, hosts)| hosts.iter().map(move |host| (space, host))) {
            let name = names.bare(&host.to_string()).to_owned();
            if let Some(other) = hosts.insert(name, space).filter(|other| *other != space) {
                return Err(ServeError::TwoSpaces(host.clone(), other.clone(), space.clone()));
            }
        }
        if self.data.exists() && !self.data.is_dir() {
            return Err(ServeError::Data(self.data.clone(), "it is a file; name a folder with `--data`".into()));
        }
        data_folder::read_format(&self.data).map_err(|error| ServeError::Data(self.data.clone(), error))?;
        self.tls.as_ref().map(TlsFiles::acceptor).transpose().map(drop).map_err(ServeError::Tls)
    }

    /// The scheme that it speaks itself: `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The scheme by which browsers reach it: a proxy in front speaks TLS.
    pub(crate) fn outside(&self) -> &'static str {
        if self.behind_proxy { "https" } else { self.scheme() }
    }
}

/// Runs a server until `shutdown` is ready. Requests that arrived until then are answered first. The host runs on this
/// thread; connections run on other threads, one for each core except the host's. `ready` is called when the server
/// answers. Errors when it cannot start; the text says what to change.
pub fn serve(
    config: &ServeConfig,
    ready: impl FnOnce(Ready),
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    config.check()?;
    // Before anything else uses SQLite.
    let data_error = |error: String| ServeError::Data(config.data.clone(), error);
    let runtime_error = |error: io::Error| data_error(error.to_string());
    let runtime = Builder::new_current_thread().enable_all().build().map_err(runtime_error)?;
    // The host's own thread uses one core.
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1));
    let network = Builder::new_multi_thread().worker_threads(cores).thread_name("starlane-http").enable_all().build();
    let network = network.map_err(runtime_error)?;
    let local = LocalSet::new();
    let served = local.block_on(&runtime, run(config, network.handle(), ready, shutdown));
    // The remaining tasks belong to closed links and to cancelled requests.
    drop(local);
    network.shutdown_timeout(PARTING);
    runtime.shutdown_background();
    // No task of this server uses the data folder any more.
    served.map(drop)
}

/// A socket that connections come to.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections of an earlier server must not prevent a new one from listening. On Windows, this option would let two
    // servers listen.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Runs a server whose connections are tasks of `network`. Returns the data folder, which must stay locked until they
/// have ended.
async fn run(
    config: &ServeConfig,
    network: &Handle,
    ready: impl FnOnce(Ready),
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<DataFolder, ServeError> {
    let listener = {
        let _network = network.enter();
        listen(config.listen)
    };
    let listener = listener.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => ServeError::Busy(config.listen),
        _ => ServeError::Listen(config.listen, error),
    })?;
    let tls = config.tls.as_ref().map(Tls::open).transpose().map_err(ServeError::Tls)?;
    let address = listener.local_addr().map_err(|error| ServeError::Listen(config.listen, error))?;
    let data_error = |error: String| ServeError::Data(config.data.clone(), error);
    let mut folder = DataFolder::open(&config.data)?;
    let folder_id = folder.mark().map_err(|error| data_error(error.to_string()))?;
    let store = DiskStore::new(&config.data);
    let time = TokioTime::new();
    let secret = store.secret(HostSecret(time.random())).await.map_err(|error| data_error(error.to_string()))?;
    let open = address.ip().is_loopback() && !config.behind_proxy;
    let auth = Auth::open(&config.data, secret.name(), open).map_err(|error| data_error(error.to_string()))?;
    let limiter = Limiter::new(config.limits.clone());
    let sandbox = WasmtimeSandbox::open(SandboxConfig {
        threads: std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
        compile: CompileConfig {
            program: config.compiler.clone(),
            kept: Some((config.data.join(compile::FOLDER), secret.clone())),
            limiter: Arc::clone(&limiter),
        },
    });
    let sandbox = sandbox.map_err(|error| ServeError::Sandbox(error.to_string()))?;
    let (usage, compiler) = (sandbox.usage(), sandbox.compiler());
    config.logs.count_with(&limiter);
    let storage = Storage::new(&config.data, Arc::clone(&limiter));
    let audit =
        Audit::open(&config.data, limiter.get(Limit::AuditLog)).map_err(|error| data_error(error.to_string()))?;
    let state = SqliteStateStore::open(&config.data, config.limits.state(), &limiter, &storage).map_err(data_error)?;
    let state_counts = state.counts();
    let contracts = sandbox.contracts();
    let resources = builtin::drivers(&contracts, &config.data, &limiter, &storage)?;
    let kept = resources.kept().into();
    let host = open_host(&store, state, &auth, sandbox, time, secret, (&config.limits, resources))?;
    host.bind_bundles(builtin::of_bundles(&contracts, &limiter)?);
    let [apps_bind, grants, server, tokens] = builtin::own(&contracts, &limiter)?;
    let own = (
        auth::serve(&host, &auth, &audit, (&grants, &tokens))?,
        operator::serve(&host, &config.logs, &audit, (&config.data, folder_id), server)?,
    );
    tokio::task::spawn_local(reauthenticate(host.clone(), auth.clone()));
    let (handle, commands) = handle::Handle::new(host.clone());
    tokio::task::spawn_local(commands);
    let routes = Routes::new(&config.spaces, Names::of(config));
    let readiness = Readiness::new(&config.data);
    let repository = Repository::open(&config.data, &storage).map_err(|error| data_error(error.to_string()))?;
    let rights = Rights::new(&auth, repository.visibility().clone(), &routes);
    let ruled = (routes.clone(), rights);
    let apps = Apps::open(&host, store, ruled, &limiter, (&audit, &storage), readiness.clone(), apps_bind).await?;
    tokio::task::spawn_local(collect::run(repository.clone(), storage.clone(), Arc::clone(&limiter)));
    let site = Site {
        handle,
        auth,
        allowed: Allowed::new(address, config),
        routes,
        repository,
        storage,
        local: open,
        data: config.data.clone(),
        kept,
        usage,
        compiler,
        audit,
        bodies: Bodies::new(&limiter),
        readiness,
        behind_proxy: config.behind_proxy,
        limiter: Arc::clone(&limiter),
        state_counts,
    };
    // A caller of `ready` can ask the server to stop, so it listens for that from now on.
    let mut shutdown = Box::pin(shutdown);
    let asked = shutdown.as_mut().now_or_never();
    ready(Ready {
        url: format!("{}://{address}", config.scheme()),
        data: config.data.clone(),
        admin_token: auth::token_file(&config.data),
    });
    let (closing, mut closed) = watch::channel(false);
    let stop = async move {
        let _ = closed.wait_for(|closing| *closing).await;
    };
    let server = http::listen::Server { listener, tls, site: Arc::new(site) };
    let serving = network.spawn(server.serve(stop));
    let stopping = async move {
        if asked.is_none() {
            shutdown.await;
        }
        let _ = closing.send(true);
        tracing::info!("stopping");
        // Open HTTP requests are answered, with a timeout; then links end.
        sleep(GRACE).await;
    };
    tokio::select! {
        served = serving => {
            if let Err(error) = served {
                tracing::error!(%error, "the task that accepts connections failed");
            }
        }
        () = stopping => {}
    }
    answered(&host).await;
    let unsaved = host.save_all(GRACE.as_millis() as u64).await;
    if unsaved > 0 {
        tracing::error!(unsaved, "the state of actors that did not finish in time is not saved");
    }
    drop((apps, own));
    host.close();
    // Separate tasks write the goodbyes.
    sleep(PARTING).await;
    Ok(folder)
}

/// Waits, with a timeout, until requests over links are answered too.
async fn answered(host: &Host) {
    let end = tokio::time::Instant::now() + GRACE;
    while host.inspect().open_requests > 0 && tokio::time::Instant::now() < end {
        sleep(LOOK_AGAIN).await;
    }
}

/// Checks all links again whenever the permissions of principals change.
async fn reauthenticate(host: Host, auth: Auth) {
    let mut changes = auth.changes();
    while changes.changed().await.is_ok() {
        host.reauthenticate();
    }
}

fn open_host(
    store: &DiskStore,
    state: SqliteStateStore,
    auth: &Auth,
    sandbox: WasmtimeSandbox,
    time: TokioTime,
    secret: HostSecret,
    (limits, resources): (&ServerLimits, Registry),
) -> Result<Host, ServeError> {
    let ports = Ports {
        time: Rc::new(time),
        dialer: Rc::new(NoDialer),
        sandbox: Rc::new(sandbox),
        bundles: Rc::new(store.clone()),
        records: Rc::new(store.clone()),
        state: Rc::new(state),
        source: Rc::new(NoSource),
        verifier: Rc::new(LocalVerifier),
    };
    let auth = auth.clone();
    let address = operator::address()?;
    let config = HostConfig {
        address,
        secret,
        link: LinkConfig::default(),
        max_awake: MAX_AWAKE,
        limits: limits.principal(),
        actors: limits.actors(),
        authenticate: Rc::new(move |token| auth.authenticate(token)),
        log: Rc::new(log),
        resources: Some(Rc::new(resources)),
    };
    Ok(Host::open(ports, config))
}

fn log(line: &LogLine) {
    let LogLine { address, level, trace, text } = line;
    let trace = trace.as_ref().map(Trace::id);
    match level {
        Level::Trace => tracing::trace!(%address, trace, "{text}"),
        Level::Debug => tracing::debug!(%address, trace, "{text}"),
        Level::Info => tracing::info!(%address, trace, "{text}"),
        Level::Warn => tracing::warn!(%address, trace, "{text}"),
        Level::Error => tracing::error!(%address, trace, "{text}"),
    }
}
