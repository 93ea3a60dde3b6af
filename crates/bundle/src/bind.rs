//! Binds: the contract of a resource.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The operations and events of a resource, and what each carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bind {
    /// Its name.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// What may be asked, by name.
    #[serde(default)]
    pub operations: BTreeMap<String, Operation>,
    /// What it emits, by name.
    #[serde(default)]
    pub events: BTreeMap<String, Body>,
}

/// An operation: a request, and unless it is one-way a response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Operation {
    /// What it takes.
    #[serde(default)]
    pub request: Body,
    /// What it answers; without, it is one-way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Body>,
}

/// What a message carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Body {
    /// A media type; `*/*` is anything.
    #[serde(default = "anything")]
    pub content_type: String,
    /// The JSON Schema of the body: a file of the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
}

fn anything() -> String {
    "*/*".to_owned()
}

impl Default for Body {
    fn default() -> Self {
        Self { content_type: anything(), schema: None }
    }
}

impl Operation {
    /// Whether it answers nothing.
    pub fn is_one_way(&self) -> bool {
        self.response.is_none()
    }
}

impl Body {
    /// Whether a payload of this content type fits: the media type, parameters aside, in any case.
    pub fn accepts(&self, content_type: &str) -> bool {
        let given = content_type.split(';').next().unwrap_or_default().trim();
        self.content_type == "*/*" || self.content_type.eq_ignore_ascii_case(given)
    }
}
