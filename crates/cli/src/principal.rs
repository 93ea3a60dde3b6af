//! `starlane grant` and `starlane token`: requests to the resources `starlane:grants` and `starlane:tokens`.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    arguments::{Grant, Revoke, TokenCreate},
    client::Client,
    output::{Output, time},
};

#[derive(Deserialize)]
struct Listed {
    principals: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Held {
    principal: String,
    grants: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Made {
    id: String,
    subject: String,
    token: String,
    expires: u64,
}

#[derive(Deserialize)]
struct Revoked {
    /// The number of revoked tokens that the server knows.
    known: usize,
}

/// Gives grants, takes them away, or lists them.
pub(crate) fn grant(given: &Grant, client: &Client, output: Output) -> Result<()> {
    let (Some(principal), false) = (&given.principal, given.grants.is_empty() && !given.remove) else {
        return list(given.principal.as_deref(), client, output);
    };
    let operation = if given.remove { "remove" } else { "add" };
    let body = json!({ "principal": principal, "grants": given.grants });
    let held: Held = client.ask("starlane:grants", operation, &body)?;
    let about = if held.grants.is_empty() { "has no grants here" } else { "has these grants here" };
    let facts: Vec<(&str, String)> = held.grants.iter().map(|line| ("grant", line.clone())).collect();
    let json = json!({ "principal": held.principal, "grants": held.grants });
    output.done(&format!("{principal} {about}"), &facts, None, &json);
    Ok(())
}

fn list(of: Option<&str>, client: &Client, output: Output) -> Result<()> {
    let Listed { mut principals } = client.ask("starlane:grants", "list", &json!({}))?;
    principals.retain(|principal, _| of.is_none_or(|of| of == principal));
    if principals.is_empty() {
        output.remark("No grants yet: `starlane grant PRINCIPAL \"request acme:profiles:**\"` gives one.");
    }
    let lines = principals.iter().flat_map(|(name, grants)| grants.iter().map(|line| [name.clone(), line.clone()]));
    output.table(["PRINCIPAL", "GRANT"], &lines.collect::<Vec<_>>(), &json!({ "principals": principals }));
    Ok(())
}

/// Creates a token. A pipe or a file gets only the token.
pub(crate) fn create(given: &TokenCreate, client: &Client, output: Output) -> Result<()> {
    let body = json!({ "subject": given.subject, "grants": given.grants, "ttlSeconds": given.ttl.as_secs() });
    let made: Made = client.ask("starlane:tokens", "create", &body)?;
    if output == Output::Human && !io::stdout().is_terminal() {
        writeln!(io::stdout(), "{}", made.token)?;
        output.remark(&format!("`starlane token revoke {}` revokes this token.", made.id));
        return Ok(());
    }
    let facts = [
        ("subject", made.subject.clone()),
        ("id", made.id.clone()),
        ("valid until", time(made.expires)),
        ("token", made.token.clone()),
    ];
    let next = format!("starlane token revoke {}", made.id);
    output.done("A token was created: it is shown only once", &facts, Some(&next), &serde_json::to_value(&made)?);
    Ok(())
}

/// Revokes a token, or all tokens of a principal. An unknown id may belong to a token of an earlier version. The server
/// refuses it from now on, too, and the output says so.
pub(crate) fn revoke(given: &Revoke, client: &Client, output: Output) -> Result<()> {
    let subject = given.subject.as_deref().unwrap_or_default();
    let body = given.id.as_ref().map_or_else(|| json!({ "subject": subject }), |id| json!({ "id": id }));
    let Revoked { known } = client.ask("starlane:tokens", "revoke", &body)?;
    let said = match (&given.id, known) {
        (Some(id), 0) => format!("No token with the id {id} is known; it is refused from now on"),
        (Some(id), _) => format!("The token {id} is refused from now on, and the links that it opened are closed"),
        (None, 0) => format!("No token of `{subject}` is known; tokens that were created before now are refused"),
        (None, _) => {
            format!("All tokens of `{subject}` are refused from now on, and the links that they opened are closed")
        }
    };
    let (name, value) = given.id.as_deref().map_or(("subject", subject), |id| ("id", id));
    output.done(&said, &[], None, &json!({ name: value, "known": known }));
    Ok(())
}
