//! Answering by a route of an app: a file of its bundle, or a resource.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    response::{IntoResponse, Response},
};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use starlane_bundle::{Access, json};
use starlane_host::{Origin, Principal};
use starlane_protocol::{Address, Failure, Payload, key::key};

use super::{
    MESSAGE_BODY, Site, answer,
    file::{self, Caching, set, with_charset},
    headers::into_answer,
    messages::{bearer, payload},
    routes::{Found, Target},
};
use crate::handle::Ask;

/// What a mechtron returns is hostile data: it is shown, and runs nothing, unless the mechtron gives a policy of its own.
pub(super) const MECHTRON_POLICY: &str = "sandbox; default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'";

/// Whatever no fixed route answers.
pub(super) async fn serve(State(site): State<Arc<Site>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let method = if parts.method == Method::HEAD { Method::GET } else { parts.method.clone() };
    let Some(found) = site.routes.find(host(&parts.headers), method.as_str(), parts.uri.path()) else {
        return answer::failure_for(&parts.headers, &nothing_here(&site, &parts.method, parts.uri.path()));
    };
    let answered = match &*found.target {
        Target::File(file) => file::send(&site, file, &parts.headers, Caching::Ask).await,
        Target::Files { folder, files } => {
            let below = found.captures.first().map(|(_, value)| decoded(value)).unwrap_or_default();
            match files.get(&format!("{folder}{below}")) {
                Some(file) => file::send(&site, file, &parts.headers, file::caching(&below)).await,
                None => Err(Failure::not_found(format!("there is no file {}", parts.uri.path()))),
            }
        }
        Target::Resource { .. } => {
            let body = axum::body::to_bytes(body, MESSAGE_BODY).await;
            let query = parts.uri.query().unwrap_or_default();
            match body {
                Ok(body) => ask(&site, &found, &parts.method, query, &parts.headers, body).await,
                Err(error) => Err(Failure::too_large(error.to_string())),
            }
        }
    };
    answered.unwrap_or_else(|failure| answer::failure_for(&parts.headers, &failure))
}

/// The name that the request is for; the guard has let it in.
fn host(headers: &HeaderMap) -> &str {
    headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn nothing_here(site: &Site, method: &Method, path: &str) -> Failure {
    if site.routes.is_empty() {
        return Failure::not_found(
            "Starlane runs, and nothing is routed yet. Publish a bundle and create an app: \
             `starlane publish DIR ADDRESS`, then `starlane app create APP --bundle ADDRESS`.",
        );
    }
    Failure::not_found(format!("no app has a route for {method} {path}"))
}

/// Sends the request that a route makes, and turns its reply into the answer.
async fn ask(
    site: &Site,
    found: &Found,
    method: &Method,
    query: &str,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let Target::Resource { app, to, operation, access } = &*found.target else {
        return Err(Failure::internal("the route has no resource"));
    };
    let safe = [Method::GET, Method::HEAD].contains(method);
    let caller = match access {
        Some(Access::Public) => Principal::named(&format!("http:{app}")),
        None if safe => Principal::named(&format!("http:{app}")),
        _ => match site.auth.principal(bearer(headers)?)? {
            nobody if nobody.name().is_empty() => return Err(Failure::auth_refused("this route needs a bearer token")),
            caller => caller,
        },
    };
    let captures: Vec<(String, String)> =
        found.captures.iter().map(|(name, value)| (name.clone(), decoded(value))).collect();
    let mut address = to.clone();
    for (name, value) in &captures {
        let segment = key(value).map_err(|error| Failure::malformed(error.to_string()))?;
        address = address.replace(&format!("{{{name}}}"), &segment);
    }
    let to = Address::resolve(&address, app).map_err(|error| Failure::malformed(error.to_string()))?;
    let payload = parameters(payload(headers, body), query, captures)?;
    let from = app.child("http").map_err(|error| Failure::internal(error.to_string()))?;
    let origin = Origin { address: from, caller };
    let reply =
        site.handle.request(Ask { from: origin, to, operation: operation.clone(), payload, by_route: true }).await?;
    page(reply)
}

/// A JSON request from body fields, then query, then path; any other body as it is, with the parameters as headers.
fn parameters(mut payload: Payload, query: &str, captures: Vec<(String, String)>) -> Result<Payload, Failure> {
    let pairs = form_urlencoded::parse(query.as_bytes()).map(|(name, value)| (name.into_owned(), value.into_owned()));
    let given = pairs.chain(captures);
    let is_form = payload.media_type() == "application/x-www-form-urlencoded";
    if !payload.body.is_empty() && !is_form && payload.media_type() != "application/json" {
        payload.headers.extend(given.map(|(name, value)| (format!("starlane-param-{}", name.to_lowercase()), value)));
        return Ok(payload);
    }
    let mut given = given.peekable();
    if !payload.body.is_empty() && !is_form && given.peek().is_none() {
        return Ok(payload);
    }
    let mut fields: Map<String, Value> = match payload.body.is_empty() {
        true => Map::new(),
        false if is_form => form_urlencoded::parse(&payload.body)
            .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
            .collect(),
        // As strictly as where it is checked: an object that has a name twice would pass with one of them.
        false => match json::value(&payload.body) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Err(Failure::malformed("the body is no JSON object, to which parameters could be added")),
            Err(error) => return Err(Failure::malformed(format!("the body is no JSON object: {error}"))),
        },
    };
    fields.extend(given.map(|(name, value)| (name, Value::String(value))));
    payload.body = Value::Object(fields).to_string().into();
    payload.content_type = "application/json".to_owned();
    Ok(payload)
}

/// What a resource returned, as an answer.
fn page(reply: Payload) -> Result<Response, Failure> {
    let mut response = Body::from(reply.body).into_response();
    set(&mut response, header::CONTENT_TYPE, &with_charset(&reply.content_type));
    set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    *response.status_mut() = into_answer(&reply.headers, response.headers_mut())?;
    // Whatever its type: SVG and XML run scripts too.
    let policy = response.headers_mut().entry(header::CONTENT_SECURITY_POLICY);
    policy.or_insert(HeaderValue::from_static(MECHTRON_POLICY));
    Ok(response)
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}
