//! How many requests one client may send.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use service::{TokenBucket, TokenRate, clients::client_key};

/// How many clients are remembered before those whose buckets are full are forgotten.
const SWEEP_ABOVE: usize = 65_536;

/// Limits each client by its address.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    /// `None` for no limit.
    rate: Option<TokenRate>,
    clients: Mutex<HashMap<IpAddr, TokenBucket>>,
}

impl RateLimiter {
    pub(crate) fn new(rate: f64, burst: u64) -> Self {
        Self {
            rate: (rate > 0.0).then(|| TokenRate::new(rate, burst as f64)),
            clients: Mutex::default(),
        }
    }

    /// Takes one request, or says how long to wait.
    pub(crate) fn check(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        let Some(rate) = self.rate else {
            return Ok(());
        };
        let mut clients = self.clients.lock();
        if clients.len() >= SWEEP_ABOVE {
            clients.retain(|_, bucket| !bucket.is_full(now));
        }
        let bucket = clients
            .entry(client_key(client))
            .or_insert_with(|| TokenBucket::full(now));
        bucket.take(rate, now)
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
