//! Bodies of requests and answers that pass through as they come, without being kept.

use std::{io, sync::Arc, time::Duration};

use axum::body::{Body, Bytes};
use futures_util::stream;
use http_body_util::BodyExt;
use starlane_protocol::Failure;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{Site, bodies::rate};
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

async fn copy(
    site: &Site,
    mut body: Body,
    sender: &mpsc::Sender<Result<Option<Bytes>, Failure>>,
) -> Result<(), Failure> {
    let limiter = &site.limiter;
    let patience = limiter.time(Limit::BodyTime);
    // How long the client was waited for, and what came in that time. The time without credit is not the client's.
    let (mut waited, mut came) = (Duration::ZERO, 0);
    loop {
        // Without a reader, the rest is not read.
        let Ok(room) = sender.reserve().await else { return Ok(()) };
        let begin = Instant::now();
        let frame = match timeout(patience, body.frame()).await {
            Ok(None) => {
                room.send(Ok(None));
                return Ok(());
            }
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return Err(Failure::malformed(format!("the body is incomplete: {error}"))),
            Err(_) => return Err(limiter.refuse(Limit::BodyTime, "no more bytes of the body arrived")),
        };
        waited += begin.elapsed();
        let Ok(part) = frame.into_data() else { continue };
        came += part.len() as u64;
        if waited > patience && came < rate(limiter, waited) {
            let seconds = waited.as_secs();
            return Err(
                limiter.refuse(Limit::MinimumRate, format!("only {came} bytes of the body arrived in {seconds} s"))
            );
        }
        if !part.is_empty() {
            room.send(Ok(Some(part)));
        }
    }
}

/// The body of an answer. A failure of the stream ends the connection, so that a client cannot take it for complete.
pub(super) fn body(parts: Parts) -> Body {
    Body::from_stream(stream::unfold(parts, |mut parts| async move {
        let part = match parts.recv().await {
            Some(Ok(part)) => Ok(part?),
            Some(Err(failure)) => Err(io::Error::other(failure.to_string())),
            None => Err(io::Error::other("the stream was interrupted")),
        };
        Some((part, parts))
    }))
}
