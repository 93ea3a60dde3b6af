//! `allow`: what a mechtron may do. Here only what can be known before the app has an address: the form, and that what it
//! names of its own app is there.

use starlane_protocol::{Address, Grant, Verb};
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
    let any_app = Address::parse(ANY_APP).ok();
    let parsed = match Grant::parse(grant.get_ref(), any_app.as_ref()) {
        Ok(parsed) => parsed,
        Err(error) => return fault(error.to_string(), HINT),
    };
    if !matches!(parsed.verb(), Verb::Request | Verb::Notify | Verb::Subscribe | Verb::Serve) {
        let text = format!("no mechtron may `{}`; expected request, notify, subscribe or serve", parsed.verb().word());
        return fault(text, HINT);
    }
    let mut words = grant.get_ref().split_ascii_whitespace().skip(1);
    let pattern = words.next().unwrap_or_default();
    let pattern = pattern.strip_prefix("~*::").unwrap_or(pattern);
    let operations: Vec<&str> = words.collect();

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
