//! A client in Python, written from the document of the protocol alone, against the real server.

use std::process::Command;

use starlane_testkit::{figure::figure, workspace};

use crate::world::{Server, echo_bundle};

#[test]
fn a_client_in_python_links_resumes_and_is_asked() {
    let python = std::env::var("STARLANE_PYTHON");
    let python = python.expect("STARLANE_PYTHON is not set: run this with `cargo xtask test --only native`");
    let server = Server::start();
    server.run_app(echo_bundle("").path(), "acme:repo:echoes:1.0.0", "acme:echoes");
    let client = workspace().join("tests/clients/python");
    let mesh = format!("{}/mesh", server.url.replacen("http", "ws", 1));
    let ran = Command::new(python).arg("-B").arg(client.join("check.py")).arg(mesh).output().unwrap();
    let (out, error) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && out.contains("21 passed, 0 failed"), "{out}{error}");
    let lines = std::fs::read_to_string(client.join("starlane.py")).unwrap().lines().count();
    figure("client.lines", lines as f64, "lines");
}
