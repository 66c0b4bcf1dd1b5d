//! The health of an endpoint.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::DropGuard;

use crate::ClusterOptions;

/// Why an instance should get no calls; nothing by default.
#[derive(Default)]
pub(crate) struct HealthState {
    /// It cannot be connected to.
    pub(crate) connect_failure: Option<ConnectFailure>,
    /// Its calls and its health check are silent.
    pub(crate) silent: bool,
    /// It failed too often in a row.
    ejected_until: Option<Instant>,
    ejections: u32,
}

/// An instance that cannot be connected to.
pub(crate) struct ConnectFailure {
    pub(crate) reason: String,
    /// Ends the retries of the connect when this is dropped.
    pub(crate) _attempts: DropGuard,
}

/// The health of an endpoint for calls, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndpointHealth {
    /// It has no problem.
    Usable,
    /// It failed too often in a row and gets no calls for some time.
    Ejected,
    /// It cannot be connected to, or neither its calls nor its health check answer.
    Unreachable,
}

impl HealthState {
    pub(crate) fn health(&self) -> EndpointHealth {
        if self.connect_failure.is_some() || self.silent {
            EndpointHealth::Unreachable
        } else if self.is_ejected() {
            EndpointHealth::Ejected
        } else {
            EndpointHealth::Usable
        }
    }

    /// Whether it is ejected for failures.
    pub(crate) fn is_ejected(&self) -> bool {
        self.ejected_until.is_some()
    }

    /// Ejects it for a time that grows with its number of ejections.
    pub(crate) fn eject(&mut self, options: &ClusterOptions, now: Instant) -> Duration {
        self.ejections += 1;
        let time = options
            .ejection_time
            .saturating_mul(self.ejections)
            .min(options.ejection_max);
        self.ejected_until = Some(now + time);
        time
    }

    /// Ends an ejection whose time is over. True when it did.
    pub(crate) fn readmit(&mut self, now: Instant) -> bool {
        self.ejected_until.take_if(|until| *until <= now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ejection_lasts_longer_up_to_the_limit() {
        let options = ClusterOptions::default();
        let mut health_state = HealthState::default();
        let mut now = Instant::now();
        for seconds in [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300] {
            let time = health_state.eject(&options, now);
            assert_eq!(time, Duration::from_secs(seconds));
            assert_eq!(health_state.health(), EndpointHealth::Ejected);
            assert!(!health_state.readmit(now + time - Duration::from_millis(1)));
            now += time;
            assert!(health_state.readmit(now) && !health_state.readmit(now));
            assert_eq!(health_state.health(), EndpointHealth::Usable);
        }
    }

    #[test]
    fn who_cannot_be_reached_is_not_merely_ejected() {
        let mut health_state = HealthState {
            silent: true,
            ..HealthState::default()
        };
        health_state.eject(&ClusterOptions::default(), Instant::now());
        assert_eq!(health_state.health(), EndpointHealth::Unreachable);
    }
}
