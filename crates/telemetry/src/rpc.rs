//! Rate, errors and duration of calls, as OpenTelemetry names them.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::RwLock;

use crate::{Histogram, Labelled, MetricsRegistry, TraceContext};

/// What an unknown method is counted as, so that callers cannot make up labels.
pub const OTHER: &str = "_OTHER";

/// At most this many methods have a label of their own, and this many services.
const MOST_METHODS: usize = 1000;
const MOST_SERVICES: usize = 1000;

/// Upper bounds in seconds, as OpenTelemetry recommends them, with two finer ones for a local call
/// and four for agents, which take minutes.
const BUCKETS: [f64; 20] = [
    0.000_5, 0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5,
    10.0, 30.0, 60.0, 300.0, 900.0,
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
    struct ServerMetrics {
        duration: Histogram ["service", "rpc_method", "rpc_response_status_code"] = "rpc_server_call_duration_seconds":
            "Duration of served gRPC calls, until their status; routers say for which service", || Histogram::new(BUCKETS);
    }
}

crate::metrics! {
    struct ClientMetrics {
        duration: Histogram ["service", "rpc_method", "rpc_response_status_code", "via"] = "rpc_client_call_duration_seconds":
            "Duration of gRPC calls to other services with all their attempts, until their status; via is router where a router carries them, which counts them too",
            || Histogram::new(BUCKETS);
    }
}

/// The calls that a server has answered. Clones count together.
#[derive(Clone, Debug)]
pub struct ServerCalls(Arc<CallDurations>);

/// The calls that a program has made. Clones count together.
#[derive(Clone, Debug)]
pub struct ClientCalls {
    direct: Arc<CallDurations>,
    /// Those that a router carries.
    routed: Arc<CallDurations>,
}

/// The histograms of served calls, or of calls that are made by one way.
#[derive(Debug)]
enum Family {
    Served(Labelled<Histogram, 3>),
    Made(Labelled<Histogram, 4>, &'static str),
}

#[derive(Debug)]
struct CallDurations {
    family: Family,
    /// The name of the server's own service, where calls are counted by service; else empty.
    own: String,
    services: RwLock<Services>,
}

#[derive(Debug, Default)]
struct Services {
    by_name: HashMap<Arc<str>, Methods>,
    /// Methods with a label of their own, of all services.
    methods: usize,
}

type Methods = HashMap<Arc<str>, Arc<ByCode>>;

/// The histograms of one method by status code, each found in the family once: looking labels up
/// for each call would cost more than the rest of counting it.
type ByCode = [OnceLock<Histogram>; CODES.len()];

/// A method of the server's own service, looked up when its call begins so that the end need not.
#[derive(Clone, Debug)]
pub struct Method {
    name: Arc<str>,
    /// `None` for one that nobody has seen succeed.
    by_code: Option<Arc<ByCode>>,
    /// The first other service that a call of it was counted for. Where a route is kept, that is the
    /// service of all its calls, and they need not look it up.
    routed: OnceLock<(Arc<str>, Arc<ByCode>)>,
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
    /// Registers `rpc_server_call_duration_seconds`. `own` is the name of the server's own service
    /// where it serves the calls of others too, as a router does: each call is then counted by the
    /// service that it is for. Empty for a server that serves its own.
    #[must_use]
    pub fn new(registry: &MetricsRegistry, own: &str) -> Self {
        let family = Family::Served(ServerMetrics::new(registry).duration);
        Self(Arc::new(CallDurations::new(family, own)))
    }

    /// The method of this name, `pkg.Service/Method`; a leading slash is taken too.
    #[must_use]
    pub fn method(&self, name: &str) -> Method {
        let name = name.strip_prefix('/').unwrap_or(name);
        let services = self.0.services.read();
        let own = services.by_name.get(&*self.0.own);
        match own.and_then(|methods| methods.get_key_value(name)) {
            Some((name, by_code)) => Method {
                name: Arc::clone(name),
                by_code: Some(Arc::clone(by_code)),
                routed: OnceLock::new(),
            },
            None => Method {
                name: name.into(),
                by_code: None,
                routed: OnceLock::new(),
            },
        }
    }

    /// Counts one call of a method of the server's own service, with its gRPC status code. A method
    /// gets a label of its own once a call of it has succeeded, so that whoever calls what does not
    /// exist makes no labels. The trace becomes an
    /// exemplar if it is recorded.
    pub fn observe(
        &self,
        method: &Method,
        code: i32,
        duration: Duration,
        trace: Option<TraceContext>,
    ) {
        let calls = &self.0;
        match &method.by_code {
            Some(by_code) => {
                let found =
                    by_code[index(code)].get_or_init(|| calls.find(&calls.own, &method.name, code));
                found.observe_of(duration.as_secs_f64(), trace);
            }
            None => drop(calls.observe(&calls.own, &method.name, code, duration, trace)),
        }
    }

    /// Counts one call that was for another service; `None` for a call that named none. The service
    /// has to be one of the registry.
    pub fn observe_for(
        &self,
        service: Option<&str>,
        method: &Method,
        code: i32,
        duration: Duration,
        trace: Option<TraceContext>,
    ) {
        let service = service.unwrap_or(OTHER);
        if let Some((known, by_code)) = method.routed.get()
            && **known == *service
        {
            by_code[index(code)]
                .get_or_init(|| self.0.find(service, &method.name, code))
                .observe_of(duration.as_secs_f64(), trace);
            return;
        }
        let found = self.0.observe(service, &method.name, code, duration, trace);
        if let Some(by_code) = found {
            // It is set already where calls go to several services in turn.
            method.routed.set((service.into(), by_code)).ok();
        }
    }

    /// Lets methods of the server's own service have a label from the start.
    pub fn know<'a>(&self, methods: impl IntoIterator<Item = &'a str>) {
        let mut services = self.0.services.write();
        for name in methods {
            services.methods += 1;
            let own = services.by_name.entry(self.0.own.as_str().into());
            own.or_default().insert(name.into(), Arc::default());
        }
    }
}

impl ClientCalls {
    /// Registers `rpc_client_call_duration_seconds`.
    #[must_use]
    pub fn new(registry: &MetricsRegistry) -> Self {
        let family = ClientMetrics::new(registry).duration;
        let by = |way| Arc::new(CallDurations::new(Family::Made(family.clone(), way), ""));
        Self {
            direct: by(""),
            routed: by("router"),
        }
    }

    /// Counts one call with its gRPC status code. `service` is `None` for one that the registry
    /// does not know. A method gets a label of its own once a call of it has succeeded.
    pub fn observe(
        &self,
        service: Option<&str>,
        method: &str,
        code: i32,
        duration: Duration,
        trace: Option<TraceContext>,
    ) {
        self.direct
            .observe_call(service, method, code, duration, trace);
    }

    /// The same for a call that a router carries.
    pub fn observe_routed(
        &self,
        service: Option<&str>,
        method: &str,
        code: i32,
        duration: Duration,
        trace: Option<TraceContext>,
    ) {
        self.routed
            .observe_call(service, method, code, duration, trace);
    }
}

impl CallDurations {
    fn new(family: Family, own: &str) -> Self {
        Self {
            family,
            own: own.to_owned(),
            services: RwLock::default(),
        }
    }

    /// Counts a call that this program made, by its path.
    fn observe_call(
        &self,
        service: Option<&str>,
        method: &str,
        code: i32,
        duration: Duration,
        trace: Option<TraceContext>,
    ) {
        let method = method.strip_prefix('/').unwrap_or(method);
        drop(self.observe(service.unwrap_or(OTHER), method, code, duration, trace));
    }

    /// Counts a call; returns the histograms of its method, if it has a label.
    fn observe(
        &self,
        service: &str,
        method: &str,
        code: i32,
        duration: Duration,
        trace: Option<TraceContext>,
    ) -> Option<Arc<ByCode>> {
        let known = {
            let services = self.services.read();
            let methods = services.by_name.get(service);
            methods.and_then(|methods| methods.get(method).cloned())
        };
        let seconds = duration.as_secs_f64();
        let found = known.or_else(|| self.label(service, method, code == 0));
        match &found {
            Some(by_code) => by_code[index(code)]
                .get_or_init(|| self.find(service, method, code))
                .observe_of(seconds, trace),
            None => {
                let service = self.known_service(service);
                self.find(service, OTHER, code).observe_of(seconds, trace);
            }
        }
        found
    }

    fn find(&self, service: &str, method: &str, code: i32) -> Histogram {
        let code = code_name(code);
        match &self.family {
            Family::Served(family) => family.of([service, method, code]),
            Family::Made(family, way) => family.of([service, method, code, way]),
        }
    }

    /// The histograms of a method that gets a label now, since a call of it has succeeded.
    fn label(&self, service: &str, method: &str, succeeded: bool) -> Option<Arc<ByCode>> {
        if !succeeded || service == OTHER {
            return None;
        }
        let mut services = self.services.write();
        let full = services.by_name.len() >= MOST_SERVICES;
        if services.methods >= MOST_METHODS || (full && !services.by_name.contains_key(service)) {
            return None;
        }
        let methods = services.by_name.entry(service.into()).or_default();
        if let Some(known) = methods.get(method) {
            return Some(Arc::clone(known));
        }
        let by_code = Arc::<ByCode>::default();
        methods.insert(method.into(), Arc::clone(&by_code));
        services.methods += 1;
        Some(by_code)
    }

    /// The label of a service: its name, while there are not too many.
    fn known_service<'a>(&self, service: &'a str) -> &'a str {
        if service == self.own {
            return service;
        }
        {
            let services = self.services.read();
            if services.by_name.contains_key(service) {
                return service;
            }
        }
        let mut services = self.services.write();
        if services.by_name.len() >= MOST_SERVICES {
            return OTHER;
        }
        services.by_name.entry(service.into()).or_default();
        service
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
        let calls = ServerCalls::new(&registry, "");
        calls.know(["pkg.Known/Call"]);
        for method in ["/made.Up/One", "/made.Up/Two", "/pkg.Known/Call"] {
            calls.observe(&calls.method(method), 12, Duration::from_millis(1), None);
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
        let calls = ServerCalls::new(&registry, "");
        calls.observe(
            &calls.method("/pkg.Service/Method"),
            0,
            Duration::from_millis(2),
            None,
        );
        calls.observe(
            &calls.method("/pkg.Service/Method"),
            14,
            Duration::from_millis(2),
            None,
        );
        assert_eq!(
            count(&registry, "pkg.Service/Method", "UNAVAILABLE"),
            Some(1.0)
        );
    }

    #[test]
    fn a_router_counts_by_service_and_made_up_names_share_one_label() {
        let registry = MetricsRegistry::new();
        let calls = ServerCalls::new(&registry, "mcp-router");
        let took = Duration::from_millis(2);
        let count = |service: &str, method: &str, code: &str| {
            registry.sample(&format!(
                "rpc_server_call_duration_seconds_count{{service=\"{service}\",\
                 rpc_method=\"{method}\",rpc_response_status_code=\"{code}\"}}"
            ))
        };
        let good = calls.method("/pkg.Service/Method");
        calls.observe(&good, 0, took, None);
        for service in ["agent-a", "agent-b"] {
            calls.observe_for(Some(service), &good, 0, took, None);
        }
        calls.observe_for(None, &good, 5, took, None);
        assert_eq!(count("mcp-router", "pkg.Service/Method", "OK"), Some(1.0));
        assert_eq!(count("agent-b", "pkg.Service/Method", "OK"), Some(1.0));
        assert_eq!(count(OTHER, OTHER, "NOT_FOUND"), Some(1.0));
        for number in 0..10_000 {
            let made_up = calls.method(&format!("made.Up/Method{number}"));
            calls.observe_for(Some("agent-a"), &made_up, 12, took, None);
            // A service that answers whatever it is asked.
            calls.observe_for(Some("agent-b"), &made_up, 0, took, None);
            calls.observe_for(Some(&format!("agent-{number}")), &made_up, 14, took, None);
        }
        assert_eq!(count("agent-a", OTHER, "UNIMPLEMENTED"), Some(10_000.0));
        let Family::Served(family) = &calls.0.family else {
            panic!("calls that are served");
        };
        let series = family.len();
        assert!(series <= MOST_METHODS + MOST_SERVICES + 5, "{series}");
    }

    #[test]
    fn codes_have_their_grpc_names() {
        assert_eq!((code_name(0), code_name(14)), ("OK", "UNAVAILABLE"));
        assert_eq!((code_name(-1), code_name(99)), ("UNKNOWN", "UNKNOWN"));
    }
}
