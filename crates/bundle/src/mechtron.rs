//! Mechtron configs: which Wasm file, which bind, which limits, which settings.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A mechtron of a bundle, resolved: paths are those of the bundle's files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MechtronConfig {
    /// The Wasm file: `/wasm/profile.wasm`.
    pub wasm: String,
    /// Which mechtron of the module.
    pub name: String,
    /// The bind: `/binds/profile.toml`.
    pub bind: String,
    /// When its state is saved.
    #[serde(default, skip_serializing_if = "Durability::is_default")]
    pub state: Durability,
    /// What bounds it.
    #[serde(default)]
    pub limits: Limits,
    /// Reach the guest as JSON.
    #[serde(default)]
    pub settings: Value,
}

/// When the state of a mechtron's actors is saved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cfg_attr(feature = "authoring", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[cbor(index_only)]
pub enum Durability {
    /// Within a second of a change, and before an actor sleeps or is replaced: a crash loses at most the last second.
    #[default]
    #[n(0)]
    Idle,
    /// Before each reply: what was answered is never lost. Such an actor handles one message at a time.
    #[n(1)]
    Each,
}

impl Durability {
    /// Manifests leave the default out, so that hosts which know no other can read them.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What bounds a mechtron.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Limits {
    /// The most memory, in bytes.
    pub memory: u64,
    /// The most compute time of one call, in milliseconds.
    pub call_ms: u32,
    /// Unfinished messages at a time.
    pub concurrency: u32,
    /// Messages that may wait.
    pub mailbox: u32,
    /// When a crashing actor is given up.
    pub restart: Restart,
}

/// More than `intensity` crashes within `within_ms` quarantine an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Restart {
    /// How many crashes are borne.
    pub intensity: u32,
    /// In this time, in milliseconds.
    pub within_ms: u64,
}

impl Limits {
    /// Each limit, or what it is at most.
    #[must_use]
    pub fn at_most(self, most: &Self) -> Self {
        let restart = Restart {
            intensity: self.restart.intensity.min(most.restart.intensity),
            within_ms: self.restart.within_ms.min(most.restart.within_ms),
        };
        Self {
            memory: self.memory.min(most.memory),
            call_ms: self.call_ms.min(most.call_ms),
            concurrency: self.concurrency.min(most.concurrency),
            mailbox: self.mailbox.min(most.mailbox),
            restart,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let restart = Restart::default();
        Self { memory: 16 * 1024 * 1024, call_ms: 250, concurrency: 1, mailbox: 1024, restart }
    }
}

impl Default for Restart {
    fn default() -> Self {
        Self { intensity: 3, within_ms: 10_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_durability_is_not_written() {
        let text = r#"{ "wasm": "/a", "name": "a", "bind": "/b", "state": "each" }"#;
        let mut config: MechtronConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.state, Durability::Each);
        assert!(serde_json::to_string(&config).unwrap().contains(r#""state":"each""#));
        config.state = Durability::Idle;
        let written = serde_json::to_string(&config).unwrap();
        assert!(!written.contains("state"), "{written}");
        assert_eq!(serde_json::from_str::<MechtronConfig>(&written).unwrap(), config);
        assert!(serde_json::from_str::<MechtronConfig>(&text.replace("each", "never")).is_err());
    }

    #[test]
    fn a_config_without_limits_has_the_documented_ones() {
        let config: MechtronConfig = serde_json::from_str(r#"{ "wasm": "/a", "name": "a", "bind": "/b" }"#).unwrap();
        let restart = Restart { intensity: 3, within_ms: 10_000 };
        let limits = Limits { memory: 16_777_216, call_ms: 250, concurrency: 1, mailbox: 1024, restart };
        assert_eq!(config.limits, limits);
        let half = r#"{ "wasm": "/a", "name": "a", "bind": "/b", "limits": { "mailbox": 8 } }"#;
        let config: MechtronConfig = serde_json::from_str(half).unwrap();
        assert_eq!(config.limits, Limits { mailbox: 8, ..limits });
        assert!(serde_json::from_str::<MechtronConfig>(&half.replace("mailbox", "memori")).is_err());
    }
}
