//! Bodies of requests and answers that pass through as they come, without being kept.

use std::{io, sync::Arc};

use axum::body::{Body, Bytes};
use futures_util::stream;
use http_body_util::BodyExt;
use starlane_protocol::Failure;
use tokio::{sync::mpsc, time::timeout};

use super::Site;
use crate::{
    handle::{PARTS, Parts},
    limits::Limit,
};

/// Reads the body of a request as a stream. The client has the usual time for each of its parts; while the stream has no credit,
/// nothing is read.
pub(super) fn read(site: &Arc<Site>, body: Body) -> Parts {
    let (sender, parts) = mpsc::channel(PARTS);
    let site = Arc::clone(site);
    tokio::spawn(async move {
        if let Err(failure) = copy(&site, body, &sender).await {
            let _ = sender.send(Err(failure)).await;
        }
    });
    parts
}

async fn copy(site: &Site, mut body: Body, sender: &mpsc::Sender<Result<Bytes, Failure>>) -> Result<(), Failure> {
    let limiter = &site.limiter;
    loop {
        // Without a reader, the rest is not read.
        let Ok(room) = sender.reserve().await else { return Ok(()) };
        let frame = match timeout(limiter.time(Limit::BodyTime), body.frame()).await {
            Ok(None) => return Ok(()),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return Err(Failure::malformed(format!("the body is incomplete: {error}"))),
            Err(_) => return Err(limiter.refuse(Limit::BodyTime, "no more bytes of the body arrived")),
        };
        if let Ok(part) = frame.into_data()
            && !part.is_empty()
        {
            room.send(Ok(part));
        }
    }
}

/// The body of an answer. A failure of the stream ends the connection, so that a client cannot take it for complete.
pub(super) fn body(parts: Parts) -> Body {
    Body::from_stream(stream::unfold(parts, |mut parts| async move {
        let part = parts.recv().await?;
        Some((part.map_err(|failure| io::Error::other(failure.to_string())), parts))
    }))
}
