//! `GET /backup`: all data of the server as a tar file, written while it is sent.

use std::{
    io::{self, Write},
    sync::Arc,
};

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use starlane_protocol::Failure;
use tokio::sync::mpsc;

use super::Call;
use crate::{auth, backup::write, time::unix_seconds};

/// The size of a sent part, in bytes.
const PART: usize = 256 * 1024;
/// The maximum number of parts that wait for a slow client.
const AHEAD: usize = 4;

/// Sends a backup. Requires the permission for everything, because a backup contains the server's secrets.
pub(super) async fn send(call: Call<'_>) -> Result<Response, Failure> {
    let site = call.site;
    let principal = call.principal()?;
    let name = principal.name().to_owned();
    if !auth::may_everything(&principal) {
        let denied = Err(Failure::no_grant("a backup contains all secrets; it requires the grant \"admin ~*::**\""));
        site.audit.note(&name, "backup", "", &denied);
        return denied;
    }
    let audit = site.audit.clone();
    let (parts, mut sent) = mpsc::channel::<io::Result<Bytes>>(AHEAD);
    let (data, kept) = (site.data.clone(), Arc::clone(&site.kept));
    tokio::task::spawn_blocking(move || {
        let mut out = Parts { parts: parts.clone(), gathered: Vec::with_capacity(PART) };
        let written = write(&data, &kept, &mut out, unix_seconds()).and_then(|()| out.flush());
        let outcome = written.as_ref().map_err(|error| Failure::internal(error.to_string()));
        audit.note(&name, "backup", "", &outcome);
        if let Err(error) = written {
            tracing::error!(%error, "a backup failed");
            // The connection breaks, so that the client does not take the part for a complete backup.
            let _ = parts.blocking_send(Err(error));
        }
    });
    let body = Body::from_stream(stream::poll_fn(move |context| sent.poll_recv(context)));
    Ok(([(header::CONTENT_TYPE, "application/x-tar")], body).into_response())
}

/// Writes into a body that is being sent.
struct Parts {
    parts: mpsc::Sender<io::Result<Bytes>>,
    gathered: Vec<u8>,
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= PART {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let part = std::mem::take(&mut self.gathered);
        let sent = part.is_empty() || self.parts.blocking_send(Ok(part.into())).is_ok();
        if sent {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client no longer reads the backup"))
        }
    }
}
