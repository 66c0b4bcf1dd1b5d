//! The keys of traces, and of the collector that takes them.

use std::{path::PathBuf, time::Duration};

use config::{Secret, duration, integer, number, optional, path, secret, switch, word};
use telemetry::{OtlpOptions, OtlpProtocol, TraceOptions, otlp_headers};

use super::U32;

config::keys! {
    /// Traces, and the collector that takes them.
    #[derive(Clone, Debug)]
    pub(crate) struct TraceKeys: "Traces" {
        /// Address of the OTLP collector. Empty: no traces.
        otlp_endpoint: Option<String> = optional()
            .only(is_url, "an http or https URL such as http://localhost:4317")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT"),
        /// How the collector is spoken to. `http/protobuf` appends `/v1/traces` to the address.
        otlp_protocol: OtlpProtocol = word("grpc", &["grpc", "http/protobuf"], |word| word.parse().ok())
            .env("OTEL_EXPORTER_OTLP_PROTOCOL"),
        /// Headers of every request to the collector, such as `api-key=s3cret,team=a`. Values are
        /// percent-encoded.
        otlp_headers: Option<Secret> = secret()
            .only(are_headers, "headers such as name=value,other=value")
            .env("OTEL_EXPORTER_OTLP_HEADERS"),
        /// PEM file of the authorities that sign the collector's certificate. Empty: the system's.
        otlp_certificate: Option<PathBuf> = path().env("OTEL_EXPORTER_OTLP_CERTIFICATE"),
        /// `service.name` of traces. Empty: the Consul name.
        otel_service_name: Option<String> = optional(),
        /// Share of the traces beginning here that is recorded.
        trace_ratio: f64 = number(1.0, 0.0..=1.0, "of traces").zero("none"),
        /// A call that takes longer is exported once it has ended, though its trace is not recorded.
        trace_slow: Duration = duration("0s").zero("no call for being slow"),
        /// How many failed or slow calls of traces that are not recorded are exported each second.
        trace_errors: u32 = integer(10, 0..=U32, "calls").zero("none"),
        /// Record the text of prompts and answers in the spans of models.
        trace_content: bool = switch("false"),
    }
}

impl TraceKeys {
    /// Where spans go.
    pub(crate) fn otlp(&self) -> Option<OtlpOptions> {
        let headers = self.otlp_headers.as_ref();
        Some(OtlpOptions {
            endpoint: self.otlp_endpoint.clone()?,
            protocol: self.otlp_protocol,
            headers: headers
                .and_then(|text| otlp_headers(text.expose()))
                .unwrap_or_default(),
            certificate: self.otlp_certificate.clone(),
        })
    }

    /// Which spans there are.
    pub(crate) fn traces(&self) -> TraceOptions {
        TraceOptions {
            ratio: self.trace_ratio,
            slow: self.trace_slow,
            errors: self.trace_errors,
            content: self.trace_content,
        }
    }
}

fn is_url(text: &str) -> bool {
    text.parse::<http::Uri>()
        .is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
}

fn are_headers(text: &str) -> bool {
    otlp_headers(text).is_some()
}
