//! The process's log: text for a person at a terminal, JSON for a collector.

mod export;
mod format;
mod lines;
mod record;
mod repeats;

use std::{
    io::{IsTerminal as _, stderr, stdout},
    sync::Arc,
    time::{Duration, Instant},
};

use tracing_subscriber::{
    Layer as _, Registry, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

use crate::{
    Error, LogFormat, LogOutput, TelemetryOptions, level,
    otlp::{Destination, Exporter, Queue, Resource, Signal},
    trace,
};
use lines::Lines;

/// Holds what has to be finished before the process ends.
#[derive(Debug)]
#[must_use = "spans and lines that were not sent are lost with it"]
pub struct TelemetryGuard {
    traces: Option<Exporter>,
    logs: Option<Exporter>,
}

/// Sets up the process's log, and its traces when there is an OTLP collector.
///
/// # Errors
/// When it was called before, or the collector's address or certificate will not do. A collector that
/// is not there is no error: spans wait for it, and are dropped when too many do.
pub fn init(options: &TelemetryOptions) -> Result<TelemetryGuard, Error> {
    if let Some(otlp) = &options.otlp {
        // What is wrong with it is told without a log.
        Destination::new(otlp, Signal::Spans)?;
    }
    let otlp = options.otlp.as_ref();
    let collector = otlp.filter(|_| options.otlp_logs);
    let queue = collector.map(|_| Arc::new(Queue::new(Signal::Logs)));
    let (filter, handle) = reload::Layer::new(options.level.targets());
    Registry::default()
        .with(lines(options, queue.clone()).with_filter(filter))
        .try_init()
        .map_err(|_| Error::AlreadyInitialised)?;
    level::remember(options.level, handle);
    let traces = otlp.map(|otlp| trace::start(otlp, options)).transpose()?;
    let logs = match collector.zip(queue) {
        Some((otlp, queue)) => {
            let to = Destination::new(otlp, Signal::Logs)?;
            Some(Exporter::start(queue, Resource::of(options), to)?)
        }
        None => None,
    };
    if options.otlp_logs && otlp.is_none() {
        tracing::warn!("otel_logs sends nothing: otlp_endpoint names no collector");
    }
    Ok(TelemetryGuard { traces, logs })
}

fn lines(options: &TelemetryOptions, collector: Option<Arc<Queue>>) -> Lines {
    let terminal = match options.output {
        LogOutput::Stdout => stdout().is_terminal(),
        LogOutput::Stderr => stderr().is_terminal(),
    };
    let json = match options.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    Lines::new(options.output, json, terminal, collector)
}

impl TelemetryGuard {
    /// Sends the spans and lines that are left, for at most `limit`. It blocks the thread.
    ///
    /// # Errors
    /// When they could not be sent in time.
    pub fn shutdown(self, limit: Duration) -> Result<(), Error> {
        trace::disable();
        let until = Instant::now() + limit;
        let mut sent = Ok(());
        for exporter in [self.traces, self.logs].into_iter().flatten() {
            let left = until.saturating_duration_since(Instant::now());
            sent = sent.and(exporter.shutdown(left));
        }
        sent
    }
}
