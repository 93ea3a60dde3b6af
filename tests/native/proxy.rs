//! nginx with the configuration of `crates/server/PROXY.md`, in front of a server.

use std::{fs, net::TcpStream, path::Path, process::Command as Program, thread, time::Instant};

use starlane_bundle::Digest;
use starlane_protocol::frame::Frame;
use starlane_testkit::{
    child::{Started, find_program},
    documents::{self, Runner},
    server::free_address,
};
use tokio::process::Command;

use crate::{
    tls::{client_of, open_link},
    world::{LONG, Server},
};

/// The name of the server in the document.
const HOST: &str = "mesh.example";
/// More than a proxy takes by default.
const BLOB_BYTES: usize = 3 << 20;

#[tokio::test]
async fn nginx_passes_requests_uploads_and_links_on() {
    let pieces = documents::of(Runner::Proxy);
    let configuration = pieces.iter().find(|piece| piece.language == "nginx").expect("a configuration of nginx");
    let server = Server::start_with(|config| {
        config.behind_proxy = true;
        config.allow_hosts = vec![HOST.parse().unwrap()];
    });
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();

    // Only what differs on each machine is replaced: addresses, and the paths of the certificate.
    let address = free_address().unwrap();
    let mut text = configuration.code.clone();
    for (from, to) in [
        ("listen 443 ssl", format!("listen {address} ssl")),
        ("/etc/ssl/mesh.example.pem", certificate.display().to_string()),
        ("/etc/ssl/mesh.example.key", key.display().to_string()),
        ("127.0.0.1:7711", server.address().to_owned()),
    ] {
        assert!(text.contains(from), "{}: `{from}` is expected", configuration.place());
        text = text.replace(from, &to);
    }
    let _nginx = start_nginx(folder.path(), &text, &address);

    // The document's requests, and an upload that is larger than nginx takes by default.
    let port = address.rsplit(':').next().unwrap();
    let through = format!("--connect-to {HOST}:443:127.0.0.1:{port} --cacert {}", certificate.display());
    let commands: Vec<_> = pieces.iter().filter(|piece| piece.language == "sh").collect();
    for command in &commands {
        shell(&command.code.replacen("curl ", &format!("curl --silent --show-error {through} "), 1));
    }
    let blob = vec![7; BLOB_BYTES];
    let file = folder.path().join("blob");
    fs::write(&file, &blob).unwrap();
    let url = format!("https://{HOST}/blobs/sha256/{}", Digest::of(&blob));
    let upload =
        format!("curl --silent --show-error --fail {through} --header 'authorization: Bearer {}'", server.token);
    shell(&format!("{upload} --upload-file {} {url}", file.display()));

    // A page's link, over TLS. Only pages of the public name may open one.
    let client = client_of(&made.cert.pem());
    for (origin, taken) in [("https://mesh.example", true), ("https://other.example", false)] {
        let first = open_link(&address, HOST, origin, Some(&server.token), &client).await;
        assert_eq!(matches!(first, Some(Frame::Welcome { .. })), taken, "{origin}: {first:?}");
    }
    documents::ran(pieces.len());
}

/// Runs a command, which must succeed.
fn shell(line: &str) {
    let ran = Program::new("sh").args(["-c", line]).output().unwrap();
    assert!(ran.status.success(), "`{line}`: {}{}", ran.status, String::from_utf8_lossy(&ran.stderr));
}

/// Checks a configuration, starts nginx with it, and waits until it listens.
fn start_nginx(folder: &Path, servers: &str, address: &str) -> Started {
    let here = folder.display();
    // If root starts nginx, its workers would run as a user who cannot read the folder.
    let user = if rustix::process::getuid().is_root() { "user root;\n" } else { "" };
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String = temporary.iter().map(|name| format!("{name}_temp_path {here}/{name};\n")).collect();
    let whole = format!(
        "{user}daemon off;\nworker_processes 1;\npid {here}/nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;\n{temporary}{servers}}}\n"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, whole).unwrap();
    let program = find_program("nginx").unwrap_or_else(|| "/usr/sbin/nginx".into());
    assert!(program.exists(), "nginx is missing: run `cargo xtask setup --only nginx`");
    let error_log = folder.join("error.log");
    let words = [Path::new("-c"), &file, Path::new("-p"), folder, Path::new("-e"), &error_log];
    let checked = Program::new(&program).args(words).arg("-t").output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let mut running = Started::new(Command::new(&program).args(words), &folder.join("nginx.log")).unwrap();
    let begin = Instant::now();
    while TcpStream::connect(address).is_err() {
        running.still_runs().unwrap();
        assert!(begin.elapsed() < LONG, "nginx does not listen");
        thread::sleep(std::time::Duration::from_millis(20));
    }
    running
}
