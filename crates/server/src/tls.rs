//! TLS: the certificate and key that the operator names.

use std::{path::PathBuf, sync::Arc};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

/// Where certificate and key are: PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, with those between it and the authority behind it.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// Reads both. Errors when one can't be read or they don't belong together, naming the file.
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
