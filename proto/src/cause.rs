//! Why the mesh, and not the service, answered a call: a closed set for access logs and spans.

use std::{borrow::Cow, fmt};

use tonic::Status;

use crate::error_info::{self, Reason};

/// Why a call has the mesh's answer and not a service's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MeshCause {
    /// No healthy instance is known: none is there, or the registry tells of none.
    NoInstance,
    /// No connection to an instance could be opened in time.
    Connect,
    /// The caller's deadline, or the service's default, passed.
    Deadline,
    /// The instance ended the only attempt without an answer of gRPC: the stream was reset, the
    /// connection was lost, or the answer was HTTP alone.
    Reset,
    /// A limit was reached, set by this configuration key.
    Limit(&'static str),
    /// Such a failure may be tried again, and `max_attempts` or the retry budget forbade it.
    Retries,
    /// The caller gave up: it reset the stream or closed the connection.
    ClientLeft,
    /// The request cannot be answered as it is: its metadata or message is malformed, names nobody's
    /// method, or is compressed in an unknown way.
    Request,
    /// The program answers such methods itself: health, reflection, a router's lists and status.
    Own,
    /// The program is shutting down, and its drain ended the call.
    Draining,
}

/// The keys of limits that end calls.
const LIMITS: &[&str] = &[
    "body_timeout",
    "client_max_calls",
    "client_memory",
    "client_rate",
    "max_connections",
    "max_header_bytes",
    "max_in_flight",
    "max_message_bytes",
];

impl MeshCause {
    /// The cause that a status of the mesh stands for. Not to be asked of a service's status, which
    /// may repeat what a mesh told it.
    #[must_use]
    pub fn of(status: &Status) -> Option<Self> {
        let info = error_info::read(status).filter(|info| info.domain == error_info::DOMAIN)?;
        match Reason::parse(&info.reason)? {
            Reason::NoHealthyInstance
            | Reason::InstanceGone
            | Reason::NoSuchService
            | Reason::NoSuchGrpcService
            | Reason::RegistryUnreachable => Some(Self::NoInstance),
            Reason::ConnectFailed | Reason::RouterUnreachable => Some(Self::Connect),
            Reason::DeadlineExceeded | Reason::SilentInstance => Some(Self::Deadline),
            Reason::ConnectionLost | Reason::HttpAnswer => Some(Self::Reset),
            Reason::Draining => Some(Self::Draining),
            Reason::Limit | Reason::MessageTooLarge | Reason::Silent => {
                let key = info.metadata.get("key")?;
                let known = LIMITS.iter().find(|known| *known == key)?;
                Some(Self::Limit(known))
            }
            Reason::AmbiguousService
            | Reason::BadDescriptors
            | Reason::BadMetadata
            | Reason::BadMethod
            | Reason::ConflictingId
            | Reason::InvalidField
            | Reason::MalformedGzip
            | Reason::MalformedMessage
            | Reason::MissingField
            | Reason::NotTheRouters
            | Reason::UnknownEncoding
            | Reason::UnknownMethod
            | Reason::UnknownSymbol => Some(Self::Request),
            Reason::RegisterWithConsul
            | Reason::RegistrationOff
            | Reason::RegistrationRefused
            | Reason::ServiceHasOwner
            | Reason::SwitchedOff
            | Reason::TooManyRegistrations => Some(Self::Own),
            // Services alone say so.
            Reason::DependencyAway | Reason::Disk | Reason::ModelAway | Reason::TaskRefused => None,
        }
    }

    /// Its word, such as `no_instance` or `limit:client_rate`.
    #[must_use]
    pub fn as_str(self) -> Cow<'static, str> {
        let (word, key) = self.parts();
        match key {
            Some(key) => Cow::Owned(format!("{word}:{key}")),
            None => Cow::Borrowed(word),
        }
    }

    /// The word, and the key of a limit.
    #[must_use]
    pub fn parts(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::NoInstance => ("no_instance", None),
            Self::Connect => ("connect", None),
            Self::Deadline => ("deadline", None),
            Self::Reset => ("reset", None),
            Self::Limit(key) => ("limit", Some(key)),
            Self::Retries => ("retries", None),
            Self::ClientLeft => ("client_left", None),
            Self::Request => ("request", None),
            Self::Own => ("own", None),
            Self::Draining => ("draining", None),
        }
    }
}

impl fmt::Display for MeshCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn status(reason: Reason, facts: &[(&'static str, &str)]) -> Status {
        let facts = facts.iter().map(|(key, value)| (*key, (*value).to_owned()));
        error_info::status(Code::Unavailable, reason, "…", facts)
    }

    #[test]
    fn a_status_of_the_mesh_tells_its_cause() {
        for (reason, facts, expected) in [
            (Reason::NoHealthyInstance, &[][..], Some("no_instance")),
            (Reason::ConnectFailed, &[], Some("connect")),
            (Reason::DeadlineExceeded, &[], Some("deadline")),
            (Reason::ConnectionLost, &[], Some("reset")),
            (
                Reason::Limit,
                &[("key", "client_rate")],
                Some("limit:client_rate"),
            ),
            (
                Reason::MessageTooLarge,
                &[("key", "max_message_bytes")],
                Some("limit:max_message_bytes"),
            ),
            (Reason::Limit, &[("key", "somebody's own")], None),
            (Reason::Limit, &[], None),
            (Reason::BadMetadata, &[], Some("request")),
            (Reason::RegistrationOff, &[], Some("own")),
            (Reason::Draining, &[], Some("draining")),
            (Reason::ModelAway, &[], None),
        ] {
            let cause = MeshCause::of(&status(reason, facts)).map(|it| it.to_string());
            assert_eq!(cause.as_deref(), expected, "{reason}");
        }
        assert_eq!(MeshCause::of(&Status::unavailable("a service's own")), None);
    }

    #[test]
    fn every_limit_is_told_by_its_key() {
        assert!(LIMITS.is_sorted());
        for key in LIMITS {
            let cause = MeshCause::of(&status(Reason::Limit, &[("key", key)]));
            assert_eq!(cause, Some(MeshCause::Limit(key)));
        }
    }
}
