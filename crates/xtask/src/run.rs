//! `cargo xtask run`: builds and serves the demo on this machine.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::build::{self, Artifact};
use crate::figures;
use crate::files;
use crate::process::{self, Program, Service};
use crate::report;
use crate::setup::{self, Piece, browsers::Engine};
use crate::workshop::Workshop;

const DATA: &str = "target/run/data";
const BUNDLE: &str = "acme:repo:profiles:0.1.0";
const APP: &str = "acme:profiles";
/// The time limit from the server's start to its first answer.
const START_LIMIT: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The server's port on 127.0.0.1.
    #[arg(long, default_value_t = 7711)]
    port: u16,
    /// Keep the data of the last run.
    #[arg(long)]
    keep: bool,
    /// Open the demo in headless Chromium, print one line for each checked fact, and exit. Fails if a fact is wrong.
    #[arg(long, conflicts_with_all = ["port", "keep"])]
    check: bool,
}

/// `cargo xtask run`
pub(crate) fn command(workshop: &Workshop, options: &Options) -> Result<ExitCode> {
    let start = Instant::now();
    let first = !workshop.path("target/dist").exists();
    if !options.check {
        // Before the long build, not after it.
        check_port(options.port)?;
    }
    let mut pieces = Piece::BUILD.to_vec();
    if options.check {
        pieces.push(Piece::Chromium);
    }
    setup::prepare(workshop, &pieces)?;
    setup::ensure_all(workshop, &pieces)?;
    build::ensure_all_built(workshop, &Artifact::DEMO)?;
    let code = if options.check { check(workshop)? } else { serve(workshop, options, start, first)? };
    if options.check && code == ExitCode::SUCCESS {
        record(workshop, start, first, "cargo xtask run --check")?;
    }
    Ok(code)
}

fn serve(workshop: &Workshop, options: &Options, start: Instant, first: bool) -> Result<ExitCode> {
    let data = workshop.path(DATA);
    // Written after publishing. A run that failed earlier has no data to keep.
    let published = workshop.path("target/run/published");
    let known = options.keep && published.exists();
    if !known {
        files::remove_folder(&workshop.path("target/run"))?;
    }
    std::fs::create_dir_all(&data)?;
    let address = SocketAddr::from(([127, 0, 0, 1], options.port));
    let mut server = report::step("start the server", || {
        let listen = address.to_string();
        let mut server =
            starlane(workshop, options.port).args(["serve", "--data", DATA, "--listen", &listen]).serve()?;
        wait_until_healthy(address, &mut server)?;
        Ok(server)
    })?;
    if !known {
        report::step("publish the demo", || {
            starlane(workshop, options.port).args(["publish", "www/bundle", BUNDLE]).run()?;
            starlane(workshop, options.port).args(["app", "create", APP, "--bundle", BUNDLE]).run()?;
            files::write(&published, BUNDLE)
        })?;
    }
    record(workshop, start, first, "cargo xtask run")?;
    println!("\nThe demo is at {}\n", report::strong(&format!("http://{address}/")));
    println!("Press Ctrl-C to stop it. `cargo xtask test` runs every test.");
    loop {
        if process::interrupted() {
            drop(server);
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(status) = server.ended()? {
            bail!("the server ended by itself ({status}); see its output above");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The built command line, connected to our server.
fn starlane(workshop: &Workshop, port: u16) -> Program {
    workshop
        .program(build::server_binary(workshop))
        .env("STARLANE_SERVER", format!("http://127.0.0.1:{port}"))
        .env("STARLANE_DATA", workshop.path(DATA))
}

/// Runs the page test in Chromium, in the form that prints facts.
fn check(workshop: &Workshop) -> Result<ExitCode> {
    let finished = workshop
        .cargo(["test", "--quiet"])
        .args(build::NATIVE)
        .args(["--test", "e2e", "--", "--check", "--engine", "chromium"])
        .envs(Engine::Chromium.environment(workshop)?)
        .envs(demo_environment(workshop))
        .limit(Duration::from_secs(1200))
        .stream()?;
    let found = finished.lines.iter().filter_map(|line| figures::in_line(line)).collect();
    figures::record(workshop, found)?;
    if finished.status.is_none() {
        bail!("the check exceeded its limit of 20 minutes and was ended");
    }
    Ok(if finished.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The environment with which a test can start the demo.
pub(crate) fn demo_environment(workshop: &Workshop) -> Vec<(&'static str, std::path::PathBuf)> {
    vec![
        ("STARLANE_BIN", build::server_binary(workshop)),
        ("STARLANE_BUNDLE", workshop.path("www/bundle")),
        ("STARLANE_DIST", workshop.path("www/dist")),
    ]
}

/// Records the time until the demo was served. If something was installed, or built for the first time, the figure has
/// another name.
fn record(workshop: &Workshop, start: Instant, first: bool, command: &str) -> Result<()> {
    let name = if first || workshop.installed.get() { "run.cold" } else { "run.warm" };
    let took = start.elapsed();
    report::remark(format!("{name}: {}", report::seconds(took)));
    figures::record(workshop, vec![figures::of_command(name, took.as_secs_f64(), command)])
}

fn check_port(port: u16) -> Result<()> {
    match TcpListener::bind(("127.0.0.1", port)) {
        Ok(_) => Ok(()),
        Err(error) => bail!("cannot listen on 127.0.0.1:{port} ({error}): choose another port with `--port N`"),
    }
}

fn wait_until_healthy(address: SocketAddr, server: &mut Service) -> Result<()> {
    let start = Instant::now();
    loop {
        if process::interrupted() {
            bail!("interrupted");
        }
        if let Some(status) = server.ended()? {
            bail!("the server did not start ({status}); see its output above");
        }
        match health(address) {
            Ok(200) => return Ok(()),
            answer if start.elapsed() > START_LIMIT => {
                let answer = match answer {
                    Ok(status) => format!("status {status}"),
                    Err(error) => error.to_string(),
                };
                bail!("http://{address}/healthz did not answer with 200 within {} s: {answer}", START_LIMIT.as_secs());
            }
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// The status of `GET /healthz`.
fn health(address: SocketAddr) -> Result<u16> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let read = stream.take(512).read_to_end(&mut answer);
    // The status line is enough, even if the connection breaks after it.
    match status_in(&String::from_utf8_lossy(&answer)) {
        Some(status) => Ok(status),
        None => read.map_err(Into::into).and_then(|_| bail!("no HTTP answer")),
    }
}

fn status_in(answer: &str) -> Option<u16> {
    answer.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_an_answer_is_read() {
        assert_eq!(status_in("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"), Some(200));
        assert_eq!(status_in("HTTP/1.0 503 Service Unavailable\r\n"), Some(503));
        assert_eq!(status_in("SSH-2.0-x"), None);
    }

    #[test]
    fn a_busy_port_names_the_flag_to_change() {
        let busy = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = check_port(busy.local_addr().unwrap().port()).unwrap_err().to_string();
        assert!(error.contains("--port"), "{error}");
    }
}
