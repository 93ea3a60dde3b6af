//! The use of this host by each principal, and its limits.

use starlane_protocol::Failure;

use crate::{
    bucket::Bucket,
    maps::{Map, Sweep},
    principal::Principal,
};

/// How many principals without any use are remembered.
const MAX_IDLE_PRINCIPALS: usize = 1_024;

/// The limits of one principal at a host that it dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrincipalLimits {
    /// Open links.
    pub links: usize,
    /// Messages per second; a burst may have as many at once. Everything that a peer sends counts, except answers.
    pub messages_per_second: u32,
    /// Bytes of unanswered requests, of bodies that are being received, and of data that waits for its links.
    pub bytes_in_flight: usize,
    /// Actors of keyed mechtrons that it used first.
    pub keys: usize,
}

impl Default for PrincipalLimits {
    fn default() -> Self {
        Self { links: 1_000, messages_per_second: 20_000, bytes_in_flight: 256 * 1024 * 1024, keys: 5_000 }
    }
}

/// The present use of each principal.
#[derive(Debug)]
pub(crate) struct Usage {
    by_account: Map<String, Used>,
    sweep: Sweep,
}

impl Default for Usage {
    fn default() -> Self {
        Self { by_account: Map::new(), sweep: Sweep::over(MAX_IDLE_PRINCIPALS) }
    }
}

#[derive(Debug, Default)]
struct Used {
    links: usize,
    bytes: usize,
    keys: usize,
    messages: Bucket,
}

impl Usage {
    /// Counts a message. Errors with 429 above the limit.
    pub(crate) fn message(&mut self, now: u64, who: &Principal, limits: &PrincipalLimits) -> Result<(), Failure> {
        self.count(now, who, limits, limits.messages_per_second)
    }

    /// Counts a message whose refusal cannot be reported, such as a cancel. The rate has a reserve of one second of
    /// messages for these. Errors with 429 above the limit.
    pub(crate) fn order(&mut self, now: u64, who: &Principal, limits: &PrincipalLimits) -> Result<(), Failure> {
        self.count(now, who, limits, 0)
    }

    fn count(&mut self, now: u64, who: &Principal, limits: &PrincipalLimits, left: u32) -> Result<(), Failure> {
        let rate = limits.messages_per_second;
        // A bucket is full again after two seconds.
        let in_use = |used: &Used| used.links + used.bytes + used.keys > 0 || now < used.messages.last() + 2_000;
        self.sweep.sweep(&mut self.by_account, in_use);
        if self.of(who).messages.take_leaving(now, 1, rate.into(), rate.into(), left.into()) {
            return Ok(());
        }
        Err(Failure::too_many(format!("more than {rate} messages a second: send slower")))
    }

    /// Counts the bytes of a request until [`Usage::release`]. Errors with 429 above the limit.
    pub(crate) fn hold(&mut self, who: &Principal, bytes: usize, limits: &PrincipalLimits) -> Result<(), Failure> {
        self.may_hold(who, bytes, limits)?;
        self.of(who).bytes += bytes;
        Ok(())
    }

    /// Checks whether `bytes` of a request or a body may come. Errors with 429 above the limit.
    pub(crate) fn may_hold(&self, who: &Principal, bytes: usize, limits: &PrincipalLimits) -> Result<(), Failure> {
        self.has_room(who, bytes, limits).map_err(|used| {
            let most = limits.bytes_in_flight;
            Failure::too_many(format!(
                "{used} bytes of unanswered requests and of bodies that are being received; the limit `bytes-in-flight` is {most}: \
                 wait for replies before sending more"
            ))
        })
    }

    /// Counts the bytes that wait for a link of a principal: they were `before` and are `now`.
    pub(crate) fn wait(&mut self, who: &Principal, before: usize, now: usize) {
        let used = self.of(who);
        used.bytes = (used.bytes + now).saturating_sub(before);
    }

    /// Checks whether an answer may wait for a link of a principal. Errors with 429 above the limit.
    pub(crate) fn may_wait(&self, who: &Principal, bytes: usize, limits: &PrincipalLimits) -> Result<(), Failure> {
        self.has_room(who, bytes, limits).map_err(|used| {
            let most = limits.bytes_in_flight;
            Failure::too_many(format!("{used} bytes wait for this principal; the limit is {most}: read faster"))
        })
    }

    /// Checks whether a principal may use `bytes` more. Errors with the bytes in use. A principal that uses nothing may exceed the
    /// limit once.
    fn has_room(&self, who: &Principal, bytes: usize, limits: &PrincipalLimits) -> Result<(), usize> {
        let used = self.by_account.get(who.account()).map_or(0, |used| used.bytes);
        if used > 0 && used + bytes > limits.bytes_in_flight { Err(used) } else { Ok(()) }
    }

    /// Counts an actor for the principal that uses it first. Errors with 429 above the limit.
    pub(crate) fn key(&mut self, who: &Principal, limits: &PrincipalLimits) -> Result<(), Failure> {
        let most = limits.keys;
        let used = self.of(who);
        if used.keys >= most {
            return Err(Failure::too_many(format!(
                "this principal has made {most} keyed actors, the maximum: use their keys"
            )));
        }
        used.keys += 1;
        Ok(())
    }

    /// Counts an actor that exists already, whatever the limit.
    pub(crate) fn hold_key(&mut self, who: &Principal) {
        self.of(who).keys += 1;
    }

    /// Uncounts an actor that is gone.
    pub(crate) fn release_key(&mut self, who: &Principal) {
        if let Some(used) = self.by_account.get_mut(who.account()) {
            used.keys = used.keys.saturating_sub(1);
        }
    }

    /// How many links a principal has.
    pub(crate) fn links(&self, who: &Principal) -> usize {
        self.by_account.get(who.account()).map_or(0, |used| used.links)
    }

    /// Counts a link that came up.
    pub(crate) fn hold_link(&mut self, who: &Principal) {
        self.of(who).links += 1;
    }

    /// Uncounts a link that is gone.
    pub(crate) fn release_link(&mut self, who: &Principal) {
        if let Some(used) = self.by_account.get_mut(who.account()) {
            used.links = used.links.saturating_sub(1);
        }
    }

    /// Releases the bytes of a request that ended.
    pub(crate) fn release(&mut self, who: &Principal, bytes: usize) {
        if let Some(used) = self.by_account.get_mut(who.account()) {
            used.bytes = used.bytes.saturating_sub(bytes);
        }
    }

    /// The use of a principal. A new one starts with a full rate limit.
    fn of(&mut self, who: &Principal) -> &mut Used {
        self.by_account.entry(who.account().to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PrincipalLimits =
        PrincipalLimits { links: 1, messages_per_second: 10, bytes_in_flight: 100, keys: 2 };

    #[test]
    fn messages_are_limited_to_the_rate_and_bursts_of_one_second() {
        let (mut usage, ada, grace) = (Usage::default(), Principal::named("ada"), Principal::named("grace"));
        let burst = |usage: &mut Usage, now| (0..20).filter(|_| usage.message(now, &ada, &LIMITS).is_ok()).count();
        assert_eq!(burst(&mut usage, 5), 10);
        assert_eq!(burst(&mut usage, 5), 0);
        assert_eq!(burst(&mut usage, 305), 3);
        assert_eq!(burst(&mut usage, 60_000), 10);
        assert!(usage.message(60_000, &grace, &LIMITS).is_ok(), "each has its own");
    }

    #[test]
    fn bytes_in_flight_are_bounded_and_released() {
        let (mut usage, ada) = (Usage::default(), Principal::named("ada"));
        usage.hold(&ada, 1_000, &LIMITS).unwrap();
        assert_eq!(usage.hold(&ada, 1, &LIMITS).unwrap_err().code, "too-many", "one that is too large goes alone");
        usage.release(&ada, 1_000);
        usage.hold(&ada, 60, &LIMITS).unwrap();
        assert!(usage.hold(&ada, 41, &LIMITS).is_err());
        assert!(usage.hold(&ada, 40, &LIMITS).is_ok());
    }

    #[test]
    fn keys_are_bounded_and_released() {
        let (mut usage, ada) = (Usage::default(), Principal::named("ada"));
        assert_eq!((0..5).filter(|_| usage.key(&ada, &LIMITS).is_ok()).count(), 2);
        usage.release_key(&ada);
        assert!(usage.key(&ada, &LIMITS).is_ok());
        assert!(usage.key(&Principal::named("grace"), &LIMITS).is_ok());
    }

    #[test]
    fn unused_principals_are_forgotten() {
        let mut usage = Usage::default();
        for n in 0..5_000_u64 {
            usage.message(n * 10, &Principal::named(&n.to_string()), &LIMITS).unwrap();
        }
        assert!(usage.by_account.len() <= MAX_IDLE_PRINCIPALS + 1, "{}", usage.by_account.len());
    }

    #[test]
    fn message_costs_the_same_however_many_principals_there_are() {
        let mut usage = Usage::default();
        let names: Vec<_> = (0..5_000).map(|n| Principal::named(&n.to_string())).collect();
        names.iter().for_each(|who| usage.hold_link(who));
        for n in 0..20 {
            names.iter().for_each(|who| usage.message(n * 1_000, who, &LIMITS).unwrap());
        }
        assert!(usage.sweep.looked_at <= 10_000, "{} entries for 100,000 messages", usage.sweep.looked_at);
    }
}
