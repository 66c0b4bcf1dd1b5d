//! The metrics of every program: what it is, whether it is ready, how the registry knows it, and how
//! late its threads are.

use std::sync::Arc;

use discovery::{Discovery, Registrar};
use telemetry::{Counter, FloatGauge, Gauge, MetricsRegistry};

use crate::{Context, Spec};

telemetry::metrics! {
    /// The chassis' own.
    pub(crate) struct ChassisMetrics {
        build_info: Gauge ["program", "service", "kind", "version"] = "mesh_build_info": "What this program is; always 1";
        ready: Gauge = "mesh_ready": "Whether the program takes calls, as /readyz says: 1 or 0";
        registry_up: Gauge = "mesh_registry_up":
            "Whether the registry answers and shows what it is asked for: 1 or 0";
        registered: Gauge = "mesh_registry_registered":
            "Whether the registry had this instance when it was last asked: 1 or 0";
        last_answer: FloatGauge = "mesh_registry_last_answer_seconds": "How long ago the registry last answered";
        answers: Counter ["outcome"] = "mesh_registry_answers":
            "Requests to the registry by outcome: ok, refused, failed or unreachable";
    }
}

impl ChassisMetrics {
    /// Registers them, and those of the process.
    pub(crate) fn start(spec: &Spec, registry: &MetricsRegistry) -> Self {
        let metrics = Self::new(registry);
        let what = [spec.program, spec.service, spec.kind.name(), spec.version];
        metrics.build_info.of(what).set(1);
        telemetry::register_process(registry);
        telemetry::register_dropped(registry);
        metrics
    }

    /// Brings them up to date before each scrape, from the begin of the registration on.
    pub(crate) fn follow(self, context: &Context, registrar: &Registrar) {
        let (conditions, draining) = (context.conditions.clone(), context.draining.clone());
        let discovery: Arc<dyn Discovery> = Arc::clone(&context.discovery);
        let (registered, last_error) = (registrar.registered(), registrar.last_error());
        context.registry.before_scrape(move || {
            let ready = !draining.is_cancelled() && conditions.readiness().0.is_success();
            self.ready.set(i64::from(ready));
            let status = discovery.status();
            let up =
                status.error.is_none() && status.hidden.is_empty() && last_error.lock().is_none();
            self.registry_up.set(i64::from(up));
            self.registered.set(i64::from(*registered.borrow()));
            let age = status.last_answer.map_or(f64::NAN, |age| age.as_secs_f64());
            self.last_answer.set(age);
            for (outcome, count) in status.answers {
                self.answers.of([outcome]).set(count);
            }
        });
        let (lag, shutdown) = (context.loop_lag.clone(), context.shutdown.clone());
        context.tracker.spawn(async move {
            shutdown.run_until_cancelled(lag.measure("runtime")).await;
        });
    }
}
