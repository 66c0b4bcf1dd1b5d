//! Why a call got no answer from an instance, by what that means for another attempt.

use std::time::Duration;

use proto::error_info::{self, Reason};
use tonic::Code;

use crate::http_status::http_code;

/// A call that the mesh could not bring to an answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry has not told yet who is there.
    #[error("{}", unknown(*waited, trouble.as_deref()))]
    Undiscovered {
        /// How long the call waited.
        waited: Duration,
        /// What is wrong with the registry, where that is known.
        trouble: Option<String>,
    },
    /// Discovery knows no healthy instance.
    #[error("no healthy instance of {service}{}", besides(*.drained))]
    NoInstance {
        /// Consul service name.
        service: String,
        /// Healthy ones that an operator has drained.
        drained: usize,
    },
    /// The instance that was asked for is not there.
    #[error("{service} has no healthy instance `{instance}`")]
    NoSuchInstance {
        /// Consul service name.
        service: String,
        /// The instance ID.
        instance: String,
    },
    /// Instances are known and none could be connected to in time.
    #[error("no instance of {service} could be reached within {:?}: {reason}", rounded(*.waited))]
    Unreachable {
        /// Consul service name.
        service: String,
        /// How long the call waited.
        waited: Duration,
        /// What the last attempt said.
        reason: String,
    },
    /// Every instance has as many calls as it may have.
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
    /// The instance did not take the request: another may.
    #[error("{instance} did not take the call: {reason}")]
    Unsent {
        /// Instance ID.
        instance: String,
        /// What its connection said.
        reason: String,
    },
    /// The call was sent, and ended without an answer.
    #[error("{instance} gave no answer: {reason}")]
    ConnectionLost {
        /// Instance ID.
        instance: String,
        /// What its connection said.
        reason: String,
        /// gRPC's code for it.
        code: Code,
    },
    /// The call was answered by HTTP alone, without a status of gRPC.
    #[error("{instance} answered with HTTP status {status} instead of gRPC")]
    Http {
        /// Instance ID.
        instance: String,
        /// Of HTTP.
        status: u16,
    },
    /// The metadata of the answer is larger than is taken.
    #[error("the metadata of {instance}'s answer is larger than max_header_bytes, {limit} bytes")]
    LargeAnswer {
        /// Instance ID.
        instance: String,
        /// The limit, bytes.
        limit: usize,
    },
    /// The time the caller gave is over.
    #[error("the deadline of {:?} is over", rounded(*.0))]
    Deadline(Duration),
    /// The request itself failed while it was being sent.
    #[error("{}", .0.message())]
    Request(Box<tonic::Status>),
    /// The request's metadata is not gRPC's.
    #[error(transparent)]
    Timeout(#[from] crate::deadline::InvalidTimeout),
}

fn unknown(waited: Duration, trouble: Option<&str>) -> String {
    let waited = rounded(waited);
    match trouble {
        Some(trouble) => format!("who is in the mesh is not known after {waited:?}: {trouble}"),
        None => {
            format!("the registry has told nothing within {waited:?}; the log and /readyz say why")
        }
    }
}

/// A time as a person would say it: without what is below a tenth of a second, or a millisecond.
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
    /// Whether waiting may help: the registry may answer, an instance be reached or have room.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Undiscovered { .. } | Self::Unreachable { .. } | Self::Saturated { .. }
        )
    }

    /// The same, said at the end of the wait.
    pub(crate) fn after(mut self, time: Duration) -> Self {
        if let Self::Undiscovered { waited, .. }
        | Self::Unreachable { waited, .. }
        | Self::Saturated { waited, .. } = &mut self
        {
            *waited = time;
        }
        self
    }

    /// What the caller is told: one code and one reason for each variant.
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
                // Not UNAVAILABLE: clients repeat that by themselves, and nobody else may answer.
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
