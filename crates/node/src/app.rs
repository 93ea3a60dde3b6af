//! The apps that are installed at this node: which address belongs to which mechtron.

use std::rc::Rc;

use minicbor::{Decode, Encode};
use starlane_bundle::{Bind, Digest, Durability};
use starlane_protocol::{Address, AddressError, Failure, Grant, HostName, Message, OWN_SPACE, Payload, Topic, Verb};

use crate::{
    guest::{GuestLimits, GuestPlan},
    maps::Map,
    principal::{Principal, grant_for},
};

/// An app, as far as this host runs it.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct AppPlan {
    /// The app's address.
    #[n(0)]
    pub app: Address,
    /// The mechtrons that run here.
    #[n(1)]
    pub mechtrons: Vec<MechtronPlan>,
}

/// A mechtron of an app.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct MechtronPlan {
    /// Its name in the app.
    #[n(0)]
    pub name: String,
    /// Whether each key is an actor of its own: `profile:{key}`.
    #[n(1)]
    pub keyed: bool,
    /// Its bundle: that of the app, or one that the app uses.
    #[n(2)]
    pub bundle: Address,
    /// The publisher of that bundle, for grouping guests.
    #[n(3)]
    pub publisher: String,
    /// The module.
    #[n(4)]
    pub wasm: Digest,
    /// The name of the mechtron in its module.
    #[n(5)]
    pub mechtron: String,
    /// The contract.
    #[n(6)]
    pub bind: Bind,
    /// The schemas of that contract, in the form of [`GuestPlan::contract`](crate::guest::GuestPlan::contract).
    #[cbor(n(7), with = "shared_text")]
    pub contract: Rc<str>,
    /// The settings, as JSON.
    #[n(8)]
    pub settings: String,
    /// Its grants.
    #[n(9)]
    pub allow: Vec<Grant>,
    /// When its actors' state is saved.
    #[n(10)]
    pub state: Durability,
    /// The limits of an instance.
    #[n(11)]
    pub limits: GuestLimits,
    /// The maximum number of waiting messages.
    #[n(12)]
    pub mailbox: usize,
    /// The actor is quarantined when it crashes more often than this …
    #[n(13)]
    pub restart_intensity: u32,
    /// … within this time, in milliseconds.
    #[n(14)]
    pub restart_within_ms: u64,
    /// Whether it runs in the host's own thread.
    #[n(15)]
    pub inline: bool,
}

/// A shared text as CBOR.
mod shared_text {
    use std::rc::Rc;

    use minicbor::{
        Decoder, Encoder,
        decode::Error,
        encode::{self, Write},
    };

    pub(super) fn encode<C, W: Write>(
        text: &Rc<str>,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.str(text)?.ok()
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Rc<str>, Error> {
        d.str().map(Rc::from)
    }
}

/// The new grants of a mechtron.
#[derive(Debug, Clone)]
pub struct Allow {
    /// Its name in the app.
    pub name: String,
    /// Whether each key is an actor of its own.
    pub keyed: bool,
    /// Its grants.
    pub grants: Vec<Grant>,
}

/// The apps of a node, by address.
#[derive(Debug, Default)]
pub(crate) struct Apps {
    apps: Map<Address, AppEntry>,
}

#[derive(Debug)]
struct AppEntry {
    mechtrons: Vec<(Rc<MechtronPlan>, Rc<str>)>,
}

/// The mechtron at an address.
#[derive(Debug, Clone)]
pub(crate) struct Role {
    pub(crate) app: Address,
    pub(crate) group: Rc<str>,
    pub(crate) plan: Rc<MechtronPlan>,
}

impl Role {
    /// Whether an instance of this role also serves the other: they agree in all that an instance is made of.
    pub(crate) fn runs_the_same(&self, other: &Self) -> bool {
        let (own, other_plan) = (&*self.plan, &*other.plan);
        self.group == other.group
            // A guest may have read files of its bundle.
            && own.bundle == other_plan.bundle
            && own.wasm == other_plan.wasm
            && own.mechtron == other_plan.mechtron
            && own.settings == other_plan.settings
            && own.contract == other_plan.contract
            && own.limits == other_plan.limits
            && own.inline == other_plan.inline
            && own.state == other_plan.state
    }

    /// Makes a message of the mechtron at `from`, if its `allow` permits it. `.:bundle` stands for the bundle that the mechtron
    /// came from.
    pub(crate) fn message(
        &self,
        here: HostName,
        from: &Address,
        verb: Verb,
        target: &str,
        operation: String,
        payload: Payload,
    ) -> Result<Message, Failure> {
        let to = match target {
            ".:bundle" => self.plan.bundle.clone(),
            _ => Address::resolve(target, &self.app).map_err(AddressError::failure)?,
        };
        self.permit(here, from, verb, &to, &operation)?;
        let caller = Principal::named(from.as_str());
        Ok(Message::new(from.clone(), caller, to, operation, payload))
    }

    /// Checks an app's `allow` before the mechtron at `from` sends a message. Messages to itself and to its own bundle
    /// are always permitted; messages to a host's own resources never are, even if a pattern covers them. `here` is
    /// this host. Errors with 403 and the line to add.
    fn permit(&self, here: HostName, from: &Address, verb: Verb, to: &Address, operation: &str) -> Result<(), Failure> {
        let to = if to.host() == Some(here) { &to.without_host() } else { to };
        closed(from, to)?;
        let own = to == from || (to.is_within(&self.plan.bundle) && to.without_path() == self.plan.bundle);
        if own || self.plan.allow.iter().any(|grant| grant.allows(verb, to, operation)) {
            return Ok(());
        }
        let (verb, grant) = (verb.word(), grant_for(verb, to, operation));
        let message =
            format!("{from} is not allowed to {verb} `{operation}` there: add \"{grant}\" to its `allow` in app.toml");
        Err(Failure::no_grant(message).at(to))
    }

    /// Checks an app's `allow` before the mechtron at `from` subscribes to a topic. Its own events are always permitted. Errors
    /// with 403 and the line to add.
    pub(crate) fn permit_topic(&self, here: HostName, from: &Address, topic: &Topic) -> Result<(), Failure> {
        let address = &topic.address;
        let address = if address.host() == Some(here) { address.without_host() } else { address.clone() };
        let topic = Topic { address, event: topic.event.clone() };
        closed(from, &topic.address)?;
        if topic.address == *from || self.plan.allow.iter().any(|grant| grant.allows_topic(&topic)) {
            return Ok(());
        }
        let message = format!(
            "{from} is not allowed to subscribe to {topic}: add \"subscribe {topic}\" to its `allow` in app.toml"
        );
        Err(Failure::no_grant(message).at(&topic.address))
    }
}

/// A host's own resources are closed to mechtrons. Errors with 403.
fn closed(from: &Address, to: &Address) -> Result<(), Failure> {
    if to.space() != OWN_SPACE {
        return Ok(());
    }
    let message = format!("{from} cannot use the space `{OWN_SPACE}`: it is closed to mechtrons");
    Err(Failure::no_grant(message).at(to))
}

impl Apps {
    pub(crate) fn install(&mut self, plan: AppPlan) {
        let app = plan.app;
        let grouped = |mechtron: MechtronPlan| {
            let group = GuestPlan::group_of(&app, &mechtron.publisher).into();
            (Rc::new(mechtron), group)
        };
        let mechtrons = plan.mechtrons.into_iter().map(grouped).collect();
        self.apps.insert(app, AppEntry { mechtrons });
    }

    pub(crate) fn uninstall(&mut self, app: &Address) {
        self.apps.remove(app);
    }

    /// Replaces the `allow` of a mechtron. Returns its new plan, or none if the app does not have it.
    pub(crate) fn allow(&mut self, app: &Address, allow: &Allow) -> Option<Rc<MechtronPlan>> {
        let entry = self.apps.get_mut(app)?;
        let found = entry.mechtrons.iter_mut().find(|(plan, _)| plan.name == allow.name && plan.keyed == allow.keyed);
        let (plan, _) = found?;
        *plan = Rc::new(MechtronPlan { allow: allow.grants.clone(), ..MechtronPlan::clone(plan) });
        Some(Rc::clone(plan))
    }

    /// The role at an address, if a mechtron of an installed app has it.
    pub(crate) fn role(&self, address: &Address) -> Option<Role> {
        let bare = address.without_host();
        let segments: Vec<&str> = bare.segments().collect();
        if bare.path().is_some() || bare.version().is_some() {
            return None;
        }
        // An app's address may have any depth: the longest that is installed and has the mechtron wins.
        [1, 2].into_iter().find_map(|below| {
            let (app, rest) = segments.split_at_checked(segments.len().checked_sub(below)?)?;
            let app = Address::parse(&app.join(":")).ok()?;
            let entry = self.apps.get(&app)?;
            let name = rest.first()?;
            let found = entry.mechtrons.iter().find(|(plan, _)| plan.name == *name && plan.keyed == (below == 2));
            let (plan, group) = found?.clone();
            Some(Role { app, group, plan })
        })
    }

    /// Whether an app is installed here.
    pub(crate) fn has(&self, app: &Address) -> bool {
        self.apps.contains_key(app)
    }

    /// Whether an address belongs to an app that is installed here.
    pub(crate) fn holds(&self, address: &Address) -> bool {
        let mut app = String::new();
        address.segments().any(|segment| {
            app.push_str(if app.is_empty() { "" } else { ":" });
            app.push_str(segment);
            Address::parse(&app).is_ok_and(|app| self.apps.contains_key(&app))
        })
    }
}

/// Checks a message against the bind of its target.
pub(crate) fn check(
    bind: &Bind,
    operation: &str,
    content_type: &str,
    one_way: bool,
    has_stream: bool,
) -> Result<(), Failure> {
    let Some(known) = bind.operations.get(operation) else {
        let names: Vec<&str> = bind.operations.keys().map(String::as_str).collect();
        return Err(Failure::no_operation(format!(
            "the bind `{}` has no operation `{operation}`; it has: {}",
            bind.name,
            names.join(", ")
        )));
    };
    if one_way && !known.is_one_way() {
        return Err(Failure::schema_mismatch(format!(
            "`{operation}` has a response: send it as a request, not one-way"
        )));
    }
    if has_stream && !known.request.stream {
        return Err(Failure::no_streams(format!(
            "`{operation}` takes no stream: send the whole body, or add `stream = true` to its request in the bind"
        )));
    }
    if !known.request.accepts(content_type) {
        let given = if content_type.is_empty() { "nothing" } else { content_type };
        return Err(Failure::schema_mismatch(format!(
            "`{operation}` takes {}, but got {given}",
            known.request.content_type
        )));
    }
    Ok(())
}
