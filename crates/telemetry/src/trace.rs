//! Spans, exported over OTLP in batches. Without an endpoint nothing of this exists, and whoever
//! makes spans for calls asks [`tracing_enabled`] first, so that they cost nothing.

mod context;

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use tracing::{Metadata, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};

use crate::{
    Error, TelemetryOptions,
    level::{NOISY, SILENT},
};

pub use context::{SpanId, TRACEPARENT, TRACESTATE, TraceContext, TraceId};

static ENABLED: AtomicBool = AtomicBool::new(false);

/// Whether spans are exported: ask before making one for a call.
#[must_use]
pub fn tracing_enabled() -> bool {
    ENABLED.load(Relaxed)
}

pub(crate) fn enable(on: bool) {
    ENABLED.store(on, Relaxed);
}

/// The pipeline to a collector.
#[derive(Debug)]
pub(crate) struct Exporter {
    provider: SdkTracerProvider,
}

impl Exporter {
    pub(crate) fn new(endpoint: &str, options: &TelemetryOptions) -> Result<Self, Error> {
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .build()
            .map_err(|error| Error::Endpoint {
                endpoint: endpoint.to_owned(),
                reason: error.to_string(),
            })?;
        let resource = Resource::builder()
            .with_service_name(options.service_name.clone())
            .with_attribute(KeyValue::new(
                "service.instance.id",
                options.instance_id.clone(),
            ))
            .build();
        context::set_ratio(options.sample_ratio);
        let root = Sampler::TraceIdRatioBased(options.sample_ratio.clamp(0.0, 1.0));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(root)))
            .with_resource(resource)
            .build();
        Ok(Self { provider })
    }

    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("mesh"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(is_ours))
    }

    /// Blocks until the spans left are sent, or `limit` has passed.
    pub(crate) fn shutdown(self, limit: Duration) -> Result<(), Error> {
        self.provider
            .shutdown_with_timeout(limit)
            .map_err(|error| Error::Flush(error.to_string()))
    }
}

/// The exporter's own calls go through h2, hyper and tonic: spans of these would export themselves.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    let root = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= LevelFilter::INFO && !NOISY.contains(&root) && !SILENT.contains(&root)
}
