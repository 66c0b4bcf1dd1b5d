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

use crate::{
    Error, LogFormat, LogOutput, TelemetryOptions, level,
    otlp::{Destination, Exporter, Signal},
    trace,
};
use lines::Lines;

/// Holds what has to be finished before the process ends.
#[derive(Debug)]
#[must_use = "spans that were not sent are lost with it"]
pub struct TelemetryGuard {
    traces: Option<Exporter>,
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
    let (filter, handle) = reload::Layer::new(options.level.targets());
    Registry::default()
        .with(lines(options).with_filter(filter))
        .try_init()
        .map_err(|_| Error::AlreadyInitialised)?;
    level::remember(options.level, handle);
    let otlp = options.otlp.as_ref();
    let traces = otlp.map(|otlp| trace::start(otlp, options)).transpose()?;
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
    /// Sends the spans that are left, for at most `limit`. It blocks the thread.
    ///
    /// # Errors
    /// When they could not be sent in time.
    pub fn shutdown(self, limit: Duration) -> Result<(), Error> {
        trace::disable();
        self.traces.map_or(Ok(()), |traces| traces.shutdown(limit))
    }
}
