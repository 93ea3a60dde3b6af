//! Fetches bundles over HTTP, with `fetch`.

use std::{pin::pin, rc::Rc};

use bytes::Bytes;
use futures_util::future::{Either, LocalBoxFuture, select};
use js_sys::{Promise, Uint8Array};
use starlane_bundle::{Digest, MAX_MANIFEST, SIGNATURE_HEADER, Signature, SignedManifest};
use starlane_host::{
    TokenProvider,
    ports::{Source, SourceError},
};
use starlane_protocol::Address;
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, Headers, ReadableStreamDefaultReader, RequestCache, RequestInit, Response};

use crate::{object::get, time::wait};

/// The time limit for the next bytes of a server.
const STALL_TIMEOUT_MS: u64 = 30_000;

#[wasm_bindgen]
extern "C" {
    /// The global function of pages and workers.
    #[wasm_bindgen(catch)]
    fn fetch(url: &str, init: &RequestInit) -> Result<Promise, JsValue>;
}

/// The repository of a server.
#[derive(Clone)]
pub struct HttpSource {
    server: String,
    token: TokenProvider,
}

impl HttpSource {
    /// The repository of the server at an origin such as `https://mesh.example`. `token` is called for files that are not public.
    pub fn new(server: &str, token: TokenProvider) -> Self {
        Self { server: server.trim_end_matches('/').to_owned(), token }
    }
}

impl Source for HttpSource {
    fn manifest(&self, bundle: &Address) -> LocalBoxFuture<'static, Result<SignedManifest, SourceError>> {
        let what = bundle.to_string();
        let url = [&self.server, "/bundles/", &String::from(js_sys::encode_uri(&what))].concat();
        let token = Rc::clone(&self.token);
        Box::pin(async move {
            let fetched = Fetched::get(what, url, token).await?;
            let signature = fetched.response.headers().get(SIGNATURE_HEADER).ok().flatten();
            let signature = signature.ok_or_else(|| {
                fetched.unusable(format!(
                    "the response has no header `{SIGNATURE_HEADER}` (a server of another origin must expose it)"
                ))
            })?;
            let signature = Signature::parse(&signature).map_err(|error| fetched.unusable(error.to_string()))?;
            Ok(SignedManifest { bytes: fetched.body(MAX_MANIFEST as u64).await?, signature })
        })
    }

    fn blob(&self, digest: &Digest, size: u64) -> LocalBoxFuture<'static, Result<Bytes, SourceError>> {
        let name = digest.to_string();
        let url = [&self.server, "/blobs/sha256/", &name].concat();
        let token = Rc::clone(&self.token);
        Box::pin(async move {
            let fetched = Fetched::get(["blob ", &name].concat(), url, token).await?;
            fetched.body(size).await.map(Bytes::from)
        })
    }
}

/// A response whose body has not been read. Dropping it ends the transfer.
struct Fetched {
    what: String,
    url: String,
    response: Response,
    _transfer: Transfer,
}

/// Dropping it ends the transfer.
struct Transfer(AbortController);

impl Drop for Transfer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Fetched {
    /// Requests it without a token first: a public file needs none, and without one there is no preflight across origins.
    async fn get(what: String, url: String, token: TokenProvider) -> Result<Self, SourceError> {
        match Self::ask(what.clone(), url.clone(), None).await {
            Err(SourceError::Refused { status: 401 | 403, .. }) => {
                let token = token().await.map_err(|reason| SourceError::Unusable { what: what.clone(), reason })?;
                Self::ask(what, url, token).await
            }
            answered => answered,
        }
    }

    async fn ask(what: String, url: String, token: Option<String>) -> Result<Self, SourceError> {
        let offline = |_| SourceError::Offline { what: what.clone(), url: url.clone() };
        let transfer = Transfer(AbortController::new().map_err(offline)?);
        let init = RequestInit::new();
        // The store caches verified files. A damaged file must not come back from the browser's own cache, which would keep an
        // immutable response forever.
        init.set_cache(RequestCache::NoStore);
        init.set_signal(Some(&transfer.0.signal()));
        if let Some(token) = token {
            let headers = Headers::new().map_err(offline)?;
            headers.set("authorization", &["Bearer ", &token].concat()).map_err(offline)?;
            init.set_headers(&headers);
        }
        let answer = settled(fetch(&url, &init).map_err(offline)?).await.map_err(offline)?;
        let response: Response = answer.unchecked_into();
        if !response.ok() {
            return Err(SourceError::Refused { what, url, status: response.status() });
        }
        Ok(Self { what, url, response, _transfer: transfer })
    }

    fn unusable(&self, reason: String) -> SourceError {
        SourceError::Unusable { what: self.what.clone(), reason }
    }

    /// Reads the body. Stops the transfer if it is longer than `size` bytes.
    async fn body(&self, size: u64) -> Result<Vec<u8>, SourceError> {
        let Some(stream) = self.response.body() else { return Ok(Vec::new()) };
        let reader: ReadableStreamDefaultReader = stream.get_reader().unchecked_into();
        let mut body = Vec::new();
        loop {
            let piece = settled(reader.read()).await;
            let piece = piece.map_err(|_| SourceError::Offline { what: self.what.clone(), url: self.url.clone() })?;
            let value = get(&piece, "value");
            let Some(piece) = value.dyn_ref::<Uint8Array>() else { return Ok(body) };
            let before = body.len();
            let length = piece.length() as usize;
            if (before + length) as u64 > size {
                return Err(self.unusable(format!("it is longer than {size} bytes")));
            }
            body.resize(before + length, 0);
            if let Some(room) = body.get_mut(before..) {
                piece.copy_to(room);
            }
        }
    }
}

/// Waits for a promise. Fails if the server sends nothing within [`STALL_TIMEOUT_MS`].
async fn settled(promise: Promise) -> Result<JsValue, JsValue> {
    match select(JsFuture::from(promise), pin!(wait(STALL_TIMEOUT_MS))).await {
        Either::Left((settled, _)) => settled,
        Either::Right(_) => Err(JsValue::NULL),
    }
}
