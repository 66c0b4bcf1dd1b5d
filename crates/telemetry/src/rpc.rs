//! Rate, errors and duration of calls, as OpenTelemetry names them.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::RwLock;
use prometheus_client::metrics::histogram::Histogram;

use crate::MetricsRegistry;

/// What an unknown method is counted as, so that callers cannot make up labels.
pub const OTHER: &str = "_OTHER";

/// At most this many methods have a label of their own.
const MOST_METHODS: usize = 500;

/// Upper bounds in seconds, as OpenTelemetry recommends them, with two finer ones for a local call.
const BUCKETS: [f64; 16] = [
    0.000_5, 0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// The names of the gRPC status codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The name of a gRPC status code; a number that is none counts as `UNKNOWN`.
#[must_use]
pub fn code_name(code: i32) -> &'static str {
    CODES[index(code)]
}

/// Whether a status is an error of the server that answers with it, as OpenTelemetry's conventions for
/// gRPC have it. What the caller did wrong is none.
#[must_use]
pub fn is_server_error(code: i32) -> bool {
    matches!(
        code_name(code),
        "UNKNOWN"
            | "DEADLINE_EXCEEDED"
            | "UNIMPLEMENTED"
            | "INTERNAL"
            | "UNAVAILABLE"
            | "DATA_LOSS"
    )
}

fn index(code: i32) -> usize {
    let known = usize::try_from(code)
        .ok()
        .filter(|code| *code < CODES.len());
    known.unwrap_or(2)
}

crate::metrics! {
    struct CallMetrics {
        duration: Histogram ["rpc_method", "rpc_response_status_code"] = "rpc_server_call_duration_seconds":
            "Duration of served gRPC calls, until their status", || Histogram::new(BUCKETS);
    }
}

/// The calls that a server has answered. Clones count together.
#[derive(Clone, Debug)]
pub struct ServerCalls {
    metrics: CallMetrics,
    methods: Arc<RwLock<HashMap<Arc<str>, Arc<ByCode>>>>,
}

/// The histograms of one method by status code, each found in the family once: looking labels up
/// for each call would cost more than the rest of counting it.
type ByCode = [OnceLock<Histogram>; CODES.len()];

/// A method, looked up when its call begins so that the end need not.
#[derive(Clone, Debug)]
pub struct Method {
    name: Arc<str>,
    /// `None` for one that nobody has seen succeed.
    by_code: Option<Arc<ByCode>>,
}

impl Method {
    /// `pkg.Service/Method`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has a label of its own.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.by_code.is_some()
    }
}

impl ServerCalls {
    /// Registers `rpc_server_call_duration_seconds`.
    #[must_use]
    pub fn new(registry: &MetricsRegistry) -> Self {
        Self {
            metrics: CallMetrics::new(registry),
            methods: Arc::default(),
        }
    }

    /// The method of this name, `pkg.Service/Method`; a leading slash is taken too.
    #[must_use]
    pub fn method(&self, name: &str) -> Method {
        let name = name.strip_prefix('/').unwrap_or(name);
        match self.methods.read().get_key_value(name) {
            Some((name, by_code)) => Method {
                name: Arc::clone(name),
                by_code: Some(Arc::clone(by_code)),
            },
            None => Method {
                name: name.into(),
                by_code: None,
            },
        }
    }

    /// Counts one call of a method with its gRPC status code. A method gets a label of its own once
    /// a call of it has succeeded, so that whoever calls what does not exist makes no labels.
    pub fn observe(&self, method: &Method, code: i32, duration: Duration) {
        let seconds = duration.as_secs_f64();
        match &method.by_code {
            Some(by_code) => self.count(&method.name, by_code, code, seconds),
            None => match self.label(&method.name, code == 0) {
                Some(by_code) => self.count(&method.name, &by_code, code, seconds),
                None => self.find(&OTHER.into(), code).observe(seconds),
            },
        }
    }

    /// Lets methods have a label from the start.
    pub fn know<'a>(&self, methods: impl IntoIterator<Item = &'a str>) {
        self.methods.write().extend(
            methods
                .into_iter()
                .map(|name| (name.into(), Arc::default())),
        );
    }

    fn count(&self, name: &Arc<str>, by_code: &ByCode, code: i32, seconds: f64) {
        by_code[index(code)]
            .get_or_init(|| self.find(name, code))
            .observe(seconds);
    }

    fn find(&self, name: &Arc<str>, code: i32) -> Histogram {
        self.metrics.duration.of([name, code_name(code)])
    }

    /// The histograms of a method that has a label, or gets one now.
    fn label(&self, name: &Arc<str>, exists: bool) -> Option<Arc<ByCode>> {
        let mut methods = self.methods.write();
        if let Some(known) = methods.get(name) {
            return Some(Arc::clone(known));
        }
        (exists && methods.len() < MOST_METHODS).then(|| {
            let by_code = Arc::<ByCode>::default();
            methods.insert(Arc::clone(name), Arc::clone(&by_code));
            by_code
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(registry: &MetricsRegistry, method: &str, code: &str) -> Option<f64> {
        registry.sample(&format!(
            "rpc_server_call_duration_seconds_count\
             {{rpc_method=\"{method}\",rpc_response_status_code=\"{code}\"}}"
        ))
    }

    #[test]
    fn what_the_caller_did_wrong_is_no_error_of_the_server() {
        let errors: Vec<_> = (0..17).filter(|code| is_server_error(*code)).collect();
        assert_eq!(errors, [2, 4, 12, 13, 14, 15]);
        assert!(is_server_error(99), "an unknown number counts as UNKNOWN");
    }

    #[test]
    fn unknown_methods_share_one_label() {
        let registry = MetricsRegistry::new();
        let calls = ServerCalls::new(&registry);
        calls.know(["pkg.Known/Call"]);
        for method in ["/made.Up/One", "/made.Up/Two", "/pkg.Known/Call"] {
            calls.observe(&calls.method(method), 12, Duration::from_millis(1));
        }
        assert_eq!(count(&registry, OTHER, "UNIMPLEMENTED"), Some(2.0));
        assert_eq!(
            count(&registry, "pkg.Known/Call", "UNIMPLEMENTED"),
            Some(1.0)
        );
    }

    #[test]
    fn a_method_that_answered_gets_its_own_label() {
        let registry = MetricsRegistry::new();
        let calls = ServerCalls::new(&registry);
        calls.observe(
            &calls.method("/pkg.Service/Method"),
            0,
            Duration::from_millis(2),
        );
        calls.observe(
            &calls.method("/pkg.Service/Method"),
            14,
            Duration::from_millis(2),
        );
        assert_eq!(
            count(&registry, "pkg.Service/Method", "UNAVAILABLE"),
            Some(1.0)
        );
    }

    #[test]
    fn codes_have_their_grpc_names() {
        assert_eq!((code_name(0), code_name(14)), ("OK", "UNAVAILABLE"));
        assert_eq!((code_name(-1), code_name(99)), ("UNKNOWN", "UNKNOWN"));
    }
}
