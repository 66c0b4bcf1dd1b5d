//! A span: what one program did for a trace. It is three numbers until it ends; then it is encoded, if
//! its trace is recorded, or if it ended so badly that it is exported all the same.

use std::{
    cell::RefCell,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use super::{SpanId, TraceContext, late, queue};
use crate::otlp::write;

/// Fields of OTLP's `Span`.
mod field {
    pub(super) const TRACE_ID: u32 = 1;
    pub(super) const SPAN_ID: u32 = 2;
    pub(super) const PARENT: u32 = 4;
    pub(super) const NAME: u32 = 5;
    pub(super) const KIND: u32 = 6;
    pub(super) const START: u32 = 7;
    pub(super) const END: u32 = 8;
    pub(super) const ATTRIBUTE: u32 = 9;
    pub(super) const LINK: u32 = 13;
    pub(super) const STATUS: u32 = 15;
}

/// Of `Status`, the error.
const ERROR: u64 = 2;

thread_local! {
    /// Where spans are encoded, so that none needs memory of its own.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Which side of what a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Work within the program.
    Internal = 1,
    /// A request that it serves.
    Server = 2,
    /// A request that it sends.
    Client = 3,
    /// A job that it hands in.
    Producer = 4,
    /// A job that it runs.
    Consumer = 5,
}

/// A span that has begun.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    context: TraceContext,
    parent: Option<SpanId>,
    /// `None` where what is below has the caller's span above it: it gets its ID if it is exported.
    id: Option<SpanId>,
    began: Instant,
}

/// How a span ended.
#[derive(Clone, Copy, Debug)]
pub struct SpanEnd<'a> {
    /// What it is called: of few different values.
    pub name: &'a str,
    /// Which side it is.
    pub kind: SpanKind,
    /// Whether it failed.
    pub failed: bool,
    /// When it ended.
    pub at: Instant,
}

/// Takes the attributes of a span that is exported.
#[derive(Debug)]
pub struct SpanFields<'a>(&'a mut Vec<u8>);

impl Span {
    /// Begins a span below `parent`, or a trace where there is none. In a trace that is not recorded it
    /// is no more than the context that goes on: the parent's, as it is.
    #[must_use]
    pub fn begin(parent: Option<TraceContext>, began: Instant) -> Self {
        match parent {
            None => {
                let context = TraceContext::root();
                Self {
                    context,
                    parent: None,
                    id: Some(context.span_id),
                    began,
                }
            }
            Some(parent) if parent.sampled => Self::with_id(parent, SpanId::random(), began),
            Some(parent) => Self {
                context: parent,
                parent: Some(parent.span_id),
                id: None,
                began,
            },
        }
    }

    /// Begins a span below `parent` whose ID is known from elsewhere.
    #[must_use]
    pub fn with_id(parent: TraceContext, id: SpanId, began: Instant) -> Self {
        Self {
            context: parent.below(id),
            parent: Some(parent.span_id),
            id: Some(id),
            began,
        }
    }

    /// The context of what it does, which goes on to others.
    #[must_use]
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// When it began.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Ends it. `fields` is asked only if it is exported.
    pub fn end(&self, end: SpanEnd<'_>, fields: impl FnOnce(&mut SpanFields<'_>)) {
        let took = end.at.saturating_duration_since(self.began);
        let late = if self.context.sampled {
            None
        } else {
            match late::reason(end.failed, took) {
                Some(reason) => Some(reason),
                None => return,
            }
        };
        let Some(queue) = queue() else { return };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        if late.is_some() && !late::spend(now.as_secs()) || !queue.has_room() {
            return;
        }
        SCRATCH.with_borrow_mut(|out| {
            out.clear();
            let id = self.id.unwrap_or_else(SpanId::random);
            write::bytes(out, field::TRACE_ID, &self.context.trace_id.0.to_be_bytes());
            write::bytes(out, field::SPAN_ID, &id.0.to_be_bytes());
            if let Some(parent) = self.parent {
                write::bytes(out, field::PARENT, &parent.0.to_be_bytes());
            }
            write::bytes(out, field::NAME, end.name.as_bytes());
            write::number(out, field::KIND, end.kind as u64);
            let ended = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
            let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            write::fixed64(out, field::START, ended.saturating_sub(took));
            write::fixed64(out, field::END, ended);
            let mut attributes = SpanFields(out);
            if let Some(reason) = late {
                attributes.text("mesh.sampled", reason);
            }
            fields(&mut attributes);
            if end.failed {
                // A status of nothing but its code, 3.
                write::head(out, field::STATUS, 2);
                write::number(out, 3, ERROR);
            }
            queue.push(out);
        });
    }
}

impl<'a> SpanFields<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self(out)
    }

    pub(super) fn append(&mut self, encoded: &[u8]) {
        self.0.extend_from_slice(encoded);
    }

    /// An attribute with a text.
    pub fn text(&mut self, name: &str, value: &str) {
        write::text(self.0, field::ATTRIBUTE, name, value);
    }

    /// An attribute with a whole number.
    pub fn number(&mut self, name: &str, value: i64) {
        write::integer(self.0, field::ATTRIBUTE, name, value);
    }

    /// An attribute with a list of texts.
    pub fn texts(&mut self, name: &str, values: &[&str]) {
        write::texts(self.0, field::ATTRIBUTE, name, values);
    }

    /// A link to another span.
    pub fn link(&mut self, to: TraceContext) {
        let (trace, span) = (to.trace_id.0.to_be_bytes(), to.span_id.0.to_be_bytes());
        let size = write::field_size(trace.len()) + write::field_size(span.len());
        write::head(self.0, field::LINK, size);
        write::bytes(self.0, 1, &trace);
        write::bytes(self.0, 2, &span);
    }
}
