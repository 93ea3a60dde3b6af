//! Writes to a database over HTTP, beside SQLite itself with one commit for all that wait together.

use std::{path::Path, sync::mpsc, thread};

use anyhow::{Context, Result, ensure};
use rusqlite::Connection;
use serde_json::Value;
use tokio::{
    sync::oneshot,
    task::LocalSet,
    time::{Duration, Instant},
};

use crate::{
    load::{Answer, CONNECTIONS, Load, Request},
    path,
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
    let load = Load::open(Request {
        address: &server.address,
        method: "POST",
        path: &format!("/messages/{DATABASE}/execute"),
        token: Some(&server.token),
        body: body.into(),
        answer: Answer::Begins("{\"changed\":1,"),
    })
    .await?;
    let folder = tempfile::tempdir()?;
    let direct = Direct::open(&folder.path().join("direct.sqlite"))?;
    let contenders = [
        Contender::new("ours", async || {
            let before = rows(&server).await?;
            let done = load.run(rounds.block).await?;
            let written = rows(&server).await? - before;
            ensure!(written == done.answers, "{} writes were answered and {written} rows are there", done.answers);
            Ok(done.rate)
        }),
        Contender::new("sqlite", async || direct.block(rounds.block).await),
    ];
    rounds.compare("database/write", "writes/s", &contenders).await
}

/// How many rows our table has.
async fn rows(server: &Server) -> Result<u64> {
    let answer = server.send(DATABASE, "query", &serde_json::json!({ "sql": COUNT }).to_string()).await?;
    let answer: Value = serde_json::from_str(&answer).with_context(|| format!("not JSON: {answer}"))?;
    answer.pointer("/rows/0/n").and_then(Value::as_u64).context("the count is not a number")
}

/// SQLite on a thread of its own, as durable as ours.
struct Direct {
    to_writer: mpsc::Sender<ToWriter>,
}

enum ToWriter {
    /// A text to insert, and who waits until it is on the disk.
    Insert(String, oneshot::Sender<()>),
    /// Who wants to know how many rows there are.
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
            // Whoever waits is told by the end of its channel.
            if let Err(error) = write(connection, &inbox) {
                eprintln!("SQLite: {error:#}");
            }
        });
        Ok(Self { to_writer })
    }

    /// As many clients as the server has connections, each with one write at a time; gives how many were written a second.
    async fn block(&self, length: Duration) -> Result<f64> {
        let before = self.rows().await?;
        let start = Instant::now();
        let local = LocalSet::new();
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let to_writer = self.to_writer.clone();
                local.spawn_local(async move {
                    let mut writes = 0_u64;
                    while start.elapsed() < length {
                        let (done, written) = oneshot::channel();
                        to_writer.send(ToWriter::Insert(TEXT.to_owned(), done))?;
                        written.await?;
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
        ensure!(written == writes, "{writes} writes were answered and {written} rows are there");
        Ok(rate)
    }

    async fn rows(&self) -> Result<u64> {
        let (count, counted) = oneshot::channel();
        self.to_writer.send(ToWriter::Count(count))?;
        Ok(counted.await?)
    }
}

/// Writes what waits together in one transaction.
fn write(mut connection: Connection, inbox: &mpsc::Receiver<ToWriter>) -> Result<()> {
    while let Ok(first) = inbox.recv() {
        let mut written = Vec::new();
        let transaction = connection.transaction()?;
        for next in std::iter::once(first).chain(inbox.try_iter()) {
            match next {
                ToWriter::Insert(text, done) => {
                    transaction.prepare_cached(INSERT)?.execute([text])?;
                    written.push(done);
                }
                ToWriter::Count(count) => {
                    let rows: u32 = transaction.query_row(COUNT, [], |row| row.get(0))?;
                    let _ = count.send(rows.into());
                }
            }
        }
        transaction.commit()?;
        for done in written {
            // Who no longer waits does not mind.
            let _ = done.send(());
        }
    }
    Ok(())
}
