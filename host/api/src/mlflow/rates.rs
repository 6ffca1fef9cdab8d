//! How often somebody may ask. Whoever asks too often is told when to come again, and MLflow's clients do.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
};

use axum::http::StatusCode;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::HashMapStateStore,
};
use plinth_core::RequestLimits;

use super::MlflowError;

/// Checks after which those are forgotten who have not asked for a while.
const SWEEP_EVERY: u32 = 4_096;

/// How often somebody may ask.
#[derive(Debug)]
pub(crate) struct Rates {
    users: Rate<String>,
    addresses: Rate<IpAddr>,
    passwords: Rate<IpAddr>,
}

impl Rates {
    pub(super) fn new(limits: &RequestLimits) -> Self {
        Self {
            users: Rate::new(limits.per_second_max, Quota::per_second),
            addresses: Rate::new(limits.per_second_max, Quota::per_second),
            passwords: Rate::new(limits.passwords_per_minute_max, Quota::per_minute),
        }
    }

    /// A request of a user.
    pub(crate) fn user(&self, name: &String) -> Result<(), MlflowError> {
        self.users.check(name)
    }

    /// A request of somebody who need not say who they are. This machine's own processes are not counted.
    pub(super) fn address(&self, address: IpAddr) -> Result<(), MlflowError> {
        if address.is_loopback() { Ok(()) } else { self.addresses.check(&network(address)) }
    }

    /// A password that is going to be hashed, be it right or wrong.
    pub(super) fn password(&self, address: IpAddr) -> Result<(), MlflowError> {
        self.passwords.check(&network(address))
    }
}

/// What one caller has: an address, or all those of a network that one subscriber is commonly given.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// A rate for each of many; nothing if there is no limit.
#[derive(Debug)]
struct Rate<K: Hash + Eq + Clone>(Option<Limited<K>>);

#[derive(Debug)]
struct Limited<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, HashMapStateStore<K>, DefaultClock>,
    checks: AtomicU32,
}

impl<K: Hash + Eq + Clone> Rate<K> {
    fn new(most: u32, quota: impl FnOnce(NonZeroU32) -> Quota) -> Self {
        let limited = |most| Limited { limiter: RateLimiter::hashmap(quota(most)), checks: AtomicU32::new(0) };
        Self(NonZeroU32::new(most).map(limited))
    }

    fn check(&self, key: &K) -> Result<(), MlflowError> {
        let Some(Limited { limiter, checks }) = &self.0 else { return Ok(()) };
        if checks.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            limiter.retain_recent();
        }
        limiter.check_key(key).map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            too_often(wait.as_secs() + 1)
        })
    }
}

/// MLflow's word for too many requests.
pub(super) fn too_often(wait_secs: u64) -> MlflowError {
    let message = format!("too many requests; try again in {wait_secs} s");
    MlflowError::new(StatusCode::TOO_MANY_REQUESTS, "REQUEST_LIMIT_EXCEEDED", message).retry_after(wait_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_rate_of_their_own_and_nobody_is_kept_for_ever() {
        let limits = RequestLimits { per_second_max: 3, passwords_per_minute_max: 2, ..RequestLimits::default() };
        let rates = Rates::new(&limits);
        let (one, two) = ("one".to_owned(), "two".to_owned());
        let refused = (0..100).filter(|_| rates.user(&one).is_err()).count();
        assert!(refused > 90 && rates.user(&two).is_ok(), "{refused}");
        let attacker: IpAddr = "203.0.113.9".parse().unwrap();
        assert!(rates.password(attacker).is_ok() && rates.password(attacker).is_ok());
        let refusal = rates.password(attacker).unwrap_err();
        assert_eq!((refusal.status.as_u16(), refusal.code), (429, "REQUEST_LIMIT_EXCEEDED"));
        assert!(refusal.retry_after.is_some_and(|wait| (1..=31).contains(&wait)), "{refusal:?}");
        // Another address of the same network is no other caller.
        let of_network = |host: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, host));
        assert!((0..10).filter(|host| rates.password(of_network(*host)).is_ok()).count() <= 3);
        assert!((0..1_000).all(|_| rates.address(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)).is_ok()));
        let off = Rates::new(&RequestLimits { per_second_max: 0, passwords_per_minute_max: 0, ..limits });
        assert!((0..1_000).all(|_| off.user(&one).is_ok() && off.password(attacker).is_ok()));
    }
}
