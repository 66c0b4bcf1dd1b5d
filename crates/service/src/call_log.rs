//! What becomes of a call at its end: a line of the access log, and one of each tap that is open.
//!
//! Calls never wait for either. While both are off a call pays one load of an atomic.

mod access_log;
mod filter;
mod head;
mod line;
pub(crate) mod tap;
mod target;

use std::{net::IpAddr, sync::Arc, time::Duration};

use proto::MeshCause;
use telemetry::TraceId;

pub(crate) use access_log::AccessLog;
pub(crate) use filter::EXPECTED;
pub use filter::LogFilter;
pub use head::CallHead;
use tap::Taps;
pub use tap::{InvalidQuery, PER_SECOND, TapQuery};

/// Where finished calls are written down.
#[derive(Clone, Debug)]
pub struct CallLog {
    access: Option<Arc<AccessLog>>,
    taps: Arc<Taps>,
}

/// What is known of a call at its end, besides its [`CallHead`].
#[derive(Clone, Copy, Debug, Default)]
pub struct FinishedCall<'a> {
    /// `pkg.Service/Method`.
    pub method: &'a str,
    /// Consul name of the service that was called.
    pub service: Option<&'a str>,
    /// ID of the instance that answered, or else of the last one tried.
    pub instance: Option<&'a str>,
    /// Its status of gRPC.
    pub status: i32,
    /// Why the mesh, and not the service, answered.
    pub cause: Option<MeshCause>,
    /// From its begin to its end.
    pub duration: Duration,
    /// Bytes of the request's messages.
    pub request_bytes: Option<u64>,
    /// Bytes of the answer's messages.
    pub response_bytes: Option<u64>,
    /// How many attempts were sent to an instance.
    pub attempts: usize,
    /// Its trace, where it has another than its caller's.
    pub trace: Option<TraceId>,
}

impl CallLog {
    pub(crate) fn new(access: Option<Arc<AccessLog>>, taps: Arc<Taps>) -> Self {
        Self { access, taps }
    }

    /// Whether anybody wants to know of calls.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.access.is_some() || self.taps.is_open()
    }

    /// Keeps what the end of a call will be written down with; `None` when it will not be. `fields`
    /// are the names and values of its metadata.
    pub fn begin<'a>(
        &self,
        client: Option<IpAddr>,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Option<Box<CallHead>> {
        let tapped = self.taps.wanted();
        if self.access.is_none() && tapped.is_none() {
            return None;
        }
        let mut head = CallHead::new(client);
        head.read(fields, tapped.as_ref().map(|names| &names[..]));
        let log = self.access.as_deref();
        head.logged = log.is_some_and(|log| log.filter().samples(head.trace()));
        (head.logged || tapped.is_some()).then(|| Box::new(head))
    }

    /// Writes a call down. `head` is what [`Self::begin`] gave: `None` too when a tap was opened only
    /// after that.
    pub fn end(&self, head: Option<&CallHead>, call: &FinishedCall<'_>) {
        if let Some(log) = &self.access
            && let Some(head) = head.filter(|head| head.logged)
        {
            log.write(head, call);
        }
        if self.taps.is_open() {
            self.taps.write(head, call);
        }
    }
}

#[cfg(test)]
mod tests;
