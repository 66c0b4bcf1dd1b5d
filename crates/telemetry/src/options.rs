//! What to log, how, and where to send traces.

use crate::{LogLevel, OtlpOptions, TraceOptions};

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// Text, coloured on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where log lines go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard output: a service's.
    #[default]
    Stdout,
    /// Standard error: a command line's, whose answer is on standard output.
    Stderr,
}

/// What to log and where to send traces.
#[derive(Clone, Debug)]
pub struct TelemetryOptions {
    /// OpenTelemetry `service.name`.
    pub service_name: String,
    /// OpenTelemetry `service.instance.id`: the instance ID.
    pub instance_id: String,
    /// How much to log.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
    /// Where lines go.
    pub output: LogOutput,
    /// Whether lines go to the OTLP collector as well.
    pub otlp_logs: bool,
    /// The OTLP collector; `None` for no traces at all.
    pub otlp: Option<OtlpOptions>,
    /// Which traces are recorded, and what of them.
    pub traces: TraceOptions,
}

impl Default for TelemetryOptions {
    fn default() -> Self {
        Self {
            service_name: "unknown".to_owned(),
            instance_id: String::new(),
            level: LogLevel::default(),
            format: LogFormat::default(),
            output: LogOutput::default(),
            otlp_logs: false,
            otlp: None,
            traces: TraceOptions::default(),
        }
    }
}
