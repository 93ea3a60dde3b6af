//! Settings of resources. The JSON Schemas in `builtin/settings` define the settings of each kind. This module also
//! checks where a resource is placed.
//!
//! An error quotes the text of `"x-expected"`. A setting with `"x-folder": true` is a folder of the bundle: authors
//! write it relative to `bundle.toml`; a manifest has it as a path in the bundle.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::{
    AppResource, Contents, Placement, ResourceKind, VerifyError, json,
    manifest::pointer,
    rules::{Rule, RuleFault, quoted},
    schema::{self, Bounds, Misfit, Validator},
};

/// Settings are small: these limits are enough for all valid ones.
const BOUNDS: Bounds = Bounds { steps: 100_000, steps_per_byte: 4, max_steps: 1_000_000, quoted: 120 };

/// An error in the settings of a resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
#[non_exhaustive]
pub struct SettingsFault {
    /// The setting, and whether the error is in its name (otherwise in its value). `None` if a setting is missing.
    pub at: Option<(String, bool)>,
    /// The error and the expectation.
    pub text: String,
    /// What to do.
    pub hint: String,
}

/// Returns the JSON Schema of a kind's settings, not in normal form.
pub fn schema_of(kind: ResourceKind) -> Value {
    let text = match kind {
        ResourceKind::Filesystem => include_str!("../builtin/settings/filesystem.json"),
        ResourceKind::Database => include_str!("../builtin/settings/database.json"),
        ResourceKind::Queue => include_str!("../builtin/settings/queue.json"),
        ResourceKind::Keyvalue => include_str!("../builtin/settings/keyvalue.json"),
        ResourceKind::Service => include_str!("../builtin/settings/service.json"),
    };
    // A test reads all of them, so the fallback is never used. `false` refuses every value.
    json::value(text.as_bytes()).unwrap_or(Value::Bool(false))
}

/// Returns the settings of a kind, by name.
pub(crate) fn properties(kind: ResourceKind) -> Map<String, Value> {
    match schema_of(kind).get_mut("properties").map(Value::take) {
        Some(Value::Object(properties)) => properties,
        _ => Map::new(),
    }
}

/// Returns the names of a kind's settings that are folders of the bundle.
pub(crate) fn folders(kind: ResourceKind) -> BTreeSet<String> {
    let is_folder = |setting: &Value| setting.get("x-folder") == Some(&Value::Bool(true));
    properties(kind).into_iter().filter(|(_, setting)| is_folder(setting)).map(|(name, _)| name).collect()
}

/// Checks the settings of a resource. `has_files` returns whether the bundle has files in a folder.
pub fn check(resource: &AppResource, has_files: impl Fn(&str) -> bool) -> Result<(), SettingsFault> {
    let AppResource { kind, settings, .. } = resource;
    let known = properties(*kind);
    if let Some(name) = settings.keys().find(|name| !known.contains_key(*name)) {
        return Err(unknown(*kind, &known, name));
    }
    let schema = schema_of(*kind);
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    if let Some(name) = required.into_iter().find(|name| !settings.contains_key(*name)) {
        let hint = example(&known, name).unwrap_or_else(|| format!("add it: {name} = …"));
        let text = format!("a resource of kind `{kind}` needs `{name}`");
        return Err(SettingsFault { at: None, text, hint });
    }
    fits(&schema, settings).map_err(|misfit| misplaced(&known, misfit))?;
    for name in folders(*kind) {
        let folder = settings.get(&name).and_then(Value::as_str).unwrap_or("/");
        if settings.contains_key(&name) && !has_files(folder) {
            let text = format!("the bundle has no files in {}", quoted(folder.trim_start_matches('/')));
            let hint = "add them to `include` in bundle.toml".to_owned();
            return Err(SettingsFault { at: Some((name, false)), text, hint });
        }
    }
    Ok(())
}

fn fits(schema: &Value, settings: &Map<String, Value>) -> Result<(), Misfit> {
    let broken = |reason: String| Misfit::At { pointer: String::new(), reason };
    let normal = schema::normal_form(schema).map_err(|error| broken(error.to_string()))?;
    let validator = Validator::new(&normal, BOUNDS).map_err(broken)?;
    let settings = Value::Object(settings.clone());
    validator.check(&settings, settings.to_string().len())
}

fn unknown(kind: ResourceKind, known: &Map<String, Value>, name: &str) -> SettingsFault {
    let others = ResourceKind::ALL.into_iter().filter(|other| properties(*other).contains_key(name));
    let others: Vec<String> = others.map(|other| format!("`{other}`")).collect();
    let own: Vec<String> = ["kind", "placement"]
        .into_iter()
        .chain(known.keys().map(String::as_str))
        .map(|name| format!("`{name}`"))
        .collect();
    let (text, hint) = match others.as_slice() {
        [] => (
            format!("unknown key `{}` of a resource of kind `{kind}`; expected {}", quoted(name), own.join(", ")),
            "remove it, or move it into the table that it belongs to".to_owned(),
        ),
        others => (
            format!("a resource of kind `{kind}` has no setting `{name}`; only {} has it", others.join(", ")),
            format!("remove it, or set the kind that has it: {}", others.join(", ")),
        ),
    };
    SettingsFault { at: Some((name.to_owned(), true)), text, hint }
}

/// The error for a value that does not match its schema.
fn misplaced(known: &Map<String, Value>, misfit: Misfit) -> SettingsFault {
    let (pointer, reason) = match misfit {
        Misfit::At { pointer, reason } => (pointer, reason),
        too_long => (String::new(), too_long.to_string()),
    };
    let name = pointer.split('/').nth(1).map(|token| token.replace("~1", "/").replace("~0", "~"));
    let hint = name.as_ref().and_then(|name| example(known, name));
    let setting = name.as_ref().and_then(|name| known.get(name));
    let expected = setting.and_then(|setting| setting.get("x-expected")).and_then(Value::as_str);
    let text = match &name {
        Some(name) => match expected {
            Some(expected) => format!("`{name}` is invalid; expected {expected}"),
            None => format!("`{name}` is invalid: {reason}"),
        },
        None => format!("the settings are invalid: {reason}"),
    };
    let hint = hint.unwrap_or_else(|| "see the description of the kind".to_owned());
    SettingsFault { at: name.map(|name| (name, false)), text, hint }
}

fn example(known: &Map<String, Value>, name: &str) -> Option<String> {
    let example = known.get(name)?.get("examples")?.get(0)?;
    Some(format!("such as {name} = {example}"))
}

/// Checks that a host can serve resources of a kind at a placement. Only servers have drivers today.
pub fn check_placement(kind: ResourceKind, placement: Placement) -> Result<(), RuleFault> {
    if placement == Placement::Server {
        return Ok(());
    }
    let word = placement.name();
    let text = format!("a resource of kind `{kind}` has `placement = \"{word}\"`; pages cannot serve resources yet");
    Err(RuleFault::new(Rule::Resource, text, "remove `placement`: the server serves it"))
}

/// Checks the settings and the placement of all resources of a manifest. [`Manifest::check`](crate::Manifest::check)
/// does not: it does not know their schemas.
pub fn check_all(contents: &Contents) -> Result<(), VerifyError> {
    for (name, resource) in contents.app.iter().flat_map(|app| &app.resources) {
        let placed = check_placement(resource.kind, resource.placement);
        placed.map_err(|fault| VerifyError::Refused { at: at(name, Some("placement")), fault })?;
    }
    check_settings(contents)
}

/// Checks the settings of all resources of a manifest.
pub fn check_settings(contents: &Contents) -> Result<(), VerifyError> {
    for (name, resource) in contents.app.iter().flat_map(|app| &app.resources) {
        check(resource, |folder| contents.has_files(folder)).map_err(|fault| {
            let place = at(name, fault.at.as_ref().map(|(setting, _)| setting.as_str()));
            let fault =
                RuleFault::new(Rule::Settings, fault.text, "correct it in app.toml, and publish the bundle again");
            VerifyError::Refused { at: place, fault }
        })?;
    }
    Ok(())
}

fn at(name: &str, setting: Option<&str>) -> String {
    pointer(&[&["app", "resources", name], setting.as_slice()].concat())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resource(value: Value) -> AppResource {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn every_kind_has_a_schema_that_describes_its_settings() {
        for kind in ResourceKind::ALL {
            assert!(schema_of(kind).is_object(), "{kind}");
            schema::normal_form(&schema_of(kind)).unwrap();
            for (name, setting) in properties(kind) {
                assert!(setting["description"].is_string() && setting["examples"][0].is_string(), "{kind}: {name}");
                assert!(!["kind", "placement"].contains(&name.as_str()), "{kind}: `{name}` is a key of every resource");
            }
        }
    }

    #[test]
    fn settings_must_match_the_schema_of_their_kind() {
        let has_files = |folder: &str| folder == "/migrations/";
        for fits in [
            json!({ "kind": "database" }),
            json!({ "kind": "database", "migrations": "/migrations/" }),
            json!({ "kind": "service", "url": "https://x" }),
            json!({ "kind": "queue", "placement": "browser" }),
        ] {
            assert_eq!(check(&resource(fits.clone()), has_files), Ok(()), "{fits}");
        }
        for (misfit, at, told) in [
            (json!({ "kind": "database", "migration": "/m/" }), Some(("migration", true)), "unknown key `migration`"),
            (json!({ "kind": "database", "url": "http://x" }), Some(("url", true)), "only `service` has it"),
            (
                json!({ "kind": "queue", "migrations": "/migrations/" }),
                Some(("migrations", true)),
                "only `database` has it",
            ),
            (
                json!({ "kind": "database", "migrations": 1 }),
                Some(("migrations", false)),
                "1 is not of type \"string\"",
            ),
            (json!({ "kind": "database", "migrations": null }), Some(("migrations", false)), "null is not of type"),
            (json!({ "kind": "database", "migrations": "/none/" }), Some(("migrations", false)), "no files in none/"),
            (json!({ "kind": "service" }), None, "needs `url`"),
            (json!({ "kind": "service", "url": "ftp://x" }), Some(("url", false)), "expected http:// or"),
            (json!({ "kind": "service", "url": "http://" }), Some(("url", false)), "expected http:// or"),
        ] {
            let fault = check(&resource(misfit.clone()), has_files).unwrap_err();
            assert_eq!(fault.at.as_ref().map(|(name, is_name)| (name.as_str(), *is_name)), at, "{misfit}: {fault:?}");
            assert!(fault.text.contains(told) && !fault.hint.is_empty(), "{misfit}: {fault:?}");
        }
    }

    #[test]
    fn placement_without_a_serving_host_is_refused() {
        for kind in ResourceKind::ALL {
            assert_eq!(check_placement(kind, Placement::Server), Ok(()));
            for placement in [Placement::Browser, Placement::Both] {
                let fault = check_placement(kind, placement).unwrap_err();
                assert!(fault.text.contains(kind.name()), "{}", fault.text);
            }
        }
    }
}
