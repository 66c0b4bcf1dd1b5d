//! The process's log: text for a person at a terminal, JSON for a collector.

mod format;
mod lines;
mod record;
mod repeats;

use std::{
    io::{IsTerminal as _, stderr, stdout},
    time::Duration,
};

use tracing_subscriber::{
    Layer as _, Registry, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

use crate::{Error, LogFormat, LogOutput, TelemetryOptions, level, trace};
use lines::Lines;

/// Holds what has to be finished before the process ends.
#[derive(Debug)]
#[must_use = "spans that were not sent are lost with it"]
pub struct TelemetryGuard {
    traces: Option<trace::Exporter>,
}

/// Sets up the process's log, and its traces when an OTLP endpoint is given. In that case it must
/// be called within a tokio runtime, which the exporter then uses.
///
/// # Errors
/// When it was called before, or the endpoint is not a URL. A collector that is not there is no
/// error: spans are dropped until it is.
pub fn init(options: &TelemetryOptions) -> Result<TelemetryGuard, Error> {
    let traces = match &options.otlp_endpoint {
        Some(endpoint) => Some(trace::Exporter::new(endpoint, options)?),
        None => None,
    };
    let (filter, handle) = reload::Layer::new(options.level.targets());
    Registry::default()
        .with(lines(options).with_filter(filter))
        .with(traces.as_ref().map(trace::Exporter::layer))
        .try_init()
        .map_err(|_| Error::AlreadyInitialised)?;
    level::remember(options.level, handle);
    trace::enable(traces.is_some());
    Ok(TelemetryGuard { traces })
}

fn lines(options: &TelemetryOptions) -> Lines {
    let terminal = match options.output {
        LogOutput::Stdout => stdout().is_terminal(),
        LogOutput::Stderr => stderr().is_terminal(),
    };
    let json = match options.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    Lines::new(options.output, json, terminal)
}

impl TelemetryGuard {
    /// Sends the spans that are left, for at most `limit`. It blocks the thread, and the runtime
    /// of [`init`] has to be running still.
    ///
    /// # Errors
    /// When they could not be sent in time.
    pub fn shutdown(self, limit: Duration) -> Result<(), Error> {
        trace::enable(false);
        self.traces.map_or(Ok(()), |traces| traces.shutdown(limit))
    }
}
