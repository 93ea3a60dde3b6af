//! Launching apps.

use std::rc::Rc;

use js_sys::Function;
use starlane_bundle::PublicKey;
use starlane_host::{Host, LaunchOptions, Progress};
use starlane_protocol::Address;
use wasm_bindgen::JsValue;

use crate::values::{failed, make_launched};

/// Parses the keys of the trusted publishers.
pub(crate) fn publishers(trust: &[String]) -> Result<Vec<PublicKey>, JsValue> {
    let parse = |text: &String| PublicKey::parse(text).map_err(|e| failed(400, "malformed", &e.to_string(), None));
    trust.iter().map(parse).collect()
}

/// Launches an app. `on_progress` is called with the bytes loaded so far and the bytes of all required modules.
pub(crate) async fn launch(
    host: Host,
    app: Address,
    inline: bool,
    trust: Vec<PublicKey>,
    on_progress: Option<Function>,
) -> Result<JsValue, JsValue> {
    let on_progress = on_progress.map(|function| {
        Rc::new(move |progress: Progress| {
            // The TypeScript side has already reported an error of the page's function.
            let _ = function.call2(
                &JsValue::UNDEFINED,
                &JsValue::from_f64(progress.loaded as f64),
                &JsValue::from_f64(progress.total as f64),
            );
        }) as Rc<dyn Fn(Progress)>
    });
    let launched = host.launch(&app, LaunchOptions { trust, inline, on_progress }).await;
    match launched {
        Ok(launched) => Ok(make_launched(launched.app.as_str(), launched.revision as f64, launched.bundle.as_str())),
        Err(error) => Err(failed(error.status(), error.code(), &error.to_string(), Some(app.as_str()))),
    }
}
