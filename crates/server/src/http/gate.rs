//! The limits on connections: in total, and from one address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use starlane_protocol::Failure;

use crate::limits::{Limit, Limiter};

/// Descriptors reserved for the disk, the log and the system.
const RESERVED: u64 = 256;

/// Counts connections.
pub(super) struct Gate {
    limiter: Arc<Limiter>,
    /// The maximum number of connections: the limit, or fewer where the system allows fewer descriptors.
    all: usize,
    /// Whether the address identifies a peer: behind a proxy, all connections have the proxy's address.
    by_address: bool,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection, counted until this is dropped.
pub(super) struct Ticket {
    gate: Arc<Gate>,
    address: IpAddr,
}

impl Gate {
    pub(super) fn new(limiter: &Arc<Limiter>, by_address: bool) -> Arc<Self> {
        let limit = limiter.get(Limit::Connections);
        let all = match descriptors() {
            Some(allowed) => limit.min(allowed.saturating_sub(RESERVED).max(allowed / 2)),
            None => limit,
        };
        if all < limit {
            tracing::warn!(
                "the system allows too few open files for {limit} connections; the maximum is now {all}: raise \
                 `ulimit -n` (systemd: LimitNOFILE) to {}",
                limit + RESERVED
            );
        }
        let all = usize::try_from(all).unwrap_or(usize::MAX);
        Arc::new(Self { limiter: Arc::clone(limiter), all, by_address, open: Mutex::default() })
    }

    /// Counts a connection from an address. Errors with 429 or 503 if there are too many.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Ticket, Failure> {
        let address = network(address);
        let mut open = self.open();
        if open.all >= self.all {
            return Err(self.limiter.refuse(Limit::Connections, format!("{} connections are open", open.all)));
        }
        let limit = self.limiter.get(Limit::ConnectionsPerAddress);
        let theirs = open.by_address.get(&address).copied().unwrap_or_default();
        if self.by_address && theirs as u64 >= limit {
            let message = format!("{theirs} connections from {address} are open");
            return Err(self.limiter.refuse(Limit::ConnectionsPerAddress, message));
        }
        open.all += 1;
        open.by_address.insert(address, theirs + 1);
        Ok(Ticket { gate: Arc::clone(self), address })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut open = self.gate.open();
        open.all = open.all.saturating_sub(1);
        if let Some(theirs) = open.by_address.get_mut(&self.address) {
            *theirs = theirs.saturating_sub(1);
            if *theirs == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

/// The network of an address: an IPv6 client usually has a whole network of 2^64 addresses.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

/// Raises the number of descriptors to the system's maximum, and returns it.
#[cfg(unix)]
fn descriptors() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // If the system refuses, the current maximum applies.
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current
}

#[cfg(not(unix))]
fn descriptors() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ServerLimits;

    #[test]
    fn connections_per_address_and_in_total_have_limits_and_are_released() {
        let limiter = Limiter::new(ServerLimits::default());
        let gate = Gate { limiter, all: 2_000, by_address: true, open: Mutex::default() };
        let gate = Arc::new(gate);
        let limit = gate.limiter.get(Limit::ConnectionsPerAddress);
        let one: IpAddr = "2001:db8::1".parse().unwrap();
        let mut tickets: Vec<Ticket> = (0..limit).map(|_| gate.enter(one).unwrap()).collect();
        for same in ["2001:db8::1", "2001:db8::ffff:1"] {
            assert_eq!(gate.enter(same.parse().unwrap()).err().unwrap().code, "too-many", "{same}");
        }
        let other: IpAddr = "192.0.2.1".parse().unwrap();
        tickets.push(gate.enter(other).unwrap());
        assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()), other);
        while tickets.len() < 2_000 {
            let next = u32::try_from(tickets.len()).unwrap();
            tickets.push(gate.enter(IpAddr::from(next.to_be_bytes())).unwrap());
        }
        assert_eq!(gate.enter(other).err().unwrap().code, "busy");
        tickets.clear();
        assert!(gate.open().by_address.is_empty() && gate.enter(one).is_ok());
    }
}
