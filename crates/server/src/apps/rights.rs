//! The permissions of an app beyond itself: never more than the permissions of its maker, the principal that creates or
//! upgrades the app.
//!
//! - A line of `allow` that reaches beyond its app must be covered by a grant of the maker. Otherwise the whole change is refused.
//! - The line is in force as long as that grant: a grant of the registry until it is removed, a grant of a token until
//!   the token expires. When an `admin` grant covers a line, the app's record keeps that confirmation until the next
//!   revision.
//! - When the maker's token is revoked, the app loses all permissions beyond itself until the next revision.
//! - A record of an older server has no maker and allows nothing beyond the app.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use starlane_bundle::{AppRecord, Maker, Manifest};
use starlane_host::{Allow, Host, Principal, ports::RecordStore};
use starlane_protocol::{Address, Failure, Grant, Verb};
use tokio::{sync::Notify, time::sleep};

use crate::{
    auth::Auth,
    http::{
        Visibility,
        routes::Routes,
        visibility::{hidden, may_read},
    },
    store::DiskStore,
    time::unix_seconds,
};

/// The maximum time between two checks of the permissions.
const LOOK_AGAIN: Duration = Duration::from_secs(3_600);
/// The maximum number of lines that a refusal names.
const NAMED: usize = 5;

/// The permissions of running apps beyond themselves.
pub(crate) struct Rights {
    auth: Auth,
    visibility: Visibility,
    routes: Routes,
    running: RefCell<BTreeMap<Address, Running>>,
    /// Notified when an app is created whose permissions can expire.
    changed: Notify,
}

/// A running app.
struct Running {
    record: AppRecord,
    lines: Vec<Line>,
    /// Whether each line is in force now.
    in_force: Vec<bool>,
}

/// A line of a mechtron's `allow`.
struct Line {
    /// The mechtron's name in the app, with its `:{key}`.
    mechtron: String,
    text: String,
    grant: Grant,
}

impl Rights {
    pub(crate) fn new(auth: &Auth, visibility: Visibility, routes: &Routes) -> Rc<Self> {
        Rc::new(Self {
            auth: auth.clone(),
            visibility,
            routes: routes.clone(),
            running: RefCell::default(),
            changed: Notify::new(),
        })
    }

    /// The maker, as the record of a new revision names it. Errors with 403 `no-grant` when the app would have permissions that
    /// its maker does not have.
    pub(super) fn maker(&self, manifest: &Manifest, app: &Address, caller: &Principal) -> Result<Maker, Failure> {
        let mut confirmed = Vec::new();
        let mut missing = Vec::new();
        for line in lines(manifest, app).into_iter().filter(|line| !line.grant.is_within(app)) {
            let mut covering = caller.grants().iter().filter(|held| held.covers(&line.grant)).peekable();
            if covering.peek().is_none() {
                missing.push(format!("\"{}\" of `{}`", line.text, line.mechtron));
            } else if covering.any(|held| held.verb() == Verb::Admin) && !confirmed.contains(&line.text) {
                confirmed.push(line.text);
            }
        }
        if missing.is_empty() {
            let (principal, proof) = (caller.name().to_owned(), caller.proof().to_owned());
            return Ok(Maker { principal, proof, confirmed, revoked: false });
        }
        let others = missing.len().saturating_sub(NAMED);
        missing.truncate(NAMED);
        let more = if others > 0 { format!(" and {others} more") } else { String::new() };
        let message = format!(
            "{app} would have permissions that `{name}` does not have: {lines}{more}; remove these lines from `allow`, or get \
             the grants (`starlane grant {name} \"…\"`), or let an admin make this revision",
            name = caller.name(),
            lines = missing.join(", ")
        );
        Err(Failure::no_grant(message).at(app))
    }

    /// Errors with 409 when the address of a new app is inside that of another app, or the other way round: the owner of an
    /// address would depend on which of the two runs.
    pub(super) fn check_place(&self, app: &Address) -> Result<(), Failure> {
        let running = self.running.borrow();
        let Some(other) = running.keys().find(|other| *other != app && (app.is_within(other) || other.is_within(app)))
        else {
            return Ok(());
        };
        let message = format!("{app} and app {other}: the address of one is inside the other; choose another address");
        Err(Failure::conflict(message).at(app))
    }

    /// Adds the permissions of an app that is about to run. Returns its manifest with the lines that are in force.
    pub(super) fn take_up(&self, manifest: Manifest, record: &AppRecord) -> Manifest {
        let lines = lines(&manifest, &record.app);
        let in_force = self.in_force(record, &lines);
        let held: Vec<(String, String)> = lines
            .iter()
            .zip(&in_force)
            .filter(|(line, in_force)| {
                if !**in_force {
                    let Line { mechtron, text, .. } = line;
                    tracing::warn!(
                        app = %record.app, mechtron, line = text,
                        "line of `allow` is not in force: the app's maker does not have this permission, or is not known"
                    );
                }
                **in_force
            })
            .map(|(line, _)| (line.mechtron.clone(), line.text.clone()))
            .collect();
        let running = Running { record: record.clone(), lines, in_force };
        self.running.borrow_mut().insert(record.app.clone(), running);
        self.changed.notify_one();
        manifest.narrowed(|mechtron, line| held.iter().any(|(name, text)| name == mechtron && text == line))
    }

    /// Removes an app that no longer runs.
    pub(super) fn forget(&self, app: &Address) {
        self.running.borrow_mut().remove(app);
    }

    /// Whether a caller can read a bundle by message: the same rule as over HTTP. A mechtron can read the bundles of its app, and
    /// other bundles if the app's maker can.
    pub(super) fn may_read(&self, caller: &Principal, bundle: &Address) -> Result<(), Failure> {
        if self.visibility.is_public(bundle) == Some(true) {
            return Ok(());
        }
        // No principal has a colon in its name; mechtrons are called by their addresses.
        let reads = match Address::parse(caller.name()) {
            Ok(mechtron) if caller.name().contains(':') => self.mechtron_may_read(&mechtron, bundle),
            _ => may_read(&self.routes, caller, bundle),
        };
        if reads { Ok(()) } else { Err(hidden()) }
    }

    fn mechtron_may_read(&self, mechtron: &Address, bundle: &Address) -> bool {
        let running = self.running.borrow();
        let apps = running.iter().filter(|(app, _)| mechtron.is_within(app));
        let Some((app, running)) = apps.max_by_key(|(app, _)| app.segments().count()) else { return false };
        let maker = running.record.maker.as_ref().filter(|maker| !maker.revoked);
        let makers = || maker.and_then(|maker| Some(Principal::new(&maker.principal, self.auth.standing(maker)?)));
        self.routes.apps_of(bundle).contains(app)
            || makers().is_some_and(|maker| may_read(&self.routes, &maker, bundle))
    }

    /// The lines of an app that are in force.
    fn in_force(&self, record: &AppRecord, lines: &[Line]) -> Vec<bool> {
        let maker = record.maker.as_ref().filter(|maker| !maker.revoked);
        let standing = maker.and_then(|maker| Some((maker, self.auth.standing(maker)?)));
        let beyond = |line: &Line| {
            let Some((maker, grants)) = &standing else { return false };
            maker.confirmed.contains(&line.text) || grants.iter().any(|held| held.covers(&line.grant))
        };
        lines.iter().map(|line| line.grant.is_within(&record.app) || beyond(line)).collect()
    }

    /// Checks the permissions of all apps again. Returns the apps whose permissions changed, and the records whose maker's token
    /// was revoked.
    fn look_again(&self) -> (Vec<(Address, Vec<Allow>)>, Vec<AppRecord>) {
        let (mut changed, mut revoked) = (Vec::new(), Vec::new());
        for (app, running) in self.running.borrow_mut().iter_mut() {
            if let Some(maker) = running.record.maker.as_mut().filter(|maker| !maker.revoked)
                && self.auth.standing(maker).is_none()
            {
                maker.revoked = true;
                revoked.push(running.record.clone());
            }
            let in_force = self.in_force(&running.record, &running.lines);
            if in_force != running.in_force {
                running.in_force = in_force;
                changed.push((app.clone(), running.allow()));
            }
        }
        (changed, revoked)
    }

    /// The time until the first token expires that a permission depends on.
    fn next_end(&self) -> Duration {
        let now = unix_seconds();
        let running = self.running.borrow();
        let makers = running.values().filter_map(|running| running.record.maker.as_ref());
        let ends = makers.filter_map(|maker| self.auth.end_of(maker)).filter(|end| *end > now);
        ends.min().map_or(LOOK_AGAIN, |end| Duration::from_secs(end - now).min(LOOK_AGAIN))
    }

    /// Keeps the permissions of apps up to date with those of their makers, as long as the server runs.
    pub(super) async fn watch(self: Rc<Self>, host: Host, store: DiskStore) {
        let mut changes = self.auth.changes();
        loop {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = self.changed.notified() => {}
                () = sleep(self.next_end()) => {}
            }
            let (changed, revoked) = self.look_again();
            for (app, allow) in changed {
                tracing::info!(%app, "the permissions of the app's mechtrons changed because those of its maker changed");
                host.allow(&app, &allow);
            }
            for record in revoked {
                // A later revision can exist by now; it stays.
                if let Err(error) = store.put_record(record).await {
                    tracing::error!(
                        %error,
                        "cannot write the app's record: the change of its permissions is lost at the next restart"
                    );
                }
            }
        }
    }
}

impl Running {
    /// The lines that are in force, by mechtron.
    fn allow(&self) -> Vec<Allow> {
        let mut by_mechtron: BTreeMap<&str, Vec<Grant>> = BTreeMap::new();
        for (line, in_force) in self.lines.iter().zip(&self.in_force) {
            let grants = by_mechtron.entry(&line.mechtron).or_default();
            grants.extend(in_force.then(|| line.grant.clone()));
        }
        let allow = |(pattern, grants): (&str, Vec<Grant>)| {
            let name = pattern.strip_suffix(":{key}");
            Allow { name: name.unwrap_or(pattern).to_owned(), keyed: name.is_some(), grants }
        };
        by_mechtron.into_iter().map(allow).collect()
    }
}

/// All lines of `allow` of an app's mechtrons, also of those that run in a page: they also act for the app's maker.
fn lines(manifest: &Manifest, app: &Address) -> Vec<Line> {
    let mechtrons = manifest.app.iter().flat_map(|config| &config.mechtrons);
    let lines = mechtrons.flat_map(|(name, mechtron)| mechtron.allow.iter().map(move |line| (name, line)));
    let parsed = lines.filter_map(|(name, line)| {
        let grant = Grant::parse(line, Some(app)).ok()?;
        Some(Line { mechtron: name.clone(), text: line.clone(), grant })
    });
    parsed.collect()
}
