//! Describes thrown JavaScript values in one line, for people.

use wasm_bindgen::JsValue;

use crate::object::get;

/// The message of an error, or the text of anything else.
pub(crate) fn text(thrown: &JsValue) -> String {
    let message = thrown.as_string().or_else(|| get(thrown, "message").as_string());
    let message = message.filter(|text| !text.is_empty()).or_else(|| name(thrown));
    message.unwrap_or_else(|| "the browser gave no reason".to_owned())
}

/// The name of an error: `QuotaExceededError`.
pub(crate) fn name(thrown: &JsValue) -> Option<String> {
    get(thrown, "name").as_string()
}
