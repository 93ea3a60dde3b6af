//! A request and the handler of its route: one of the server's own, or one of an app.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

use axum::{
    body::{Body, HttpBody},
    http::{Method, request},
    response::Response,
};
use futures_util::future::BoxFuture;
use percent_encoding::percent_decode;
use starlane_bundle::route::server_path;
use starlane_host::Principal;
use starlane_protocol::{Address, Failure};

use super::{BUILT_IN, HANDLERS, Site, bodies::Held, body_stream, client::Client, serve_route};
use crate::{handle::Parts, limits::Limit};

/// A body of at most this length is read before its message is sent, in bytes.
const MAX_SHORT_BODY: u64 = 64 * 1024;

/// The handler of a route.
pub(super) type Handler = for<'a> fn(Call<'a>) -> BoxFuture<'a, Result<Response, Failure>>;

/// A request that the guard has admitted.
pub(super) struct Call<'a> {
    pub(super) site: &'a Arc<Site>,
    pub(super) client: &'a Client,
    pub(super) parts: &'a mut request::Parts,
    pub(super) body: Body,
    /// The decoded captures of the route's path, in their order.
    captured: Vec<String>,
}

impl<'a> Call<'a> {
    pub(super) fn new(site: &'a Arc<Site>, client: &'a Client, parts: &'a mut request::Parts, body: Body) -> Self {
        Self { site, client, parts, body, captured: Vec::new() }
    }

    /// The sender. Errors with 401.
    pub(super) fn principal(&self) -> Result<Principal, Failure> {
        self.client.principal(self.site, &self.parts.headers)
    }

    /// The captures of the route's path, one text for each name.
    pub(super) fn captured<const N: usize>(&mut self) -> Result<[String; N], Failure> {
        let captured = std::mem::take(&mut self.captured);
        captured.try_into().map_err(|_| Failure::internal("the route captures a different number of segments"))
    }

    /// Reads the body for a permitted caller. Errors as [`Bodies::read`](super::Bodies::read).
    pub(super) async fn read(&mut self, limit: Limit) -> Result<Held, Failure> {
        let body = std::mem::replace(&mut self.body, Body::empty());
        self.site.bodies.read(self.client.account(), limit, body).await
    }

    /// Reads the body for a permitted caller, or begins to: a long body of an operation that takes a stream is one.
    pub(super) async fn read_or_stream(
        &mut self,
        limit: Limit,
        to: &Address,
        operation: &str,
    ) -> Result<(Held, Option<Parts>), Failure> {
        let is_short = self.body.size_hint().exact().is_some_and(|length| length <= MAX_SHORT_BODY);
        if is_short || !self.site.handle.takes_stream(to, operation).await? {
            return Ok((self.read(limit).await?, None));
        }
        let body = std::mem::replace(&mut self.body, Body::empty());
        Ok((Held::nothing(), Some(body_stream::read(self.site, body))))
    }

    /// Answers it with its route.
    pub(super) async fn answer(mut self) -> Result<Response, Failure> {
        match self.handler()? {
            Some(handler) => handler(self).await,
            None => serve_route::serve(self).await,
        }
    }

    /// The handler of the server's own route for it, if there is one. Errors with 400 if its path is not UTF-8.
    fn handler(&mut self) -> Result<Option<Handler>, Failure> {
        let Ok(found) = OWN.at(self.parts.uri.path()) else { return Ok(None) };
        let Some(handler) = found.value.get(method_of(&self.parts.method)) else { return Ok(None) };
        self.captured = found.params.iter().map(|(_, text)| decoded(text)).collect::<Result<_, _>>()?;
        Ok(Some(*handler))
    }
}

/// The server's own routes, by path and then by method.
static OWN: LazyLock<matchit::Router<BTreeMap<&'static str, Handler>>> = LazyLock::new(|| {
    let mut paths: BTreeMap<&str, BTreeMap<&str, Handler>> = BTreeMap::new();
    for ((method, path), handler) in BUILT_IN.iter().zip(HANDLERS) {
        paths.entry(path).or_default().insert(method, *handler);
    }
    let mut router = matchit::Router::new();
    for (path, handlers) in paths {
        // A test checks that none is refused.
        let _ = router.insert(path, handlers);
    }
    router
});

/// The method whose route takes a request: GET routes also take HEAD (RFC 9110, 9.3.2). The HTTP library then sends no body.
pub(super) fn method_of(method: &Method) -> &str {
    if *method == Method::HEAD { "GET" } else { method.as_str() }
}

/// The methods that the path of a request accepts, in alphabetical order; empty if no route matches.
pub(super) fn methods(site: &Site, asked: &request::Parts) -> Vec<String> {
    let path = asked.uri.path();
    let mut methods: BTreeSet<String> = match OWN.at(path) {
        Ok(found) => found.value.keys().map(|method| (*method).to_owned()).collect(),
        // Apps do not answer below the server's own paths.
        Err(_) if server_path(path).is_some() => BTreeSet::new(),
        Err(_) => site.routes.methods(site.allowed.host(asked), path),
    };
    if methods.contains("GET") {
        methods.insert("HEAD".to_owned());
    }
    methods.into_iter().collect()
}

/// A part of a path. Errors with 400 if it is not UTF-8.
pub(super) fn decoded(text: &str) -> Result<String, Failure> {
    let decoded = percent_decode(text.as_bytes()).decode_utf8();
    let message = || format!("`{text}` in the path is not UTF-8 when its percent encoding is decoded");
    decoded.map(|text| text.into_owned()).map_err(|_| Failure::malformed(message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_of_the_server_is_found_by_its_method_and_path() {
        assert_eq!(BUILT_IN.len(), HANDLERS.len());
        for ((method, path), handler) in BUILT_IN.iter().zip(HANDLERS) {
            let found = OWN.at(path).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(std::ptr::fn_addr_eq(found.value[method], *handler), "{method} {path}");
        }
    }
}
