//! Format 1 to 2: revocations no longer depend on the clock.
//!
//! In format 1, `principals.json` contained for each principal the time until which its tokens were revoked. In format
//! 2, tokens contain a generation, and a revocation names one. The times still apply to tokens of format 1.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::disk;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[derive(Default)]
struct V1 {
    tokens_in_use: bool,
    grants: BTreeMap<String, Vec<String>>,
    revoked_tokens: BTreeMap<String, u64>,
    revoked_until: BTreeMap<String, u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct V2 {
    tokens_in_use: bool,
    grants: BTreeMap<String, Vec<String>>,
    generation: u64,
    revoked_tokens: BTreeMap<String, u64>,
    revoked_before: BTreeMap<String, u64>,
}

pub(super) fn run(data: &Path) -> Result<(), String> {
    let file = data.join("principals.json");
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let Some(bytes) = disk::read(&file).map_err(|error| told(&error))? else { return Ok(()) };
    // This step wrote it before it was killed.
    let is_v2 = serde_json::from_slice::<serde_json::Value>(&bytes).is_ok_and(|json| json.get("generation").is_some());
    if is_v2 {
        return Ok(());
    }
    let V1 { tokens_in_use, grants, revoked_tokens, revoked_until } =
        serde_json::from_slice(&bytes).map_err(|error| told(&error))?;
    let v2 = V2 { tokens_in_use, grants, generation: 1, revoked_tokens, revoked_before: revoked_until };
    let bytes = serde_json::to_vec_pretty(&v2).map_err(|error| told(&error))?;
    disk::write(&file, &bytes).map_err(|error| told(&error))
}
