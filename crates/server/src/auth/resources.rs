//! The resources `starlane:grants` and `starlane:tokens`: what an admin does with principals, by message.

use std::rc::Rc;

use serde::Deserialize;
use serde_json::{Value, json};
use starlane_host::{Handler, Host, Operations, Principal, Served, handler};
use starlane_protocol::{Address, Failure, Grant, Message, Outcome, Payload, Verb};

use super::{Auth, Revoke, namespace, registry};
use crate::{
    audit::Audit,
    body::{json as json_payload, read},
};

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
pub(crate) fn serve(host: &Host, auth: &Auth, audit: &Audit) -> Result<Vec<Served>, Failure> {
    let (of_grants, of_tokens) = ((auth.clone(), audit.clone()), (auth.clone(), audit.clone()));
    let grants = handler(move |incoming| {
        let (auth, audit) = of_grants.clone();
        async move { noted(&audit, "grant", &incoming, about_grants(&auth, &incoming)) }
    });
    let tokens = handler(move |incoming| {
        let (auth, audit) = of_tokens.clone();
        async move { noted(&audit, "token", &incoming, about_tokens(&auth, &incoming)) }
    });
    let at = |name: &str, operations: &[&str], handler: Rc<dyn Handler>| {
        let address = Address::parse(name).map_err(|error| Failure::internal(error.to_string()))?;
        let names = operations.iter().map(|name| (*name).to_owned()).collect();
        Ok(host.serve(&address, Operations::Named(names), handler)?.with_events(&[]))
    };
    Ok(vec![
        at("starlane:grants", &["list", "add", "remove"], grants)?,
        at("starlane:tokens", &["create", "revoke"], tokens)?,
    ])
}

/// Notes a change in the audit log: whom it is about, and the grants or the token's id, never the token.
fn noted(audit: &Audit, kind: &str, incoming: &Message, outcome: Outcome) -> Outcome {
    if incoming.operation != "list" {
        let asked: Value = serde_json::from_slice(&incoming.payload.body).unwrap_or_default();
        let answer = outcome.as_ref().ok().and_then(|reply| serde_json::from_slice::<Value>(&reply.body).ok());
        let named = ["principal", "subject", "id"].iter().filter_map(|field| asked.get(field)?.as_str());
        let grants = asked.get("grants").map(|grants| format!("grants {grants}"));
        let made = answer.as_ref().and_then(|answer| answer.get("id")?.as_str()).map(|id| format!("id {id}"));
        let target: Vec<String> = named.map(str::to_owned).chain(made).chain(grants).collect();
        audit.note(incoming.caller.name(), &format!("{kind}.{}", incoming.operation), &target.join(" "), &outcome);
    }
    outcome
}

fn about_grants(auth: &Auth, incoming: &Message) -> Outcome {
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

fn about_tokens(auth: &Auth, incoming: &Message) -> Outcome {
    if incoming.operation == "create" {
        let Create { subject, grants, ttl_seconds } = read(incoming)?;
        // The token carries what the registry grants its subject too.
        may_hand_out(&incoming.caller, &subject, &[grants.as_slice(), &auth.grants_of(&subject)].concat())?;
        let made = auth.create(&subject, &grants, ttl_seconds.unwrap_or(HOUR))?;
        return Ok(json_payload(&made));
    }
    let revoke: Revoke = read(incoming)?;
    let own = namespace::administered(&incoming.caller);
    match &revoke {
        _ if incoming.caller.may(Verb::Admin, &incoming.to, "") => auth.revoke(&revoke, None)?,
        Revoke::Subject(subject) => {
            namespace::check(&incoming.caller, subject)?;
            auth.revoke(&revoke, None)?;
        }
        Revoke::Id(_) if own.is_empty() => incoming.caller.permit(Verb::Admin, &incoming.to, "")?,
        Revoke::Id(_) => auth.revoke(&revoke, Some(&own))?,
    }
    Ok(Payload::nothing())
}

/// Whether somebody may give these grants to a principal, or take them: who has `admin` on all that they are about, and whose
/// namespace the principal is of.
fn may_hand_out(caller: &Principal, principal: &str, lines: &[String]) -> Result<(), Failure> {
    let held: Vec<&Grant> = caller.grants().iter().filter(|held| held.verb() == Verb::Admin).collect();
    if held.is_empty() {
        let message = "grants and tokens are an admin's business: it needs a grant such as \"admin acme:**\"";
        return Err(Failure::no_grant(message));
    }
    namespace::check(caller, principal)?;
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
