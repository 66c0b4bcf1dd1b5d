//! The layer that makes lines of events, and hands each to where lines go.

use std::{
    io::{self, Write},
    sync::Arc,
    time::Instant,
};

use parking_lot::Mutex;
use tracing::{
    Event, Subscriber,
    span::{Attributes, Id},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::{
    export, format,
    record::{self, Record},
    repeats::Repeats,
};
use crate::{LogOutput, otlp::Queue};

/// Makes lines of events.
#[derive(Debug)]
pub(crate) struct Lines {
    output: LogOutput,
    json: bool,
    colour: bool,
    repeats: Mutex<Repeats>,
    /// What the collector gets, if it gets lines.
    collector: Option<Arc<Queue>>,
}

impl Lines {
    pub(super) fn new(
        output: LogOutput,
        json: bool,
        colour: bool,
        collector: Option<Arc<Queue>>,
    ) -> Self {
        Self {
            output,
            json,
            colour,
            repeats: Mutex::default(),
            collector,
        }
    }

    fn write(&self, record: &Record<'_>) -> io::Result<()> {
        let mut line = Vec::with_capacity(256);
        if self.json {
            format::json(&mut line, record);
        } else {
            format::text(&mut line, record, self.colour);
        }
        match self.output {
            LogOutput::Stdout => io::stdout().write_all(&line),
            LogOutput::Stderr => io::stderr().write_all(&line),
        }
    }
}

impl<S> Layer<S> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        record::begin_span(attributes, id, &context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut record = Record::of(event, &context);
        let now = Instant::now();
        let said = self.repeats.lock().admit(event.metadata(), &record, now);
        let Some(suppressed) = said else { return };
        record.suppressed = suppressed;
        // There is nobody to tell that nobody reads the log.
        self.write(&record).ok();
        if let Some(queue) = &self.collector {
            export::send(queue, &record);
        }
    }
}
