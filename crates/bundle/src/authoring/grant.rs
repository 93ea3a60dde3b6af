//! `allow`: what a mechtron may do. Here only what can be known before the app has an address: the form, and that what it
//! names of its own app is there.

use starlane_protocol::{Address, Topic};
use toml::Spanned;

use super::{
    AuthoringError, Draft,
    app::{Target, target},
    resolve::ANY_APP,
    source::Source,
};
use crate::AppConfig;

const HINT: &str = "such as \"request .:db query\" or \"subscribe .:directory#changes\"";

pub(super) fn check(
    source: &Source,
    grant: &Spanned<String>,
    app: &AppConfig,
    draft: &Draft,
) -> Result<(), AuthoringError> {
    let fault = |text: String, hint: &str| Err(source.error(grant.span(), text, hint));
    let mut words = grant.get_ref().split_whitespace();
    let (verb, pattern) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let operations: Vec<&str> = words.collect();
    if !["request", "notify", "subscribe", "serve"].contains(&verb) {
        let text = format!("unknown verb `{verb}`; expected one of `request`, `notify`, `subscribe`, `serve`");
        return fault(text, HINT);
    }
    if !operations.is_empty() && matches!(verb, "subscribe" | "serve") {
        let text = format!("`{verb}` takes no operations; expected nothing behind {pattern}");
        return fault(text, HINT);
    }
    if let Err(error) = check_pattern(verb, pattern) {
        return fault(error, HINT);
    }
    for operation in &operations {
        if let Err(error) = Address::parse(ANY_APP).and_then(|app| Topic::new(app, operation)) {
            return fault(format!("`{operation}` is no operation; expected {}", error.expected), HINT);
        }
    }

    let Some(own) = pattern.strip_prefix(".:") else { return Ok(()) };
    let (own, event) = own.split_once('#').map_or((own, None), |(own, event)| (own, Some(event)));
    let (own, _path) = own.split_once(":/").unwrap_or((own, ""));
    let (first, rest) = own.split_once(':').map_or((own, None), |(first, rest)| (first, Some(rest)));
    // `profile:**` is below `profile` and `profile` itself; what `*` may be is not known.
    if first.contains('*') {
        return Ok(());
    }
    match target(app, draft, first, rest.is_some()) {
        Err(text) => fault(text, "addresses of the app are named as in [mechtrons] and [resources]"),
        Ok(Target::Resource) => Ok(()),
        Ok(Target::Mechtron(name, bind)) => {
            if let Some(event) = event.filter(|event| !bind.events.contains_key(*event)) {
                return fault(format!("the bind of `{name}` has no event `{event}`"), "add it to the bind");
            }
            match operations.iter().find(|operation| !bind.operations.contains_key(**operation)) {
                Some(operation) => {
                    fault(format!("the bind of `{name}` has no operation `{operation}`"), "add it to the bind")
                }
                None => Ok(()),
            }
        }
    }
}

/// A pattern is an address in which a segment may be `*`, and the last `**`; to subscribe, with an event.
fn check_pattern(verb: &str, pattern: &str) -> Result<(), String> {
    let bare = pattern.strip_prefix("~*::").unwrap_or(pattern);
    let (address, event) = bare.split_once('#').map_or((bare, None), |(address, event)| (address, Some(event)));
    if (verb == "subscribe") != event.is_some() {
        let expected = if event.is_some() { "an address without `#`" } else { "an address, `#` and an event" };
        return Err(format!("`{pattern}` is nothing to {verb}; expected {expected}"));
    }
    let parts: Vec<&str> = address.split(':').collect();
    let plain: Vec<&str> = parts
        .iter()
        .enumerate()
        .map(|(at, part)| match *part {
            "*" => "x",
            "**" if at + 1 == parts.len() => "x",
            part => part,
        })
        .collect();
    let resolved = Address::parse(ANY_APP).and_then(|app| {
        let address = Address::resolve(&plain.join(":"), &app)?;
        event.map_or(Ok(()), |event| Topic::new(address, event).map(drop))
    });
    resolved.map_err(|error| format!("`{pattern}` is no address; expected {}", error.expected))
}
