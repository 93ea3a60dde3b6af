//! The resources `starlane:grants` and `starlane:tokens`: what an admin does with principals, by message.

use std::rc::Rc;

use serde::Deserialize;
use serde_json::json;
use starlane_host::{Handler, Host, Incoming, Operations, Principal, Served, handler};
use starlane_protocol::{Address, Failure, Grant, Outcome, Payload, Verb};

use super::{Auth, Revoke, registry};
use crate::body::{json as json_payload, read};

/// How long a token is good that says nothing of it, in seconds.
const HOUR: u64 = 3_600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfPrincipal {
    principal: String,
    #[serde(default)]
    grants: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    subject: String,
    #[serde(default)]
    grants: Vec<String>,
    #[serde(rename = "ttlSeconds")]
    ttl_seconds: Option<u64>,
}

/// Serves both, for as long as what is given lives.
pub(crate) fn serve(host: &Host, auth: &Auth) -> Result<Vec<Served>, Failure> {
    let (of_grants, of_tokens) = (auth.clone(), auth.clone());
    let grants = handler(move |incoming| {
        let auth = of_grants.clone();
        async move { about_grants(&auth, &incoming) }
    });
    let tokens = handler(move |incoming| {
        let auth = of_tokens.clone();
        async move { about_tokens(&auth, &incoming) }
    });
    let at = |name: &str, operations: &[&str], handler: Rc<dyn Handler>| {
        let address = Address::parse(name).map_err(|error| Failure::internal(error.to_string()))?;
        let names = operations.iter().map(|name| (*name).to_owned()).collect();
        host.serve(&address, Operations::Named(names), handler)
    };
    Ok(vec![
        at("starlane:grants", &["list", "add", "remove"], grants)?,
        at("starlane:tokens", &["create", "revoke"], tokens)?,
    ])
}

fn about_grants(auth: &Auth, incoming: &Incoming) -> Outcome {
    if incoming.operation == "list" {
        incoming.caller.permit(Verb::Admin, &incoming.to, "")?;
        return Ok(json_payload(&json!({ "principals": auth.registered() })));
    }
    let OfPrincipal { principal, grants } = read(incoming)?;
    let all = incoming.operation == "remove" && grants.is_empty();
    let concerned = if all { auth.grants_of(&principal) } else { grants.clone() };
    may_hand_out(&incoming.caller, &principal, &concerned)?;
    match incoming.operation.as_str() {
        "add" => auth.grant(&principal, &grants)?,
        _ => auth.remove_grants(&principal, &grants)?,
    }
    Ok(json_payload(&json!({ "principal": principal, "grants": auth.grants_of(&principal) })))
}

fn about_tokens(auth: &Auth, incoming: &Incoming) -> Outcome {
    if incoming.operation == "create" {
        let Create { subject, grants, ttl_seconds } = read(incoming)?;
        // The token carries what the registry grants its subject too.
        may_hand_out(&incoming.caller, &subject, &[grants.as_slice(), &auth.grants_of(&subject)].concat())?;
        let made = auth.create(&subject, &grants, ttl_seconds.unwrap_or(HOUR))?;
        return Ok(json_payload(&made));
    }
    incoming.caller.permit(Verb::Admin, &incoming.to, "")?;
    let revoke: Revoke = read(incoming)?;
    auth.revoke(&revoke)?;
    Ok(Payload::nothing())
}

/// Whether somebody may give these grants to a principal, or take them: who has `admin` on all that they are about.
fn may_hand_out(caller: &Principal, principal: &str, lines: &[String]) -> Result<(), Failure> {
    let held: Vec<&Grant> = caller.grants().iter().filter(|held| held.verb() == Verb::Admin).collect();
    if held.is_empty() {
        let message = "grants and tokens are an admin's business: it needs a grant such as \"admin acme:**\"";
        return Err(Failure::no_grant(message));
    }
    for line in lines {
        let grant = registry::parse(line, principal)?;
        if !held.iter().any(|held| held.includes(&grant)) {
            let needed = grant.pattern();
            let message = format!("who hands out \"{line}\" needs the grant \"admin {needed}\", or a wider one");
            return Err(Failure::no_grant(message));
        }
    }
    Ok(())
}
