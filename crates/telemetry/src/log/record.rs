//! One line of the log before it is written: its message, and the fields of the event and of the spans
//! around it.

use std::{fmt, time::SystemTime};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{layer::Context, registry::LookupSpan};

use crate::{TraceContext, redact};

/// A line.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(super) time: SystemTime,
    pub(super) level: Level,
    /// The module that says it.
    pub(super) target: &'a str,
    pub(super) message: String,
    /// Of the event, then of the spans around it, the innermost first.
    pub(super) fields: Vec<(&'static str, Value)>,
    pub(super) trace: Option<TraceContext>,
    /// How often the same was not said since.
    pub(super) suppressed: u64,
}

/// The value of a field, without passwords.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
}

/// The fields of an event or a span.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) all: Vec<(&'static str, Value)>,
}

impl<'a> Record<'a> {
    pub(super) fn of<S>(event: &Event<'a>, context: &Context<'_, S>) -> Self
    where
        S: Subscriber + for<'s> LookupSpan<'s>,
    {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields { message, mut all } = fields;
        for span in context.event_scope(event).into_iter().flatten() {
            let extensions = span.extensions();
            let of_span = extensions.get::<Fields>().into_iter();
            for (name, value) in of_span.flat_map(|fields| &fields.all) {
                if all.iter().all(|(known, _)| known != name) {
                    all.push((name, value.clone()));
                }
            }
        }
        let metadata = event.metadata();
        Self {
            time: SystemTime::now(),
            level: *metadata.level(),
            target: metadata.target(),
            message,
            fields: all,
            trace: TraceContext::current(),
            suppressed: 0,
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(known, _)| *known == name);
        match found {
            Some((_, Value::Text(text))) => Some(text),
            _ => None,
        }
    }
}

/// Keeps the fields of a span that begins, for the lines within it.
pub(super) fn begin_span<S>(attributes: &Attributes<'_>, id: &Id, context: &Context<'_, S>)
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let Some(span) = context.span(id) else { return };
    let mut fields = Fields::default();
    attributes.record(&mut fields);
    span.extensions_mut().replace(fields);
}

impl Fields {
    fn set(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::Text(text)) => self.message = text,
            (name, value) => self.all.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, Value::Text(redact(value).into_owned()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, Value::Bool(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, Value::Unsigned(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, Value::Signed(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, Value::Float(value));
    }
}
