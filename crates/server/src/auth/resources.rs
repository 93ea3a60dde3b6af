//! The resources `starlane:grants` and `starlane:tokens`, with which an admin manages principals.

use std::{collections::BTreeMap, rc::Rc};

use serde::Deserialize;
use serde_json::{Value, json};
use starlane_host::{Bound, Entry, Handler, Host, Principal, Served, handler};
use starlane_protocol::{Address, Failure, Grant, Message, Outcome, Payload, Verb};

use super::{Auth, Revoke, namespace, registry};
use crate::{
    audit::Audit,
    body::{json as json_payload, read, unknown},
};

/// The default validity of a token, in seconds.
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

/// A request to `starlane:grants`.
enum OfGrants {
    List,
    Add(OfPrincipal),
    Remove(OfPrincipal),
}

impl OfGrants {
    fn read(incoming: &Message) -> Result<Self, Failure> {
        Ok(match incoming.operation.as_str() {
            "list" => Self::List,
            "add" => Self::Add(read(incoming)?),
            "remove" => Self::Remove(read(incoming)?),
            _ => return unknown(incoming),
        })
    }
}

/// A request to `starlane:tokens`.
enum OfTokens {
    Create(Create),
    Revoke(Revoke),
}

impl OfTokens {
    fn read(incoming: &Message) -> Result<Self, Failure> {
        Ok(match incoming.operation.as_str() {
            "create" => Self::Create(read(incoming)?),
            "revoke" => Self::Revoke(read(incoming)?),
            _ => return unknown(incoming),
        })
    }
}

/// Serves both under their binds as long as the returned value lives.
pub(crate) fn serve(
    host: &Host,
    auth: &Auth,
    audit: &Audit,
    (grants_bound, tokens_bound): (&Bound, &Bound),
) -> Result<Vec<Served>, Failure> {
    let (of_grants, of_tokens) = ((auth.clone(), audit.clone()), (auth.clone(), audit.clone()));
    let grants = handler(move |incoming| {
        let (auth, audit) = of_grants.clone();
        async move { noted(&audit, "grant", &incoming, about_grants(&auth, &incoming)) }
    });
    let tokens = handler(move |incoming| {
        let (auth, audit) = of_tokens.clone();
        async move { noted(&audit, "token", &incoming, about_tokens(&auth, &incoming)) }
    });
    let at = |kind: &'static str, bound: &Bound, handler: Rc<dyn Handler>| {
        let address =
            Address::parse(&format!("starlane:{kind}s")).map_err(|error| Failure::internal(error.to_string()))?;
        let audit = audit.clone();
        let entry: Entry = Rc::new(move |incoming| match administers(&incoming.caller) {
            Ok(()) => Ok(()),
            Err(failure) => noted(&audit, kind, incoming, Err(failure)).map(drop),
        });
        bound.clone().entered_by(entry).serve(host, &address, handler)
    };
    Ok(vec![at("grant", grants_bound, grants)?, at("token", tokens_bound, tokens)?])
}

/// An answer, and whether anything changed.
struct Answered {
    payload: Payload,
    is_change: bool,
}

/// Writes a change to the audit log, with the subject and the grants or the token's id, never the token. A request that changes
/// nothing is written only if it was refused.
fn noted(audit: &Audit, kind: &str, incoming: &Message, answered: Result<Answered, Failure>) -> Outcome {
    let is_change = answered.as_ref().map_or(true, |answered| answered.is_change);
    let outcome = answered.map(|answered| answered.payload);
    if is_change && incoming.operation != "list" {
        let asked: Value = serde_json::from_slice(&incoming.payload.body).unwrap_or_default();
        let answer = outcome.as_ref().ok().and_then(|reply| serde_json::from_slice::<Value>(&reply.body).ok());
        let target = target(&incoming.operation, &asked, &answer.unwrap_or_default());
        audit.note(incoming.caller.name(), &format!("{kind}.{}", incoming.operation), &target, &outcome);
    }
    outcome
}

/// The target of a change, from the request and the answer.
fn target(operation: &str, asked: &Value, answer: &Value) -> String {
    let text = |of: &Value, field: &str| of.get(field).and_then(Value::as_str).map(str::to_owned);
    let labelled = |label: &str, text: Option<String>| text.map(|text| format!("{label} {text}"));
    let parts = if operation == "revoke" {
        match text(asked, "id") {
            Some(id) => vec![Some(format!("id {id}")), labelled("of", text(answer, "subject"))],
            None => vec![labelled("subject", text(asked, "subject"))],
        }
    } else {
        // Without grants, all are removed.
        let grants = answer.get("removed").or(asked.get("grants"));
        vec![
            text(asked, "principal").or_else(|| text(asked, "subject")),
            labelled("id", text(answer, "id")),
            grants.map(|grants| format!("grants {grants}")),
        ]
    };
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn about_grants(auth: &Auth, incoming: &Message) -> Result<Answered, Failure> {
    let (answer, is_change) = match OfGrants::read(incoming)? {
        OfGrants::List => (json!({ "principals": listed(auth, incoming)? }), false),
        OfGrants::Add(OfPrincipal { principal, grants }) => {
            may_hand_out(&incoming.caller, &principal, &grants)?;
            let is_change = auth.grant(&principal, &grants)?;
            (json!({ "principal": principal, "grants": auth.grants_of(&principal) }), is_change)
        }
        OfGrants::Remove(OfPrincipal { principal, grants }) => {
            let concerned = if grants.is_empty() { auth.grants_of(&principal) } else { grants.clone() };
            may_hand_out(&incoming.caller, &principal, &concerned)?;
            auth.remove_grants(&principal, &grants)?;
            let left = auth.grants_of(&principal);
            (json!({ "principal": principal, "grants": left, "removed": concerned }), true)
        }
    };
    Ok(Answered { payload: json_payload(&answer), is_change })
}

/// The grants that a caller can see: all, or those that it can hand out.
fn listed(auth: &Auth, incoming: &Message) -> Result<BTreeMap<String, Vec<String>>, Failure> {
    let caller = &incoming.caller;
    let mut all = auth.registered();
    if !caller.may(Verb::Admin, &incoming.to, "") {
        if namespace::administered(caller).is_empty() {
            caller.permit(Verb::Admin, &incoming.to, "")?;
        }
        for (principal, lines) in &mut all {
            lines.retain(|line| may_hand_out(caller, principal, std::slice::from_ref(line)).is_ok());
        }
        all.retain(|_, lines| !lines.is_empty());
    }
    Ok(all)
}

fn about_tokens(auth: &Auth, incoming: &Message) -> Result<Answered, Failure> {
    match OfTokens::read(incoming)? {
        OfTokens::Create(Create { subject, grants, ttl_seconds }) => {
            // The token carries what the registry grants its subject too.
            may_hand_out(&incoming.caller, &subject, &[grants.as_slice(), &auth.grants_of(&subject)].concat())?;
            let made = auth.create(&subject, &grants, ttl_seconds.unwrap_or(HOUR))?;
            Ok(Answered { payload: json_payload(&made), is_change: true })
        }
        OfTokens::Revoke(revoke) => revoked(auth, incoming, &revoke),
    }
}

fn revoked(auth: &Auth, incoming: &Message, revoke: &Revoke) -> Result<Answered, Failure> {
    let may_all = incoming.caller.may(Verb::Admin, &incoming.to, "");
    let subject = match revoke {
        Revoke::Id(id) => auth.subject_of(id)?,
        Revoke::Subject(subject) => Some(subject.clone()),
    };
    match revoke {
        Revoke::Id(_) if !may_all => may_revoke(incoming, subject.as_deref())?,
        Revoke::Subject(subject) if !may_all => namespace::check(&incoming.caller, subject)?,
        Revoke::Id(_) | Revoke::Subject(_) => {}
    }
    let (known, is_change) = auth.revoke(revoke)?;
    Ok(Answered { payload: json_payload(&json!({ "known": known, "subject": subject })), is_change })
}

/// Checks that an admin of a namespace can revoke a token by its id.
fn may_revoke(incoming: &Message, subject: Option<&str>) -> Result<(), Failure> {
    if namespace::administered(&incoming.caller).is_empty() {
        return incoming.caller.permit(Verb::Admin, &incoming.to, "");
    }
    let message = "no token with this id is known here; revoke a token of an earlier version by its subject \
                   (`starlane token revoke --subject NAME`)";
    let subject = subject.ok_or_else(|| Failure::not_found(message))?;
    let message = "the token with this id is not in your namespace; ask an admin of the whole server";
    namespace::check(&incoming.caller, subject).map_err(|_| Failure::no_grant(message))
}

/// Checks that the caller has at least one `admin` grant: every operation requires one.
fn administers(caller: &Principal) -> Result<(), Failure> {
    if caller.grants().iter().any(|held| held.verb() == Verb::Admin) {
        return Ok(());
    }
    let message = "only an admin can use grants and tokens: this requires a grant such as \"admin acme:**\"";
    Err(Failure::no_grant(message))
}

/// Checks that the caller can add or remove these grants of a principal: it must have `admin` on all targets of the grants, and
/// the principal must be in its namespace.
fn may_hand_out(caller: &Principal, principal: &str, lines: &[String]) -> Result<(), Failure> {
    administers(caller)?;
    let held: Vec<&Grant> = caller.grants().iter().filter(|held| held.verb() == Verb::Admin).collect();
    namespace::check(caller, principal)?;
    for line in lines {
        let grant = registry::parse(line, principal)?;
        if !held.iter().any(|held| held.includes(&grant)) {
            let needed = grant.pattern();
            let message = format!("to grant or remove \"{line}\" you need the grant \"admin {needed}\" or a wider one");
            return Err(Failure::no_grant(message));
        }
    }
    Ok(())
}
