//! Converts payloads and failures to plain JavaScript objects and back.

use js_sys::{Reflect, Uint8Array};
use starlane_host::{Host, Incoming};
use starlane_protocol::{Address, AddressError, Failure, FailureOrigin, Payload};
use wasm_bindgen::prelude::*;

use crate::{
    stream::{RawReader, RawSource, write_from},
    tickets::Tickets,
};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** `stream` is of a received payload, `source` of one to send. Each takes the place of the body. */
export interface RawPayload {
  contentType: string; headers: string[]; body: Uint8Array; stream?: RawReader | undefined; source?: RawSource | undefined
}
/** `answer` is true if it is the answer of the resource itself, and false if a host on the way failed the request. */
export interface RawFailure {
  status: number; code: string; message: string; address: string | undefined; sent: boolean | undefined; answer: boolean
}
export interface RawItem { from?: string; payload?: RawPayload; lagged?: number; gap?: true }
export interface RawIncoming {
  operation: string; payload: RawPayload; from: string; caller: string; signal: AbortSignal
}
export interface RawLaunched { app: string; revision: number; bundle: string }
"#;

#[wasm_bindgen]
extern "C" {
    /// A payload in JavaScript: `{ contentType, headers, body }`. `headers` has names and values in turn.
    #[wasm_bindgen(typescript_type = "RawPayload")]
    pub type RawPayload;
    #[wasm_bindgen(method, structural, getter, catch, js_name = contentType)]
    fn content_type(this: &RawPayload) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, structural, getter, catch)]
    fn headers(this: &RawPayload) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, structural, getter, catch)]
    fn body(this: &RawPayload) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, structural, getter, catch)]
    fn source(this: &RawPayload) -> Result<Option<RawSource>, JsValue>;
}

#[wasm_bindgen(module = "/js/values.js")]
extern "C" {
    #[wasm_bindgen(js_name = payload)]
    fn make_payload(
        content_type: &str,
        headers: Vec<String>,
        body: Uint8Array,
        stream: Option<RawReader>,
    ) -> RawPayload;
    #[wasm_bindgen(js_name = failure)]
    fn make_failure(
        status: u16,
        code: &str,
        message: &str,
        address: Option<&str>,
        sent: Option<bool>,
        is_answer: bool,
    ) -> JsValue;
    #[wasm_bindgen(js_name = event)]
    pub(crate) fn make_event(from: &str, payload: &RawPayload) -> JsValue;
    #[wasm_bindgen(js_name = lagged)]
    pub(crate) fn make_lagged(count: f64) -> JsValue;
    #[wasm_bindgen(js_name = gap)]
    pub(crate) fn make_gap() -> JsValue;
    #[wasm_bindgen(js_name = incoming)]
    pub(crate) fn make_incoming(
        operation: &str,
        payload: &RawPayload,
        from: &str,
        caller: &str,
        signal: &web_sys::AbortSignal,
    ) -> JsValue;
    #[wasm_bindgen(js_name = launched)]
    pub(crate) fn make_launched(app: &str, revision: f64, bundle: &str) -> JsValue;
}

/// Converts a payload, and the stream that takes the place of its body, to JavaScript.
pub(crate) fn to_js(payload: &Payload, stream: Option<Incoming>) -> RawPayload {
    let headers = payload.headers.iter().flat_map(|(name, value)| [name.clone(), value.clone()]).collect();
    let body = Uint8Array::new_from_slice(&payload.body);
    make_payload(&payload.content_type, headers, body, stream.map(RawReader::new))
}

/// Converts a payload from JavaScript.
pub(crate) fn from_js(payload: &RawPayload) -> Result<Payload, Failure> {
    let refuse = |what: &str| Failure::malformed(format!("a payload's {what}"));
    let content_type = payload.content_type().ok().and_then(|value| value.as_string());
    let content_type = content_type.ok_or_else(|| refuse("contentType must be a string"))?;
    let body = payload.body().ok().and_then(|value| value.dyn_into::<Uint8Array>().ok());
    let body = body.ok_or_else(|| refuse("body must be a Uint8Array"))?;
    let mut headers = Vec::new();
    if let Ok(list) = payload.headers().unwrap_or_default().dyn_into::<js_sys::Array>() {
        let mut words = list.iter().map(|word| word.as_string().ok_or_else(|| refuse("headers must be strings")));
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            headers.push((name?, value?));
        }
    }
    Ok(Payload { content_type, headers, body: body.to_vec().into(), stream: None })
}

/// Converts a payload from JavaScript. Opens its stream, if it has a source.
pub(crate) fn from_js_with_source(payload: &RawPayload, host: &Host, tickets: &Tickets) -> Result<Payload, Failure> {
    let converted = from_js(payload)?;
    let source = payload.source().ok().flatten();
    Ok(Payload { stream: source.map(|source| write_from(source, host, tickets)), ..converted })
}

/// Converts a failure to JavaScript.
pub(crate) fn failure_to_js(failure: &Failure) -> JsValue {
    let Failure { status, code, message, address, sent, origin } = failure;
    let address = address.as_ref().map(Address::as_str);
    make_failure(*status, code, message, address, *sent, *origin == FailureOrigin::Resource)
}

/// Makes a failure for JavaScript.
pub(crate) fn failed(status: u16, code: &str, message: &str, address: Option<&str>) -> JsValue {
    make_failure(status, code, message, address, None, false)
}

/// Converts the reason of a rejected promise to a failure: `{ status, code, message }`, or an error of any kind.
pub(crate) fn failure_from_js(error: &JsValue) -> Failure {
    let member = |name: &str| Reflect::get(error, &JsValue::from_str(name)).unwrap_or_default();
    let text = |name: &str| member(name).as_string();
    let message = text("message").or_else(|| error.as_string()).unwrap_or_else(|| "the handler failed".to_owned());
    // Other statuses do not mean a failure.
    let status = member("status").as_f64().filter(|status| (400.0..600.0).contains(status));
    match (status, text("code")) {
        (Some(status), Some(code)) if is_word(&code) => Failure::new(status as u16, &code, message),
        _ => Failure::internal(message),
    }
}

/// Whether a text can be a code: codes are short words, not prose.
fn is_word(code: &str) -> bool {
    !code.is_empty()
        && code.len() <= 64
        && code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Parses an address.
pub(crate) fn address(text: &str) -> Result<Address, JsValue> {
    Address::parse(text).map_err(|error| malformed(&error))
}

/// The failure for a text that is not an address or topic.
pub(crate) fn malformed(error: &AddressError) -> JsValue {
    failure_to_js(&Failure::malformed(error.to_string()))
}
