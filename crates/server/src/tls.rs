//! TLS: the operator's certificate and key, and their renewal.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
    server::TlsStream,
};

/// The PEM files of the certificate and the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain: the server's certificate and the intermediate ones.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Reads both. Errors when one cannot be read or they do not belong together; the error names the file.
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, String> {
        let Self { cert, key } = self;
        let in_cert = |error: &dyn std::fmt::Display| format!("the certificate {}: {error}", cert.display());
        let in_key = |error: &dyn std::fmt::Display| format!("the key {}: {error}", key.display());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(cert).map_err(|error| in_cert(&error))?.collect();
        let chain = chain.map_err(|error| in_cert(&error))?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| in_key(&error))?;
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_single_cert(chain, secret)
            .map_err(|error| in_cert(&error))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// The minimum time between two checks of the files.
const AGAIN: Duration = Duration::from_millis(500);

/// The certificate in use. When the files change, the next handshake uses the new certificate. Clones share it.
#[derive(Clone)]
pub(crate) struct Tls {
    files: Arc<TlsFiles>,
    state: Arc<Mutex<State>>,
}

struct State {
    acceptor: TlsAcceptor,
    /// The stamps of the files when they were read.
    stamps: [Option<Stamp>; 2],
    looked: Instant,
}

/// The stamp of a file, without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    #[cfg(unix)]
    inode: u64,
}

impl Tls {
    /// Reads the files. Errors as [`TlsFiles::acceptor`] does.
    pub(crate) fn open(files: &TlsFiles) -> Result<Self, String> {
        let stamps = files.stamps();
        let state = State { acceptor: files.acceptor()?, stamps, looked: Instant::now() };
        Ok(Self { files: Arc::new(files.clone()), state: Arc::new(Mutex::new(state)) })
    }

    /// Takes a connection.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.current().accept(stream).await
    }

    /// The current certificate. If a new one cannot be used, the earlier one stays in use. Both files are small and
    /// seldom change, so reading them here is acceptable.
    fn current(&self) -> TlsAcceptor {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= AGAIN {
            state.looked = Instant::now();
            let stamps = self.files.stamps();
            if state.stamps != stamps {
                state.stamps = stamps;
                match self.files.acceptor() {
                    Ok(acceptor) => {
                        tracing::info!("the certificate {} was renewed", self.files.cert.display());
                        state.acceptor = acceptor;
                    }
                    Err(reason) => {
                        tracing::error!("{reason}: the earlier certificate and key stay in use");
                    }
                }
            }
        }
        state.acceptor.clone()
    }
}

impl TlsFiles {
    fn stamps(&self) -> [Option<Stamp>; 2] {
        [Stamp::of(&self.cert), Stamp::of(&self.key)]
    }
}

impl Stamp {
    /// None: the file does not exist now.
    fn of(file: &Path) -> Option<Self> {
        let about = fs::metadata(file).ok()?;
        Some(Self {
            modified: about.modified().ok(),
            length: about.len(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(&about),
        })
    }
}
