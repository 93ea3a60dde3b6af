//! Writes to a database over HTTP, beside SQLite with one commit for all waiting writes: behind plain HTTP, and by itself.

use std::{convert::Infallible, path::Path, sync::Arc, sync::mpsc, thread};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rusqlite::Connection;
use serde_json::{Value, json};
use starlane_testkit::server::get;
use tokio::{
    net::TcpListener,
    sync::oneshot,
    task::LocalSet,
    time::{Duration, Instant},
};

use crate::{
    load::{Answer, CONNECTIONS, Load, Request},
    path,
    role::Player,
    rounds::{Contender, Rounds},
    world::Server,
};

const INSERT: &str = "INSERT INTO entries (text) VALUES (?)";
const COUNT: &str = "SELECT count(*) AS n FROM entries";
const TEXT: &str = "sixty-four bytes of text, which are an entry of the table, no more";
const DATABASE: &str = "bench:mesh:db";

pub(crate) async fn run(rounds: &Rounds) -> Result<()> {
    let server = Server::start(&path("STARLANE_BIN")?).await?;
    let body = serde_json::json!({ "sql": INSERT, "params": [TEXT] }).to_string();
    let load = async |address: &str| {
        Load::open(Request {
            address,
            method: "POST",
            path: &format!("/messages/{DATABASE}/execute"),
            token: Some(&server.token),
            body: body.clone().into(),
            answer: Answer::Begins("{\"changed\":1,"),
        })
        .await
    };
    let plain = Player::start(&["sqlite"]).await?;
    let (ours, behind_http) = (load(&server.address).await?, load(&plain.said).await?);
    let folder = tempfile::tempdir()?;
    let direct = Direct::open(&folder.path().join("direct.sqlite"))?;
    let contenders = [
        Contender::new("ours", async || {
            let before = rows(&server).await?;
            let done = ours.run(rounds.block).await?;
            let written = rows(&server).await? - before;
            ensure!(written == done.answers, "{} writes were answered, but the table has {written} rows", done.answers);
            Ok(done.rate)
        }),
        Contender::new("sqlite", async || {
            let before = rows_behind_http(&plain.said).await?;
            let done = behind_http.run(rounds.block).await?;
            let written = rows_behind_http(&plain.said).await? - before;
            ensure!(written == done.answers, "{} writes were answered, but the table has {written} rows", done.answers);
            Ok(done.rate)
        }),
        Contender::new("floor", async || direct.block(rounds.block).await),
    ];
    rounds.compare("database/write", "writes/s", &contenders).await
}

/// The number of rows in our table.
async fn rows(server: &Server) -> Result<u64> {
    let answer = server.send(DATABASE, "query", &serde_json::json!({ "sql": COUNT }).to_string()).await?;
    let answer: Value = serde_json::from_str(&answer).with_context(|| format!("not JSON: {answer}"))?;
    answer.pointer("/rows/0/n").and_then(Value::as_u64).context("the count is not a number")
}

/// The number of rows in the table of the plain server.
async fn rows_behind_http(address: &str) -> Result<u64> {
    let (_, body) = get(&format!("http://{address}/")).await?;
    Ok(serde_json::from_slice(&body)?)
}

/// Serves SQLite behind plain HTTP forever. Prints its address first. Answers a GET with the number of rows.
pub(crate) async fn serve() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let direct = Arc::new(Direct::open(&folder.path().join("direct.sqlite"))?);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let direct = Arc::clone(&direct);
        let service = service_fn(move |request| answer(Arc::clone(&direct), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(direct: Arc<Direct>, request: hyper::Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let answer = async {
        if request.method() == Method::GET {
            return Ok(json!(direct.rows().await?));
        }
        let body: Value = serde_json::from_slice(&request.into_body().collect().await?.to_bytes())?;
        let text = body.pointer("/params/0").and_then(Value::as_str).context("the first parameter is not a text")?;
        anyhow::Ok(json!({ "changed": 1, "last_id": direct.insert(text.to_owned()).await? }))
    };
    let answered = answer.await;
    let mut response = Response::new(Full::default());
    match answered {
        Ok(value) => *response.body_mut() = Full::from(value.to_string()),
        Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    Ok(response)
}

/// SQLite on its own thread, as durable as ours.
struct Direct {
    to_writer: mpsc::Sender<ToWriter>,
}

enum ToWriter {
    /// Inserts a text. The channel gets its id when the text is on the disk.
    Insert(String, oneshot::Sender<i64>),
    /// Asks for the number of rows.
    Count(oneshot::Sender<u64>),
}

impl Direct {
    fn open(file: &Path) -> Result<Self> {
        let connection = Connection::open(file)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch("CREATE TABLE entries (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT")?;
        let (to_writer, inbox) = mpsc::channel();
        thread::spawn(move || {
            // The end of its channel reports the failure to a waiting caller.
            if let Err(error) = write(connection, &inbox) {
                eprintln!("SQLite: {error:#}");
            }
        });
        Ok(Self { to_writer })
    }

    /// Runs as many clients as the server has connections, each with one write at a time. Returns the writes per second.
    async fn block(&self, length: Duration) -> Result<f64> {
        let before = self.rows().await?;
        let start = Instant::now();
        let local = LocalSet::new();
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let direct = Self { to_writer: self.to_writer.clone() };
                local.spawn_local(async move {
                    let mut writes = 0_u64;
                    while start.elapsed() < length {
                        direct.insert(TEXT.to_owned()).await?;
                        writes += 1;
                    }
                    anyhow::Ok(writes)
                })
            })
            .collect();
        let writes = local.run_until(async {
            let mut writes = 0;
            for client in clients {
                writes += client.await??;
            }
            anyhow::Ok(writes)
        });
        let writes = writes.await?;
        let rate = writes as f64 / start.elapsed().as_secs_f64();
        let written = self.rows().await? - before;
        ensure!(written == writes, "{writes} writes were answered, but the table has {written} rows");
        Ok(rate)
    }

    /// Inserts a text. Returns its id when it is on the disk.
    async fn insert(&self, text: String) -> Result<i64> {
        let (done, written) = oneshot::channel();
        self.to_writer.send(ToWriter::Insert(text, done))?;
        Ok(written.await?)
    }

    async fn rows(&self) -> Result<u64> {
        let (count, counted) = oneshot::channel();
        self.to_writer.send(ToWriter::Count(count))?;
        Ok(counted.await?)
    }
}

/// Writes all waiting texts in one transaction.
fn write(mut connection: Connection, inbox: &mpsc::Receiver<ToWriter>) -> Result<()> {
    while let Ok(first) = inbox.recv() {
        let mut written = Vec::new();
        let transaction = connection.transaction()?;
        for next in std::iter::once(first).chain(inbox.try_iter()) {
            match next {
                ToWriter::Insert(text, done) => {
                    transaction.prepare_cached(INSERT)?.execute([text])?;
                    written.push((done, transaction.last_insert_rowid()));
                }
                ToWriter::Count(count) => {
                    let rows: u32 = transaction.query_row(COUNT, [], |row| row.get(0))?;
                    let _ = count.send(rows.into());
                }
            }
        }
        transaction.commit()?;
        for (done, id) in written {
            // Fails only if the receiver no longer waits.
            let _ = done.send(id);
        }
    }
    Ok(())
}
