//! The process's log: text for a person at a terminal, JSON for a collector.

use std::{
    borrow::Cow,
    io::{self, IsTerminal as _, Write, stderr, stdout},
    time::Duration,
};

use tracing_subscriber::{
    Layer as _, Registry, fmt, layer::SubscriberExt as _, registry::LookupSpan, reload,
    util::SubscriberInitExt as _,
};

use crate::{
    Error, LogFormat, LogOutput, TelemetryOptions, level,
    otlp::{Destination, Exporter, Signal},
    redact, redact_json, trace,
};

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

fn lines<S>(options: &TelemetryOptions) -> Box<dyn tracing_subscriber::Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let terminal = match options.output {
        LogOutput::Stdout => stdout().is_terminal(),
        LogOutput::Stderr => stderr().is_terminal(),
    };
    let json = match options.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let redacted = if json { redact_json } else { redact };
    let writer = match options.output {
        LogOutput::Stdout => fmt::writer::BoxMakeWriter::new(move || Redacting(stdout(), redacted)),
        LogOutput::Stderr => fmt::writer::BoxMakeWriter::new(move || Redacting(stderr(), redacted)),
    };
    let layer = fmt::layer().with_writer(writer).with_ansi(terminal);
    if json {
        layer
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .boxed()
    } else {
        layer.boxed()
    }
}

/// Writes lines without passwords, whoever wrote them. A line comes in one piece.
struct Redacting<W>(W, Redact);

/// [`redact`] or [`redact_json`].
type Redact = fn(&str) -> Cow<'_, str>;

impl<W: Write> Write for Redacting<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) => self.0.write_all(self.1(text).as_bytes())?,
            Err(_) => self.0.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_written_without_passwords() {
        let mut written = Vec::new();
        let line = "{\"error\":\"no answer of\\nhttp://me:hunter2@host/\"}\n";
        Redacting(&mut written, redact_json)
            .write_all(line.as_bytes())
            .unwrap();
        let written = String::from_utf8(written).unwrap();
        assert_eq!(written, "{\"error\":\"no answer of\\nhttp://***@host/\"}\n");
    }
}
