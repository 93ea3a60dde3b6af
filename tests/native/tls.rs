//! A server that speaks TLS itself: HTTP and links over it, and nothing else.

use std::{fs, io::Write, net::TcpStream, sync::Arc, time::Instant};

use futures_util::{SinkExt, StreamExt};
use starlane_protocol::{
    HostSecret,
    frame::{self, Frame},
};
use starlane_server::TlsFiles;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest},
};

use crate::world::{LONG, Server};

fn server() -> (Server, ClientConfig) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).unwrap()).unwrap();
    let server = Server::start_with(|config| {
        fs::create_dir_all(&config.data).unwrap();
        let (cert, key) = (config.data.join("cert.pem"), config.data.join("key.pem"));
        fs::write(&cert, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        config.tls = Some(TlsFiles { cert, key });
    });
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    (server, client.with_root_certificates(roots).with_no_client_auth())
}

#[tokio::test]
async fn a_link_is_opened_over_tls_from_an_origin_with_tls() {
    let (server, client) = server();
    assert!(server.url.starts_with("https://"));
    let address = server.url.trim_start_matches("https://").to_owned();
    let port = address.rsplit(':').next().unwrap().to_owned();
    for (origin, taken) in [(format!("https://localhost:{port}"), true), (format!("http://localhost:{port}"), false)] {
        let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
        let connector = TlsConnector::from(Arc::new(client.clone()));
        let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
        let mut request = format!("wss://localhost:{port}/mesh").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", frame::SUBPROTOCOL.parse().unwrap());
        request.headers_mut().insert("origin", origin.parse().unwrap());
        let opened = client_async(request, stream).await;
        assert_eq!(opened.is_ok(), taken, "{origin}");
        let Ok((mut socket, _)) = opened else { continue };
        let (versions, secret) = (vec![frame::VERSION], HostSecret([1; 32]));
        let hello = frame::encode_frame(&Frame::Hello { versions, token: None, secret, capabilities: vec![] });
        let hello = frame::encode_message(0, [hello.as_slice()].into_iter());
        socket.send(Message::Binary(hello.into())).await.unwrap();
        let Some(Ok(Message::Binary(bytes))) = socket.next().await else { panic!("no answer") };
        assert!(matches!(frame::decode_message(&bytes).unwrap()[0].1, Frame::Welcome { .. }));
    }
}

#[test]
fn what_speaks_no_tls_or_nothing_is_closed() {
    let (server, _) = server();
    let address = server.url.trim_start_matches("https://");
    for said in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), b""] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.write_all(said).unwrap();
        let before = Instant::now();
        let mut answer = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut answer);
        assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
        assert!(before.elapsed().as_secs() < 10, "{:?}", before.elapsed());
    }
}
