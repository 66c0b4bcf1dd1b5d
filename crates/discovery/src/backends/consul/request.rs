//! The request that registers an instance with Consul.

use std::{collections::HashMap, time::Duration};

use consulrs::api::{
    check::common::AgentServiceCheckBuilder,
    service::{
        common::AgentWeightsBuilder,
        requests::{RegisterServiceRequest, RegisterServiceRequestBuilder},
    },
};

use crate::{Check, Registration, authority};

/// The longest that one run of a check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// The request that registers an instance with one check of its own port.
pub(super) fn register_request(registration: &Registration) -> RegisterServiceRequestBuilder {
    let target = authority(&registration.host, registration.port);
    let mut check = AgentServiceCheckBuilder::default();
    check
        .interval(millis(registration.check_interval))
        .timeout(millis(registration.check_interval.min(CHECK_TIMEOUT)))
        .status("passing")
        .deregister_critical_service_after(millis(registration.deregister_after));
    match registration.check {
        Check::Grpc => check.grpc(target),
        Check::Http => check.http(format!("http://{target}/readyz")),
        Check::Tcp => check.tcp(target),
    };
    let mut weights = AgentWeightsBuilder::default();
    weights
        .passing(registration.weight_passing)
        .warning(registration.weight_warning);
    let mut request = RegisterServiceRequest::builder();
    request
        .id(registration.id.as_str())
        .address(registration.host.as_str())
        .port(registration.port)
        .tags(registration.tags.clone())
        .meta(
            registration
                .meta
                .clone()
                .into_iter()
                .collect::<HashMap<_, _>>(),
        );
    // All fields have defaults, so neither build can fail. Otherwise Consul's defaults would do.
    if let Ok(check) = check.build() {
        request.check(check);
    }
    if let Ok(weights) = weights.build() {
        request.weights(weights);
    }
    request
}

/// A duration as Consul reads it.
pub(super) fn millis(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::tests::registration;

    fn json(registration: &Registration) -> serde_json::Value {
        let request = register_request(registration)
            .build()
            .expect("all fields have defaults");
        serde_json::to_value(request).expect("plain data")
    }

    #[test]
    fn a_registration_says_all_that_consul_takes() {
        let json = json(&registration("echo-1"));
        assert_eq!(json["ID"], "echo-1");
        assert_eq!(json["Address"], "127.0.0.1");
        assert_eq!(json["Port"], 50052);
        assert_eq!(json["Meta"]["version"], "1.0.0");
        assert_eq!(json["Weights"]["Passing"], 10);
        assert_eq!(json["Check"]["GRPC"], "127.0.0.1:50052");
        assert_eq!(json["Check"]["Status"], "passing");
        assert_eq!(json["Check"]["Interval"], "10000ms");
        assert_eq!(json["Check"]["DeregisterCriticalServiceAfter"], "60000ms");
    }

    #[test]
    fn an_http_check_asks_whether_the_port_is_ready() {
        let it = Registration {
            check: Check::Http,
            ..registration("gateway-1")
        };
        assert_eq!(json(&it)["Check"]["HTTP"], "http://127.0.0.1:50052/readyz");
    }

    #[test]
    fn a_tcp_check_of_an_ipv6_address_has_brackets() {
        let it = Registration {
            host: "::1".into(),
            check: Check::Tcp,
            ..registration("echo-1")
        };
        let json = json(&it);
        assert_eq!(json["Check"]["TCP"], "[::1]:50052");
        assert_eq!(json["Check"].get("GRPC"), None);
        assert_eq!(json["Address"], "::1");
    }
}
