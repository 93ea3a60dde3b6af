//! `GET /backup`: all that the server keeps, as a tar file that is made while it is sent.

use std::{
    io::{self, Write},
    sync::Arc,
};

use axum::{
    body::{Body, Bytes},
    extract::{Extension, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use starlane_protocol::Failure;
use tokio::sync::mpsc;

use super::{Site, answer, client::Client};
use crate::{auth, backup::write, time::unix_seconds};

/// How many bytes are gathered before they are sent.
const PART: usize = 256 * 1024;
/// How many such parts may wait for a slow reader.
const AHEAD: usize = 4;

/// Sends a backup to whoever may do everything: it holds the server's secrets.
pub(super) async fn send(
    State(site): State<Arc<Site>>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> Response {
    let allowed = || -> Result<String, Failure> {
        let principal = client.principal(&site, &headers)?;
        let denied = || Failure::no_grant("a backup holds all secrets: it needs \"admin ~*::**\"");
        let allowed = auth::may_everything(&principal).then(|| principal.name().to_owned()).ok_or_else(denied);
        if allowed.is_err() {
            site.audit.note(principal.name(), "backup", "", &allowed);
        }
        allowed
    };
    let name = match allowed() {
        Ok(name) => name,
        Err(failure) => return answer::failure(&failure),
    };
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
            // The connection breaks off: what came so far is not taken for a whole backup.
            let _ = parts.blocking_send(Err(error));
        }
    });
    let body = Body::from_stream(stream::poll_fn(move |context| sent.poll_recv(context)));
    ([(header::CONTENT_TYPE, "application/x-tar")], body).into_response()
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
        if sent { Ok(()) } else { Err(io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads it any more")) }
    }
}
