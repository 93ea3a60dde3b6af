//! Serves the files of a bundle by message, at the bundle's address: `read`, `list`, `stat`. Pages and servers use the
//! same code.

use std::rc::Rc;

use litemap::LiteMap;
use serde::{Deserialize, Serialize};
use starlane_bundle::{Digest, FileEntry, json};
use starlane_protocol::{Failure, Message, Outcome, Payload};

use crate::{
    handler::{self, Handler},
    host::Host,
};

/// The files of a bundle, by path.
type Files = LiteMap<String, FileEntry>;

/// The operations of a bundle.
pub(crate) const OPERATIONS: [&str; 3] = ["read", "list", "stat"];

/// The request of `read` and `stat`: a path, which may be in the address instead, and for `read` a range of bytes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    path: Option<String>,
    from: u64,
    length: Option<u64>,
}

pub(crate) fn handler(host: &Host, files: Rc<Files>) -> Rc<dyn Handler> {
    let host = Rc::downgrade(&host.0);
    handler::handler(move |incoming| {
        let (host, files) = (host.upgrade().map(Host), Rc::clone(&files));
        async move {
            let to = incoming.to.clone();
            let host = host.ok_or_else(|| Failure::not_running("the host was closed"))?;
            let may_read = host.0.apps.borrow().may_read.clone();
            may_read.map_or(Ok(()), |may_read| may_read(&incoming.caller, &to.without_path().without_host()))?;
            answer(&host, &files, incoming).await.map_err(|failure| failure.at(&to))
        }
    })
}

async fn answer(host: &Host, all: &Files, incoming: Message) -> Outcome {
    if incoming.operation == "list" {
        let files = all.iter().map(|(path, file)| Described::of(path, file)).collect();
        return json_payload(&Listed { files });
    }
    let wanted: Wanted = match &*incoming.payload.body {
        b"" | b"null" => Wanted::default(),
        body => json::from_slice(body).map_err(|error| {
            Failure::malformed(format!("`{}` takes {{\"path\": \"/…\"}}: {error}", incoming.operation))
        })?,
    };
    let path = wanted.path.as_deref().or(incoming.to.path());
    let path =
        path.ok_or_else(|| Failure::malformed("the path of the file is missing; expected {\"path\": \"/…\"}"))?;
    let Some(file) = all.get(path) else {
        return Err(Failure::not_found(format!("the bundle has no file {path}")));
    };
    if incoming.operation == "stat" {
        return json_payload(&Described::of(path, file));
    }
    let bytes = host.blob(&file.sha256, file.size).await.map_err(|error| Failure::not_running(error.to_string()))?;
    let from = usize::try_from(wanted.from).unwrap_or(usize::MAX).min(bytes.len());
    let length = wanted.length.map_or(usize::MAX, |length| usize::try_from(length).unwrap_or(usize::MAX));
    let to = from.saturating_add(length).min(bytes.len());
    Ok(Payload::new(&file.media_type, bytes.slice(from..to)))
}

/// The reply of `list`.
#[derive(Serialize)]
struct Listed<'a> {
    files: Vec<Described<'a>>,
}

/// The reply of `stat`. It is not a `serde_json::Value`, which would include the code for writing floating point
/// numbers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described<'a> {
    path: &'a str,
    size: u64,
    media_type: &'a str,
    sha256: Digest,
}

impl<'a> Described<'a> {
    fn of(path: &'a str, file: &'a FileEntry) -> Self {
        Self { path, size: file.size, media_type: &file.media_type, sha256: file.sha256 }
    }
}

fn json_payload(value: &impl Serialize) -> Outcome {
    serde_json::to_string(value).map(Payload::json).map_err(|error| Failure::internal(error.to_string()))
}
