//! Reads `[resources.NAME]` of `app.toml`: the kind, the placement, and the settings of the kind.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::{Map, Value};
use toml::Spanned;

use super::{
    AuthoringError, Draft,
    folder::bundle_folder,
    resolve::{check_segment, json as as_json},
    source::{Source, suggestion},
};
use crate::{AppResource, Placement, ResourceKind, settings};

/// A resource as it is in the file.
pub(super) struct ResourceTable {
    kind: Spanned<ResourceKind>,
    placement: Option<Spanned<Placement>>,
    settings: BTreeMap<Spanned<String>, Spanned<toml::Value>>,
}

impl<'de> Deserialize<'de> for ResourceTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = ResourceTable;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<ResourceTable, A::Error> {
                let (mut kind, mut placement, mut settings) = (None, None, BTreeMap::new());
                while let Some(key) = access.next_key::<Spanned<String>>()? {
                    match key.get_ref().as_str() {
                        "kind" => kind = Some(access.next_value()?),
                        "placement" => placement = Some(access.next_value()?),
                        _ => drop(settings.insert(key, access.next_value()?)),
                    }
                }
                Ok(ResourceTable { kind: kind.ok_or_else(|| A::Error::missing_field("kind"))?, placement, settings })
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// Reads a resource.
pub(super) fn read(
    source: &Source,
    name: &Spanned<String>,
    table: ResourceTable,
    draft: &Draft,
) -> Result<AppResource, AuthoringError> {
    check_segment(source, name, name.get_ref(), "a name such as `db`")?;
    let kind = *table.kind.get_ref();
    let placement = table.placement.as_ref().map(|placement| *placement.get_ref()).unwrap_or_default();
    if let Some(written) = &table.placement {
        settings::check_placement(kind, placement).map_err(|fault| fault.at(source, written.span()))?;
    }
    let folders = settings::folders(kind);
    let mut resource = AppResource { kind, placement, settings: Map::new() };
    for (name, value) in &table.settings {
        let written = as_json(value.get_ref()).ok_or_else(|| {
            let text = format!("`{}` is `inf` or `nan`; expected a value that JSON has", name.get_ref());
            source.error(value.span(), text, "use a finite number")
        })?;
        let resolved = match written {
            Value::String(folder) if folders.contains(name.get_ref()) => bundle_folder(&folder).into(),
            other => other,
        };
        resource.settings.insert(name.get_ref().clone(), resolved);
    }
    let has_files = |folder: &str| draft.files.keys().any(|file| file.starts_with(folder));
    settings::check(&resource, has_files).map_err(|fault| {
        let place = fault.at.as_ref().and_then(|(setting, is_name)| {
            let (key, value) = table.settings.iter().find(|(key, _)| key.get_ref() == setting)?;
            Some((if *is_name { key.span() } else { value.span() }, setting.as_str()))
        });
        let (span, setting) = place.unwrap_or((table.kind.span(), ""));
        let expected = fault.text.split_once("; expected ").map(|(_, expected)| expected);
        let hint = expected.and_then(|expected| suggestion(setting, Some(expected)));
        source.error(span, fault.text, &hint.unwrap_or(fault.hint))
    })?;
    Ok(resource)
}
