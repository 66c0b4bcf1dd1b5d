//! Why a call got no answer from an instance.

use std::time::Duration;

use proto::{
    MeshCause,
    error_info::{self, Reason},
};
use tonic::Code;

use crate::http_status::http_code;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry has not answered yet.
    #[error("{}", unknown(*waited, trouble.as_deref()))]
    Undiscovered {
        /// How long the call waited.
        waited: Duration,
        /// Why the registry does not answer, where that is known.
        trouble: Option<String>,
    },
    /// The registry has no healthy instance.
    #[error("no healthy instance of {service}{}", besides(*.drained))]
    NoInstance {
        /// Consul service name.
        service: String,
        /// How many healthy ones an operator has drained.
        drained: usize,
    },
    /// The requested instance is not there.
    #[error("{service} has no healthy instance `{instance}`")]
    NoSuchInstance {
        /// Consul service name.
        service: String,
        /// The instance ID.
        instance: String,
    },
    /// No instance could be connected to in time.
    #[error("no instance of {service} could be reached within {:?}: {reason}", rounded(*.waited))]
    Unreachable {
        /// Consul service name.
        service: String,
        /// How long the call waited.
        waited: Duration,
        /// The error of the last attempt.
        reason: String,
    },
    /// Every instance is at a limit of calls.
    #[error(
        "every instance of {service} has `{key}` = {limit} calls in flight; waited {:?}",
        rounded(*.waited)
    )]
    Saturated {
        /// Consul service name.
        service: String,
        /// The configuration key of the limit.
        key: &'static str,
        /// Its value.
        limit: u32,
        /// How long the call waited.
        waited: Duration,
    },
    /// The instance did not process the request: another may.
    #[error("{instance} did not take the call: {reason}")]
    Unsent {
        /// Instance ID.
        instance: String,
        /// The connection's error.
        reason: String,
    },
    /// The call was sent and ended without an answer.
    #[error("{instance} gave no answer: {reason}")]
    ConnectionLost {
        /// Instance ID.
        instance: String,
        /// The connection's error.
        reason: String,
        /// gRPC's code for it.
        code: Code,
    },
    /// The answer is HTTP without a gRPC status.
    #[error("{instance} answered with HTTP status {status} instead of gRPC")]
    Http {
        /// Instance ID.
        instance: String,
        /// Of HTTP.
        status: u16,
    },
    /// The last attempt ended with this error. It may be tried again, and `max_attempts` or the
    /// retry budget forbade that.
    #[error(transparent)]
    Exhausted(Box<Self>),
    /// The metadata of the answer is over the limit.
    #[error("the metadata of {instance}'s answer is larger than max_header_bytes, {limit} bytes")]
    LargeAnswer {
        /// Instance ID.
        instance: String,
        /// The limit, bytes.
        limit: usize,
    },
    /// The caller's deadline is over.
    #[error("the deadline of {:?} is over", rounded(*.0))]
    Deadline(Duration),
    /// Reading the caller's request failed.
    #[error("{}", .0.message())]
    Request(Box<tonic::Status>),
    /// The request's metadata is malformed.
    #[error(transparent)]
    Timeout(#[from] crate::deadline::InvalidTimeout),
}

fn unknown(waited: Duration, trouble: Option<&str>) -> String {
    let waited = rounded(waited);
    match trouble {
        Some(trouble) => format!("the instances are not known after {waited:?}: {trouble}"),
        None => {
            format!("the registry has told nothing within {waited:?}; the log and /readyz say why")
        }
    }
}

/// A time for people: rounded to a tenth of a second, or to a millisecond.
fn rounded(time: Duration) -> Duration {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    match ms {
        0 => time,
        1..1000 => Duration::from_millis(ms),
        _ => Duration::from_millis(ms / 100 * 100),
    }
}

fn besides(drained: usize) -> String {
    match drained {
        0 => String::new(),
        drained => format!(" that is not drained ({drained} are)"),
    }
}

impl Error {
    /// Whether waiting may help: until the registry answers, or an instance is reachable or has
    /// room.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Undiscovered { .. } | Self::Unreachable { .. } | Self::Saturated { .. }
        )
    }

    /// The same error at the end of the wait.
    pub(crate) fn after(mut self, time: Duration) -> Self {
        if let Self::Undiscovered { waited, .. }
        | Self::Unreachable { waited, .. }
        | Self::Saturated { waited, .. } = &mut self
        {
            *waited = time;
        }
        self
    }

    /// Why the mesh answers in place of a service; `None` where the caller's request broke off.
    #[must_use]
    pub fn cause(&self) -> Option<MeshCause> {
        Some(match self {
            Self::Undiscovered { .. } | Self::NoInstance { .. } | Self::NoSuchInstance { .. } => {
                MeshCause::NoInstance
            }
            Self::Unreachable { .. } => MeshCause::Connect,
            Self::Saturated { key, .. } => MeshCause::Limit(key),
            Self::Unsent { .. } | Self::ConnectionLost { .. } | Self::Http { .. } => {
                MeshCause::Reset
            }
            Self::Exhausted(_) => MeshCause::Retries,
            Self::LargeAnswer { .. } => MeshCause::Limit("max_header_bytes"),
            Self::Deadline(_) => MeshCause::Deadline,
            Self::Request(status) => return MeshCause::of(status),
            Self::Timeout(_) => MeshCause::Request,
        })
    }

    /// The status for the caller: each variant has one code and one reason.
    #[must_use]
    pub fn status(&self) -> tonic::Status {
        let mut about: Vec<(&str, String)> = Vec::new();
        let (code, reason) = match self {
            Self::Undiscovered { .. } => (Code::Unavailable, Reason::RegistryUnreachable),
            Self::NoInstance { service, .. } => {
                about.push(("service", service.clone()));
                (Code::Unavailable, Reason::NoHealthyInstance)
            }
            Self::NoSuchInstance { service, instance } => {
                about.push(("service", service.clone()));
                about.push(("instance", instance.clone()));
                // Not UNAVAILABLE: clients would retry, and no other instance answers otherwise.
                (Code::FailedPrecondition, Reason::InstanceGone)
            }
            Self::Unreachable { service, .. } => {
                about.push(("service", service.clone()));
                (Code::Unavailable, Reason::ConnectFailed)
            }
            Self::Saturated { service, key, .. } => {
                about.push(("service", service.clone()));
                about.push(("key", (*key).to_owned()));
                (Code::ResourceExhausted, Reason::Limit)
            }
            Self::Unsent { instance, .. } => {
                about.push(("instance", instance.clone()));
                (Code::Unavailable, Reason::ConnectionLost)
            }
            Self::ConnectionLost { instance, code, .. } => {
                about.push(("instance", instance.clone()));
                (*code, Reason::ConnectionLost)
            }
            Self::Http { instance, status } => {
                about.push(("instance", instance.clone()));
                about.push(("http_status", status.to_string()));
                (http_code(*status), Reason::HttpAnswer)
            }
            Self::Exhausted(last) => return last.status(),
            Self::LargeAnswer { instance, limit } => {
                about.push(("instance", instance.clone()));
                about.push(("key", "max_header_bytes".to_owned()));
                about.push(("limit", limit.to_string()));
                (Code::ResourceExhausted, Reason::Limit)
            }
            Self::Deadline(_) => (Code::DeadlineExceeded, Reason::DeadlineExceeded),
            Self::Request(status) => return (**status).clone(),
            Self::Timeout(_) => {
                about.push(("field", "grpc-timeout".to_owned()));
                (Code::InvalidArgument, Reason::BadMetadata)
            }
        };
        error_info::status(code, reason, self.to_string(), about)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_a_person_says_them() {
        for (ns, text) in [
            (3_000_806_235, "3s"),
            (1_234_000_000, "1.2s"),
            (150_400_000, "150ms"),
            (900, "900ns"),
        ] {
            let error = Error::Deadline(Duration::from_nanos(ns));
            assert_eq!(error.to_string(), format!("the deadline of {text} is over"));
        }
    }
}
