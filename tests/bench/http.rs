//! Files over HTTP beside nginx; and messages, routes and files beside another version of the server.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use starlane_testkit::{child::Started, server::free_address};
use tokio::{
    net::TcpStream,
    process::Command,
    time::{Duration, Instant, sleep},
};

use crate::{
    load::{Answer, Load, Request},
    optional_path, path,
    rounds::{Contender, Rounds, mean, print},
    world::{FILE, Server, file},
};

/// The time limit for nginx to listen.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A kind of request to two versions of the server.
struct Measure {
    id: &'static str,
    unit: &'static str,
    method: &'static str,
    path: &'static str,
    body: &'static str,
    answer: fn() -> Bytes,
}

const TEXT: &str = "{\"text\":\"sixty-four bytes of JSON, which come back as they went\"}";
const MEASURES: [Measure; 3] = [
    Measure {
        id: "http/messages",
        unit: "requests/s",
        method: "POST",
        path: "/messages/bench:mesh:speaker/echo",
        body: TEXT,
        answer: || TEXT.into(),
    },
    Measure {
        id: "http/route",
        unit: "requests/s",
        method: "GET",
        path: "/echo/ada",
        body: "",
        answer: || "{\"name\":\"ada\"}".into(),
    },
    Measure { id: "http/files", unit: "files/s", method: "GET", path: FILE, body: "", answer: || file().into() },
];

/// Runs all servers on loopback, ours with fresh data and the same bundle.
pub(crate) async fn run(rounds: &Rounds) -> Result<()> {
    let binary = path("STARLANE_BIN")?;
    if let Some(baseline) = optional_path("STARLANE_BASELINE")? {
        return beside(&binary, &baseline, rounds).await;
    }
    let ours = Server::start(&binary).await?;
    let folder = tempfile::tempdir()?;
    let nginx = Nginx::start(folder.path()).await?;
    let (ours, nginx) = (static_file(&ours.address).await?, static_file(&nginx.address).await?);
    rounds
        .compare("http/static", "files/s", &[contender("ours", &ours, rounds), contender("nginx", &nginx, rounds)])
        .await
}

/// Measures two versions. The first started one is a few percent slower, even beside itself, so each is first once. A round is the
/// mean of both orders.
async fn beside(binary: &Path, baseline: &Path, rounds: &Rounds) -> Result<()> {
    let mut orders = Vec::new();
    for ours_first in [true, false] {
        let (first, second) = if ours_first { (binary, baseline) } else { (baseline, binary) };
        let (first, second) = (Server::start(first).await?, Server::start(second).await?);
        let (ours, baseline) = if ours_first { (&first, &second) } else { (&second, &first) };
        let mut measured = Vec::new();
        for measure in &MEASURES {
            let (ours, baseline) = (measure.load(ours).await?, measure.load(baseline).await?);
            let contenders = [contender("ours", &ours, rounds), contender("baseline", &baseline, rounds)];
            measured.push(rounds.measure(measure.id, &contenders).await?);
        }
        orders.push(measured);
    }
    let (backward, forward) = (orders.pop().unwrap_or_default(), orders.pop().unwrap_or_default());
    for (measure, (one, other)) in MEASURES.iter().zip(forward.iter().zip(&backward)) {
        let rounds: Vec<_> = one.iter().zip(other).map(|(one, other)| mean(one, other)).collect();
        print(measure.id, measure.unit, &rounds);
    }
    Ok(())
}

fn contender<'a>(name: &'static str, load: &'a Load, rounds: &'a Rounds) -> Contender<'a> {
    Contender::new(name, move || async move { Ok(load.run(rounds.block).await?.rate) })
}

impl Measure {
    async fn load(&self, server: &Server) -> Result<Load> {
        Load::open(Request {
            address: &server.address,
            method: self.method,
            path: self.path,
            token: (!self.body.is_empty()).then_some(server.token.as_str()),
            body: self.body.into(),
            answer: Answer::Is((self.answer)()),
        })
        .await
    }
}

async fn static_file(address: &str) -> Result<Load> {
    let answer = Answer::Is(file().into());
    Load::open(Request { address, method: "GET", path: FILE, token: None, body: Bytes::new(), answer }).await
}

/// nginx with one file. Dropping it ends nginx.
struct Nginx {
    address: String,
    _running: Started,
}

impl Nginx {
    async fn start(folder: &Path) -> Result<Self> {
        let address = free_address()?;
        let place = folder.join("site").join(FILE.trim_start_matches('/'));
        place.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(place, file())?;
        let configuration = folder.join("nginx.conf");
        std::fs::write(&configuration, text(folder, &address))?;
        let mut command = Command::new(path("STARLANE_NGINX")?);
        command.arg("-c").arg(&configuration).arg("-p").arg(folder).arg("-e").arg(folder.join("error.log"));
        let log = folder.join("nginx.log");
        let mut running = Started::new(&mut command, &log)?;
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let start = Instant::now();
        while TcpStream::connect(&address).await.is_err() {
            running.still_runs().with_context(said)?;
            ensure!(start.elapsed() < START_LIMIT, "nginx did not listen within 10 s\n{}", said());
            sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { address, _running: running })
    }
}

/// The configuration that nginx's manual recommends for files: all cores, sendfile, a cache of open files, no log.
fn text(folder: &Path, address: &str) -> String {
    let folder = folder.display();
    // If root starts nginx, its workers would run as a user who cannot read the folder.
    let user = if rustix::process::getuid().is_root() { "user root;\n" } else { "" };
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String = temporary.iter().map(|name| format!("  {name}_temp_path {folder}/{name};\n")).collect();
    format!(
        "{user}worker_processes auto;\ndaemon off;\npid {folder}/nginx.pid;\nevents {{ worker_connections 1024; }}\nhttp {{\n\
         {temporary}  access_log off;\n  sendfile on;\n  tcp_nopush on;\n  open_file_cache max=100;\n  \
         keepalive_requests 100000000;\n  server {{ listen {address}; root {folder}/site; }}\n}}\n"
    )
}
