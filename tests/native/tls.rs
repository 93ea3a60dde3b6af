//! Tests of a server that speaks TLS itself. It accepts only HTTP and links over TLS.

use std::{
    fs,
    io::{ErrorKind, Write},
    net::TcpStream,
    sync::Arc,
    time::Instant,
};

use futures_util::{SinkExt, StreamExt};
use starlane_protocol::{
    HostSecret,
    frame::{self, Frame},
};
use starlane_server::TlsFiles;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    },
};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use crate::world::{LONG, Server};

fn server() -> (Server, ClientConfig) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let server = Server::start_with(|config| {
        // Beside the data folder, which must not contain other files.
        let folder = config.data.parent().unwrap();
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        fs::write(&cert, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        config.tls = Some(TlsFiles { cert, key });
    });
    (server, client_of(&made.cert.pem()))
}

/// A client that trusts a certificate.
pub(crate) fn client_of(certificate: &str) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    client.with_root_certificates(roots).with_no_client_auth()
}

#[tokio::test]
async fn a_link_is_opened_over_tls_from_an_origin_with_tls() {
    let (server, client) = server();
    assert!(server.url.starts_with("https://"));
    let address = server.url.trim_start_matches("https://").to_owned();
    let port = address.rsplit(':').next().unwrap().to_owned();
    for (origin, taken) in [(format!("https://localhost:{port}"), true), (format!("http://localhost:{port}"), false)] {
        let opened = open_link(&address, &format!("localhost:{port}"), &origin, None, &client).await;
        assert_eq!(opened.is_some(), taken, "{origin}");
        assert!(opened.is_none_or(|first| matches!(first, Frame::Welcome { .. })));
    }
}

/// Opens a link over TLS as a page of an origin does. Returns the first frame, or `None` if the handshake is refused.
pub(crate) async fn open_link(
    address: &str,
    host: &str,
    origin: &str,
    token: Option<&str>,
    client: &ClientConfig,
) -> Option<Frame> {
    let plain = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = host.split(':').next().unwrap().to_owned();
    let connector = TlsConnector::from(Arc::new(client.clone()));
    let stream = connector.connect(ServerName::try_from(name).unwrap(), plain).await.unwrap();
    let mut request = format!("wss://{host}/mesh").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", frame::SUBPROTOCOL.parse().unwrap());
    request.headers_mut().insert("origin", origin.parse().unwrap());
    let (mut socket, _) = client_async(request, stream).await.ok()?;
    let hello = frame::encode_frame(&Frame::hello(HostSecret([1; 32]), token.map(str::to_owned), 1));
    let hello = frame::encode_message(0, [hello.as_slice()].into_iter());
    socket.send(Message::Binary(hello.into())).await.unwrap();
    let Some(Ok(Message::Binary(bytes))) = socket.next().await else { panic!("no answer") };
    frame::decode_message(&bytes).unwrap().into_iter().next().map(|(_, frame)| frame)
}

#[test]
fn connections_without_tls_and_silent_ones_are_closed() {
    let (server, _) = server();
    let address = server.url.trim_start_matches("https://");
    for said in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), b""] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.write_all(said).unwrap();
        let mut answer = Vec::new();
        let read = std::io::Read::read_to_end(&mut stream, &mut answer);
        assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
        let is_open = read.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        assert!(!is_open, "the connection is still open after {LONG:?}");
    }
}

/// The certificate that a server presents.
async fn shown(server: &Server) -> Option<Vec<u8>> {
    let address = server.url.trim_start_matches("https://");
    let stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let mut client =
        ClientConfig::builder_with_provider(Arc::new(tokio_rustls::rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
    client.dangerous().set_certificate_verifier(Arc::new(Anyone));
    let connector = TlsConnector::from(Arc::new(client));
    let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.ok()?;
    Some(stream.get_ref().1.peer_certificates()?.first()?.to_vec())
}

/// Accepts any certificate, because this test compares them itself.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, tokio_rustls::rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, tokio_rustls::rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        tokio_rustls::rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart() {
    let (server, _) = server();
    let files = server.config.tls.clone().unwrap();
    let before = shown(&server).await.unwrap();
    let renew = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let becomes = async |wanted: &[u8]| {
        let begin = Instant::now();
        while shown(&server).await.as_deref() != Some(wanted) {
            assert!(begin.elapsed() < LONG, "the certificate was not renewed");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let made = renew();
    // The new key is still missing, so the new certificate cannot be used and the earlier one stays in use.
    fs::write(&files.cert, made.cert.pem()).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    assert_eq!(shown(&server).await.unwrap(), before);
    fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    becomes(made.cert.der()).await;
    // As other tools do it: new files replace the old ones.
    let again = renew();
    let (cert, key) = (files.cert.with_extension("new"), files.key.with_extension("new"));
    fs::write(&cert, again.cert.pem()).unwrap();
    fs::write(&key, again.signing_key.serialize_pem()).unwrap();
    fs::rename(&key, &files.key).unwrap();
    fs::rename(&cert, &files.cert).unwrap();
    becomes(again.cert.der()).await;
    // Damaged files leave the earlier certificate in use.
    fs::write(&files.cert, "nothing").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    becomes(again.cert.der()).await;
}
