//! Checks lines of `allow`, the grants of a mechtron. The app has no address yet, so this checks only the form of a
//! line, and references to the app itself.

use starlane_protocol::{Address, Grant, OWN_SPACE, Verb};

use super::{ANY_APP, Names, Rule, RuleFault, Target, quoted};

const HINT: &str = "such as \"request .:db query\" or \"subscribe .:directory#changes\"";

/// Checks a line of `allow`.
pub(crate) fn check(line: &str, names: &Names<'_>) -> Result<(), RuleFault> {
    let fault = |text: String, hint: &'static str| Err(RuleFault::new(Rule::Grant, text, hint));
    let any_app = Address::parse(ANY_APP).ok();
    let parsed = match Grant::parse(line, any_app.as_ref()) {
        Ok(parsed) => parsed,
        Err(error) => return fault(quoted(&error.to_string()), HINT),
    };
    if !matches!(parsed.verb(), Verb::Request | Verb::Notify | Verb::Subscribe | Verb::Serve) {
        let text = format!(
            "a mechtron cannot have a grant to `{}`; expected request, notify, subscribe or serve",
            parsed.verb().word()
        );
        return fault(text, HINT);
    }
    let mut words = line.split_ascii_whitespace().skip(1);
    let pattern = words.next().unwrap_or_default();
    let pattern = pattern.strip_prefix("~*::").unwrap_or(pattern);
    let operations: Vec<&str> = words.collect();

    let Some(own) = pattern.strip_prefix(".:") else {
        let space = pattern.split([':', '#']).next().unwrap_or_default();
        if space == OWN_SPACE {
            let text = format!("the space `{OWN_SPACE}` is closed to mechtrons: it belongs to the server");
            return fault(text, "remove the line; only pages and commands can send requests there");
        }
        return Ok(());
    };
    let (own, event) = own.split_once('#').map_or((own, None), |(own, event)| (own, Some(event)));
    let (own, _path) = own.split_once(":/").unwrap_or((own, ""));
    let (first, rest) = own.split_once(':').map_or((own, None), |(first, rest)| (first, Some(rest)));
    // `profile:**` matches `profile` and everything in it. A name with `*` cannot be looked up.
    if first.contains('*') {
        return Ok(());
    }
    match names.find(first, rest.is_some()) {
        Err(text) => fault(text, "use a name of [mechtrons] or [resources]"),
        Ok(Target::Resource(_)) => Ok(()),
        Ok(Target::Mechtron(name, bind, _)) => {
            if let Some(event) = event.filter(|event| *event != "*" && !bind.events.contains_key(*event)) {
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
