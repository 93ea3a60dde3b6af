//! Mechtron configs: the Wasm file, the bind, the limits and the settings.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A mechtron of a bundle, with all references resolved: paths are paths in the bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MechtronConfig {
    /// The Wasm file: `/wasm/profile.wasm`.
    pub wasm: String,
    /// The name of the mechtron in the module.
    pub name: String,
    /// The bind: `/binds/profile.toml`.
    pub bind: String,
    /// When its state is saved.
    #[serde(default, skip_serializing_if = "Durability::is_default")]
    pub state: Durability,
    /// Its limits.
    #[serde(default)]
    pub limits: MechtronLimits,
    /// Its settings. The guest gets them as JSON.
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
    /// Before each reply: an answered message is never lost. Such an actor handles one message at a time.
    #[n(1)]
    Each,
}

impl Durability {
    /// A manifest leaves the default out, so that older hosts, which know only the default, can read it.
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The limits of a mechtron.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct MechtronLimits {
    /// The maximum memory, in bytes.
    pub memory: u64,
    /// The maximum compute time of one call, in milliseconds.
    pub call_ms: u32,
    /// The maximum number of unfinished messages.
    pub concurrency: u32,
    /// The maximum number of waiting messages.
    pub mailbox: u32,
    /// When a crashing actor is not restarted any more.
    pub restart: Restart,
}

/// An actor with more than `intensity` crashes within `within_ms` is quarantined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Restart {
    /// The maximum number of crashes.
    pub intensity: u32,
    /// The time in which crashes are counted, in milliseconds.
    pub within_ms: u64,
}

impl MechtronLimits {
    /// Lowers each limit to at most the limit in `max`.
    #[must_use]
    pub fn at_most(self, max: &Self) -> Self {
        let restart = Restart {
            intensity: self.restart.intensity.min(max.restart.intensity),
            within_ms: self.restart.within_ms.min(max.restart.within_ms),
        };
        Self {
            memory: self.memory.min(max.memory),
            call_ms: self.call_ms.min(max.call_ms),
            concurrency: self.concurrency.min(max.concurrency),
            mailbox: self.mailbox.min(max.mailbox),
            restart,
        }
    }
}

impl Default for MechtronLimits {
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
    fn a_config_without_limits_has_the_documented_defaults() {
        let config: MechtronConfig = serde_json::from_str(r#"{ "wasm": "/a", "name": "a", "bind": "/b" }"#).unwrap();
        let restart = Restart { intensity: 3, within_ms: 10_000 };
        let limits = MechtronLimits { memory: 16_777_216, call_ms: 250, concurrency: 1, mailbox: 1024, restart };
        assert_eq!(config.limits, limits);
        let half = r#"{ "wasm": "/a", "name": "a", "bind": "/b", "limits": { "mailbox": 8 } }"#;
        let config: MechtronConfig = serde_json::from_str(half).unwrap();
        assert_eq!(config.limits, MechtronLimits { mailbox: 8, ..limits });
        assert!(serde_json::from_str::<MechtronConfig>(&half.replace("mailbox", "memori")).is_err());
    }
}
