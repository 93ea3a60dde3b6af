//! Answering by a route of an app: a file of its bundle, or a resource.

use axum::{
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    response::Response,
};
use percent_encoding::percent_decode;
use serde_json::{Map, Value};
use starlane_bundle::{Access, json, route};
use starlane_host::{Origin, Principal};
use starlane_protocol::{Address, Failure, Payload, key::key};

use super::{
    Call, Site,
    call::{decoded, method_of, methods},
    encoding::EncodedByAuthor,
    file::{self, Caching, set, with_charset},
    headers::{content_type, into_answer},
    messages::{body_of, payload},
    routes::{Found, Target},
};
use crate::{
    handle::{Answer, Ask},
    limits::Limit,
};

/// The policy for replies of mechtrons, which are untrusted data: a page is shown but runs no code, unless the
/// mechtron sends its own policy.
pub(super) const MECHTRON_POLICY: &str = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'";

/// The header with which browsers request the script of a service worker (Service Workers, W3C, 4.4).
const SERVICE_WORKER: &str = "service-worker";

/// Answers a request that none of the server's own routes takes.
pub(super) async fn serve(call: Call<'_>) -> Result<Response, Failure> {
    let (site, asked) = (call.site, &*call.parts);
    let (path, host) = (asked.uri.path(), site.allowed.host(asked));
    // Apps do not answer below the server's own paths, even if a route such as `/{*path}` matches.
    let found = site.routes.find(host, method_of(&asked.method), path).filter(|_| route::server_path(path).is_none());
    let Some(found) = found else { return Err(nothing_here(site, asked)) };
    // A service worker receives all requests of its origin, including those to other apps.
    if asked.headers.contains_key(SERVICE_WORKER) && site.routes.is_shared(host) {
        let message = "apps of several spaces use this host name, so a service worker is not allowed here: have the \
                       operator give the space a host name of its own (--space)";
        return Err(Failure::new(403, "shared-origin", message));
    }
    match &*found.target {
        Target::File(file) => file::send(site, file, asked, Caching::Ask).await,
        Target::Files { folder, files } => {
            // The folder's own capture is always the last.
            let below = found.captures.last().map_or(Ok(String::new()), |(_, value)| decoded(value))?;
            let file = files.get(&format!("{folder}{below}"));
            let file = file.ok_or_else(|| Failure::not_found(format!("file {path} does not exist")))?;
            file::send(site, file, asked, file::caching(&below)).await
        }
        Target::Resource { .. } => ask(call, &found).await,
    }
}

fn nothing_here(site: &Site, asked: &Parts) -> Failure {
    let (method, path) = (&asked.method, asked.uri.path());
    let others = methods(site, asked).join(", ");
    if !others.is_empty() {
        return Failure::new(
            405,
            "method-not-allowed",
            format!("{path} does not accept {method}; it accepts {others}"),
        );
    }
    if site.routes.is_empty() {
        return Failure::not_found(
            "Starlane is running, but no app has a route yet. Publish a bundle and create an app: \
             `starlane publish DIR ADDRESS`, then `starlane app create APP --bundle ADDRESS`.",
        );
    }
    Failure::not_found(format!("no app has a route for {} {path}", method_of(method)))
}

/// Sends a route's request, and turns the reply into an HTTP answer.
async fn ask(mut call: Call<'_>, found: &Found) -> Result<Response, Failure> {
    let Target::Resource { app, to, operation, access } = &*found.target else {
        return Err(Failure::internal("the route does not name a resource"));
    };
    let safe = [Method::GET, Method::HEAD].contains(&call.parts.method);
    // Each client has its own quota, so that one busy client does not delay others.
    let everybody = || {
        let name = format!("http:{app}");
        Principal::on_account(&name, &format!("{name} {}", call.client.account()))
    };
    let caller = match access {
        Some(Access::Public) => everybody(),
        None if safe => everybody(),
        _ => match call.principal()? {
            nobody if nobody.name().is_empty() => {
                return Err(Failure::auth_refused("this route requires a bearer token"));
            }
            caller => caller,
        },
    };
    let captures = found.captures.iter().map(|(name, value)| Ok((name.clone(), decoded(value)?)));
    let captures: Vec<(String, String)> = captures.collect::<Result<_, Failure>>()?;
    let mut address = to.clone();
    for (name, value) in &captures {
        let segment = key(value).map_err(|error| Failure::malformed(error.to_string()))?;
        address = address.replace(&format!("{{{name}}}"), &segment);
    }
    let to = Address::resolve(&address, app).map_err(|error| Failure::malformed(error.to_string()))?;
    let query = call.parts.uri.query().unwrap_or_default();
    let given: Vec<(String, String)> = fields(query.as_bytes(), "query")?.into_iter().chain(captures).collect();
    // Counted until the answer, because the node holds the same bytes.
    let (body, stream) = call.read_or_stream(Limit::MessageBody, &to, operation).await?;
    let payload = payload(&call.parts.headers, body.bytes.clone(), stream.is_some())?;
    // An operation that takes streams gets its parameters in the same place for every length of the body.
    let takes_stream = stream.is_some() || (!given.is_empty() && call.site.handle.takes_stream(&to, operation).await?);
    let payload = parameters(payload, takes_stream, given)?;
    let from = app.child("http").map_err(|error| Failure::internal(error.to_string()))?;
    let origin = Origin { address: from, caller };
    let ask = Ask { from: origin, to, operation: operation.clone(), payload, stream, by_route: true };
    page(call.site.handle.request(ask).await?)
}

/// Merges body fields, query and path into a JSON request, in this order. Any other body, and each of an operation that takes
/// streams, stays as it is, and the parameters become headers.
fn parameters(mut payload: Payload, takes_stream: bool, given: Vec<(String, String)>) -> Result<Payload, Failure> {
    let is_form = payload.media_type() == "application/x-www-form-urlencoded";
    let is_other = !payload.body.is_empty() && !is_form && payload.media_type() != "application/json";
    if is_other || takes_stream {
        payload
            .headers
            .extend(given.into_iter().map(|(name, value)| (format!("starlane-param-{}", name.to_lowercase()), value)));
        return Ok(payload);
    }
    if !payload.body.is_empty() && !is_form && given.is_empty() {
        return Ok(payload);
    }
    let mut fields: Map<String, Value> = match payload.body.is_empty() {
        true => Map::new(),
        false if is_form => {
            fields(&payload.body, "form")?.into_iter().map(|(name, value)| (name, Value::String(value))).collect()
        }
        // As strict as the later check: an object with a duplicate name would pass with only one of the values.
        false => match json::value(&payload.body) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => {
                return Err(Failure::malformed(
                    "the body is not a JSON object, so the parameters of the route cannot be added",
                ));
            }
            Err(error) => return Err(Failure::malformed(format!("the body is not a JSON object: {error}"))),
        },
    };
    fields.extend(given.into_iter().map(|(name, value)| (name, Value::String(value))));
    payload.body = Value::Object(fields).to_string().into();
    payload.content_type = "application/json".to_owned();
    Ok(payload)
}

/// A resource's reply as an HTTP answer.
fn page(answer: Answer) -> Result<Response, Failure> {
    let Answer { payload: reply, stream } = answer;
    let content_type = content_type(&with_charset(&reply.content_type))?;
    let has_body = !reply.body.is_empty() || stream.is_some();
    let mut response = body_of(reply.body, stream);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    let status = into_answer(&reply.headers, response.headers_mut())?;
    if has_body && matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED) {
        let message =
            format!("the reply has the status {} and a body; HTTP allows no body with this status", status.as_u16());
        return Err(Failure::guest_failed(message));
    }
    *response.status_mut() = status;
    if response.headers().contains_key(header::CONTENT_ENCODING) {
        response.extensions_mut().insert(EncodedByAuthor);
    }
    // For every content type: SVG and XML can run scripts too.
    let policy = response.headers_mut().entry(header::CONTENT_SECURITY_POLICY);
    policy.or_insert(HeaderValue::from_static(MECHTRON_POLICY));
    Ok(response)
}

/// The fields of a query or form. Errors with 400 if they are not UTF-8.
fn fields(text: &[u8], what: &str) -> Result<Vec<(String, String)>, Failure> {
    if percent_decode(text).decode_utf8().is_err() {
        return Err(Failure::malformed(format!("the {what} is not UTF-8 when its percent encoding is decoded")));
    }
    let pairs = form_urlencoded::parse(text);
    Ok(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
}
