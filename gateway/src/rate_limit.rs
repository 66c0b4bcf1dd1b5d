//! How many requests one client may send: a leaky bucket for each client, kept as one moment in time
//! (GCRA, the cell rate algorithm of ITU-T I.371).

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use service::clients::client_key;

/// How many clients are remembered before those that owe nothing are forgotten.
const SWEEP_ABOVE: usize = 65_536;

/// Limits each client by its address.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    /// The time between two requests at the full rate; zero is no limit.
    interval: Duration,
    /// How far ahead of its rate a client may be.
    burst_tolerance: Duration,
    /// When each client's bucket is empty again.
    clients: Mutex<HashMap<IpAddr, Instant>>,
}

impl RateLimiter {
    pub(crate) fn new(rate: f64, burst: u64) -> Self {
        let interval = if rate > 0.0 {
            Duration::from_secs_f64(1.0 / rate)
        } else {
            Duration::ZERO
        };
        let burst = u32::try_from(burst.saturating_sub(1)).unwrap_or(u32::MAX);
        Self {
            interval,
            burst_tolerance: interval.saturating_mul(burst),
            clients: Mutex::default(),
        }
    }

    /// Takes one request, or says how long to wait.
    pub(crate) fn check(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        if self.interval.is_zero() {
            return Ok(());
        }
        let client = client_key(client);
        let mut clients = self.clients.lock();
        if clients.len() >= SWEEP_ABOVE {
            clients.retain(|_, empty| *empty > now);
        }
        let empty = clients.get(&client).copied().unwrap_or(now).max(now);
        let early = empty
            .duration_since(now)
            .saturating_sub(self.burst_tolerance);
        if !early.is_zero() {
            return Err(early);
        }
        clients.insert(client, empty + self.interval);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_burst_and_then_goes_at_its_rate() {
        let limiter = RateLimiter::new(10.0, 3);
        let (one, other) = ("1.1.1.1".parse().unwrap(), "2.2.2.2".parse().unwrap());
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(limiter.check(one, start), Ok(()));
        }
        assert_eq!(limiter.check(one, start), Err(Duration::from_millis(100)));
        assert_eq!(
            limiter.check(other, start),
            Ok(()),
            "others are not concerned"
        );
        assert_eq!(
            limiter.check(one, start + Duration::from_millis(100)),
            Ok(())
        );
        assert!(
            limiter
                .check(one, start + Duration::from_millis(110))
                .is_err()
        );
    }

    #[test]
    fn addresses_of_one_ipv6_host_count_together() {
        let limiter = RateLimiter::new(1.0, 1);
        let now = Instant::now();
        assert!(limiter.check("2001:db8::1".parse().unwrap(), now).is_ok());
        assert!(limiter.check("2001:db8::2".parse().unwrap(), now).is_err());
        assert!(
            limiter
                .check("2001:db8:0:1::1".parse().unwrap(), now)
                .is_ok()
        );
    }
}
