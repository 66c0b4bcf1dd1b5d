//! What the calls to one service share: its endpoints, retry budget and counters.

use std::{sync::Arc, time::Duration};

use arc_swap::Guard;
use cluster::{ClusterOptions, Shared};
use discovery::Discovery;
use http::uri::Authority;

use crate::{
    connections::{Cluster, Endpoint},
    metrics::{ChannelMetrics, ServiceCounts},
    orca,
    retry::Retry,
    retry_budget::RetryBudget,
};

/// One service, as its callers use it.
pub(crate) struct ClusterClient {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) shared: Arc<Shared>,
    /// What its instances are called in requests. A service's name may not be a valid authority.
    pub(crate) authority: Authority,
    discovery: Arc<dyn Discovery>,
    budget: RetryBudget,
    pub(crate) metrics: ChannelMetrics,
    pub(crate) counts: ServiceCounts,
}

impl ClusterClient {
    pub(crate) fn new(
        service: &str,
        discovery: &Arc<dyn Discovery>,
        shared: &Arc<Shared>,
        metrics: &ChannelMetrics,
    ) -> Self {
        Self {
            authority: service
                .parse()
                .unwrap_or_else(|_| Authority::from_static("localhost")),
            discovery: Arc::clone(discovery),
            cluster: Arc::new(Cluster::new(service, shared)),
            shared: Arc::clone(shared),
            budget: RetryBudget::default(),
            counts: ServiceCounts::default(),
            metrics: metrics.clone(),
        }
    }

    /// The present limits and timeouts of its calls.
    pub(crate) fn options(&self) -> Guard<Arc<ClusterOptions>> {
        self.cluster.options()
    }

    /// Time on the clock of its endpoints.
    pub(crate) fn now(&self) -> Duration {
        self.shared.clock.now()
    }

    /// Why the registry does not answer, if it does not.
    pub(crate) fn registry_error(&self) -> Option<String> {
        Some(self.discovery.last_error()?.to_string())
    }

    /// Whether the registry names it and shows none of its instances.
    pub(crate) fn is_hidden(&self) -> bool {
        self.discovery.hides(self.cluster.service())
    }

    /// A call begins and earns a part of a retry.
    pub(crate) fn deposit(&self, now: Duration) {
        self.budget.deposit(self.options().retry_ratio, now);
    }

    /// Takes a retry from the budget, if there is one.
    pub(crate) fn withdraw(&self) -> bool {
        let (ratio, per_second) = {
            let options = self.options();
            (options.retry_ratio, options.retry_per_second)
        };
        self.budget.withdraw(ratio, per_second, self.now())
    }

    /// How many retries the budget allows now.
    pub(crate) fn retries_left(&self) -> i64 {
        let (ratio, per_second) = {
            let options = self.options();
            (options.retry_ratio, options.retry_per_second)
        };
        self.budget.left(ratio, per_second, self.now())
    }

    /// Notes that no instance took a call.
    pub(crate) fn refused(&self) {
        self.metrics.refused(self);
    }

    /// Passes an endpoint's load report in trailers, which `field` looks up, to the policy if it
    /// uses reports.
    pub(crate) fn report<'a>(&self, endpoint: &Endpoint, field: impl Fn(&str) -> Option<&'a [u8]>) {
        if self.cluster.wants_reports()
            && let Some(report) = orca::read(field)
        {
            endpoint.report(&report);
        }
    }

    /// How long a call waits for one instance before it is also sent to another. `None` when it may
    /// not run twice, or there is no other. The first instance says which methods are idempotent.
    pub(crate) fn hedge_delay(&self, method: &str, declared: bool) -> Option<Duration> {
        let options = self.options();
        let delay = options.hedge_delay;
        if delay.is_zero() || options.hedge_max < 2 {
            return None;
        }
        let snapshot = self.cluster.snapshot();
        let [first, _, ..] = &snapshot.members[..] else {
            return None;
        };
        (declared || first.instance().is_idempotent(method)).then_some(delay)
    }

    /// Whether a call may be sent again after its `number`-th attempt. Counts the retry if so.
    pub(crate) fn may_retry(
        &self,
        retry: Retry,
        number: usize,
        repeatable: bool,
        idempotent: bool,
        endpoint: &Endpoint,
    ) -> bool {
        if number >= self.options().max_attempts || !repeatable {
            return false;
        }
        let reason = match retry {
            Retry::IfUnsent => "unsent",
            Retry::IfIdempotent if idempotent && self.withdraw() => "idempotent",
            Retry::IfIdempotent | Retry::Never => return false,
        };
        self.retried(reason, endpoint);
        true
    }

    /// Whether a call that may not be sent again could have been, but for `max_attempts` or the
    /// retry budget.
    pub(crate) fn retries_exhausted(
        &self,
        retry: Retry,
        repeatable: bool,
        idempotent: bool,
    ) -> bool {
        let repeats = match retry {
            Retry::IfUnsent => true,
            Retry::IfIdempotent => idempotent,
            Retry::Never => false,
        };
        repeats && repeatable && self.options().max_attempts > 1
    }

    /// Counts another attempt, after or beside this endpoint's.
    pub(crate) fn retried(&self, reason: &'static str, endpoint: &Endpoint) {
        self.counts
            .retried(self.cluster.service(), reason, &endpoint.id());
    }
}
