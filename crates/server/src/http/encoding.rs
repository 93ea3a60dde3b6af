//! The content coding of an answer: compressed if the client accepts that, with a matching tag.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use axum::{
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
    response::Response,
};
use tower_http::compression::{
    Compression,
    predicate::{DefaultPredicate, Predicate},
};
use tower_service::Service;

use super::{
    cors::vary,
    file::{set, tags},
};

/// Marks an answer that its author has encoded, so that its tag is that of the encoded bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct EncodedByAuthor;

/// Marks an answer whose parts leave as they come, so that it is not compressed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streamed;

/// Compresses an answer if that is useful and the client accepts it. A compressed answer gets a weak tag (RFC 9110, 8.8.3.3),
/// and every answer with a tag says that its coding depends on the request.
pub(super) async fn encode(asked: &HeaderMap, response: Response) -> Response {
    let mut response = compress(asked, response).await;
    let Some(tag) = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned) else {
        return response;
    };
    let encoded = match response.status() {
        // A client that has the encoded bytes gets their tag.
        StatusCode::NOT_MODIFIED => {
            let names = |tag: &str| tags(asked.get_all(header::IF_NONE_MATCH).iter()).any(|known| known == tag);
            takes_gzip(asked) && !names(&tag) && names(&format!("W/{tag}"))
        }
        _ => {
            response.headers().contains_key(header::CONTENT_ENCODING)
                && response.extensions().get::<EncodedByAuthor>().is_none()
        }
    };
    if encoded && !tag.starts_with("W/") {
        set(&mut response, header::ETAG, &format!("W/{tag}"));
    }
    vary(response.headers_mut(), header::ACCEPT_ENCODING);
    response
}

async fn compress(asked: &HeaderMap, mut response: Response) -> Response {
    if response.extensions().get::<Streamed>().is_some() {
        return response;
    }
    if !asked.contains_key(header::ACCEPT_ENCODING) {
        let headers = response.headers();
        let may_be = !headers.contains_key(header::CONTENT_ENCODING) && !headers.contains_key(header::CONTENT_RANGE);
        if may_be && DefaultPredicate::new().should_compress(&response) {
            vary(response.headers_mut(), header::ACCEPT_ENCODING);
        }
        return response;
    }
    let mut request = Request::new(());
    for value in asked.get_all(header::ACCEPT_ENCODING) {
        request.headers_mut().append(header::ACCEPT_ENCODING, value.clone());
    }
    let Ok(response) = Compression::new(Answered(response)).call(request).await;
    response.map(Body::new)
}

/// A service that already has its answer.
struct Answered(Response);

impl Service<Request<()>> for Answered {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(std::mem::take(&mut self.0)))
    }
}

/// Whether a request accepts the coding of compressed answers.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip") || name == "*");
        named && !parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)))
    })
}
