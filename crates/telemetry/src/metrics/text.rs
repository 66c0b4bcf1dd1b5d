//! The two text formats of Prometheus: OpenMetrics 1.0, and the older 0.0.4, which every tool reads.

use std::{
    fmt::Write as _,
    time::{Duration, UNIX_EPOCH},
};

use super::histogram::Exemplar;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It grows and falls.
    Gauge,
    /// Observations by their size.
    Histogram,
}

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// OpenMetrics 1.0.0, which has exemplars.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Prometheus,
}

impl TextFormat {
    /// The value of `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The format that the values of `Accept` prefer. OpenMetrics has to be asked for by its name:
    /// who takes anything gets the older format, which promtool and every agent read.
    #[must_use]
    pub fn accepted<'a>(accept: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut open_metrics, mut text) = (0.0_f64, 0.0_f64);
        for range in accept.into_iter().flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (1.0, None);
            for part in parts {
                match part.split_once('=') {
                    Some(("q", value)) => quality = value.trim().parse().unwrap_or(1.0),
                    Some(("version", value)) => version = Some(value.trim().trim_matches('"')),
                    _ => {}
                }
            }
            match &*name {
                "application/openmetrics-text"
                    if version.is_none_or(|version| ["1.0.0", "0.0.1"].contains(&version)) =>
                {
                    open_metrics = open_metrics.max(quality);
                }
                "text/plain" if version.is_none_or(|version| version == "0.0.4") => {
                    text = text.max(quality);
                }
                "text/*" | "*/*" => text = text.max(quality),
                _ => {}
            }
        }
        if open_metrics > 0.0 && open_metrics >= text {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }
}

/// The series of one metric, as they are written.
#[derive(Debug)]
pub struct Series<'a> {
    out: &'a mut String,
    format: TextFormat,
    name: &'a str,
    help: &'a str,
    kind: Kind,
    /// Those of the metric that is written now, without braces.
    labels: &'a str,
    /// Whether the lines that describe the metric are written.
    described: bool,
}

impl<'a> Series<'a> {
    pub(super) fn new(
        out: &'a mut String,
        format: TextFormat,
        name: &'a str,
        help: &'a str,
        kind: Kind,
    ) -> Self {
        Self {
            out,
            format,
            name,
            help,
            kind,
            labels: "",
            described: false,
        }
    }

    /// The same metric with these labels. Its description is written with the first.
    pub(super) fn labelled<'b>(&'b mut self, labels: &'b str) -> Series<'b> {
        self.describe();
        Series {
            out: self.out,
            format: self.format,
            name: self.name,
            help: self.help,
            kind: self.kind,
            labels,
            described: true,
        }
    }

    fn describe(&mut self) {
        if self.described {
            return;
        }
        self.described = true;
        let kind = match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // The older format names a counter as its only series.
        let total = match (self.kind, self.format) {
            (Kind::Counter, TextFormat::Prometheus) => "_total",
            _ => "",
        };
        let Self { name, help, .. } = self;
        // Writing to a string does not fail.
        write!(
            self.out,
            "# HELP {name}{total} {help}.\n# TYPE {name}{total} {kind}\n"
        )
        .ok();
    }

    /// A whole number. The suffix follows the name.
    pub(super) fn integer(&mut self, suffix: &str, value: i128) {
        self.begin(suffix, None);
        writeln!(self.out, " {value}").ok();
    }

    /// A number.
    pub(super) fn float(&mut self, suffix: &str, value: f64) {
        self.begin(suffix, None);
        self.out.push(' ');
        float(value, self.out);
        self.out.push('\n');
    }

    /// How many observations were at most `bound`.
    pub(super) fn bucket(&mut self, bound: f64, count: u64, exemplar: Option<&Exemplar>) {
        self.begin("_bucket", Some(bound));
        write!(self.out, " {count}").ok();
        if let (TextFormat::OpenMetrics, Some(exemplar)) = (self.format, exemplar) {
            let time = exemplar.time.duration_since(UNIX_EPOCH);
            let time = time.unwrap_or(Duration::ZERO).as_secs_f64();
            let trace = exemplar.trace;
            write!(
                self.out,
                " # {{trace_id=\"{}\",span_id=\"{}\"}} ",
                trace.trace_id, trace.span_id
            )
            .ok();
            float(exemplar.value, self.out);
            write!(self.out, " {time:.3}").ok();
        }
        self.out.push('\n');
    }

    /// The name and the labels.
    fn begin(&mut self, suffix: &str, bound: Option<f64>) {
        self.describe();
        self.out.push_str(self.name);
        self.out.push_str(match (self.kind, suffix) {
            (Kind::Counter, "") => "_total",
            (_, suffix) => suffix,
        });
        if self.labels.is_empty() && bound.is_none() {
            return;
        }
        self.out.push('{');
        self.out.push_str(self.labels);
        if let Some(bound) = bound {
            if !self.labels.is_empty() {
                self.out.push(',');
            }
            self.out.push_str("le=\"");
            float(bound, self.out);
            self.out.push('"');
        }
        self.out.push('}');
    }
}

/// With a fraction always, as OpenMetrics writes bounds: in both formats, so that a bucket has one
/// name whatever the scraper asked for.
fn float(value: f64, out: &mut String) {
    match value {
        f64::INFINITY => out.push_str("+Inf"),
        f64::NEG_INFINITY => out.push_str("-Inf"),
        value if value.is_nan() => out.push_str("NaN"),
        value => {
            // Writing to a string does not fail.
            write!(out, "{value:?}").ok();
        }
    }
}

/// Writes the value of a label between its quotes.
pub(super) fn escape_label(value: &str, out: &mut String) {
    if !value.contains(['\\', '"', '\n']) {
        out.push_str(value);
        return;
    }
    for letter in value.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            letter => out.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_accept_prefers() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for (accept, open_metrics) in [
            ("", false),
            ("*/*", false),
            ("text/html,application/xhtml+xml,*/*;q=0.8", false),
            ("text/plain", false),
            ("application/openmetrics-text", true),
            ("application/openmetrics-text; version=2.0.0", false),
            ("application/openmetrics-text;q=0", false),
            (
                "application/openmetrics-text;q=0.4, text/plain;q=0.5",
                false,
            ),
            ("Application/OpenMetrics-Text; version=\"1.0.0\"", true),
            (prometheus_2, true),
            (prometheus_3, true),
            (";;;q=,=,", false),
        ] {
            let format = TextFormat::accepted([accept]);
            assert_eq!(format == TextFormat::OpenMetrics, open_metrics, "{accept}");
        }
    }
}
