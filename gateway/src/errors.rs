//! Errors of the queue and the mesh as problems: the one place that gives them a status.

use proto::error_info::{self, Reason};
use serde_json::json;
use tonic::{Code, Status};
use work::FieldError;

use crate::problem::{Problem, ProblemKind};

impl From<jobs::Error> for Problem {
    fn from(error: jobs::Error) -> Self {
        let text = error.to_string();
        match error {
            jobs::Error::Unavailable { .. } => Self::new(ProblemKind::Unavailable, text),
            jobs::Error::Invalid { field, reason } => Self::field(name(field), reason),
            jobs::Error::Conflict { id, .. } => {
                let mut problem = Self::new(ProblemKind::Conflict, text);
                problem.extensions.insert("job_id".to_owned(), json!(id));
                problem
            }
            jobs::Error::NotFound { .. } => Self::new(ProblemKind::NotFound, text),
            // Waiting does not help, so the answer names no time to try again.
            jobs::Error::Queues { .. } => Self::new(ProblemKind::TooManyRequests, text),
            jobs::Error::WrongStatus { .. } | jobs::Error::Stale { .. } => {
                Self::new(ProblemKind::Conflict, text)
            }
            jobs::Error::Broken { .. } => {
                tracing::error!(error = %text, "the job store is unusable");
                Self::new(ProblemKind::Unavailable, text)
            }
        }
    }
}

impl From<runs::Error> for Problem {
    fn from(error: runs::Error) -> Self {
        let text = error.to_string();
        match error {
            runs::Error::Unavailable(_) => Self::new(ProblemKind::Unavailable, text),
            runs::Error::NotFound(_) => Self::new(ProblemKind::NotFound, text),
            runs::Error::Conflict(_) => Self::new(ProblemKind::Conflict, text),
            runs::Error::Invalid(_) => Self::new(ProblemKind::Malformed, text),
            runs::Error::Full { .. } => {
                let mut problem = Self::new(ProblemKind::TooManyRequests, text);
                problem.retry_after = Some(1);
                problem
            }
            runs::Error::Damaged(_) => {
                tracing::error!(error = %text, "the store of runs is damaged");
                Self::new(ProblemKind::Unavailable, text)
            }
        }
    }
}

/// The API's names of fields that the queue has other names for.
fn name(field: &'static str) -> &'static str {
    match field {
        "delay" => "delay_ms",
        "timeout" => "timeout_ms",
        other => other,
    }
}

impl From<service::WebRefusal> for Problem {
    fn from(refusal: service::WebRefusal) -> Self {
        let kind = match refusal {
            service::WebRefusal::NoHost => ProblemKind::Malformed,
            service::WebRefusal::Host(_) => ProblemKind::Misdirected,
            service::WebRefusal::Origin(_) => ProblemKind::Forbidden,
        };
        Self::new(kind, refusal.to_string())
    }
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        Self::field(error.field, error.reason)
    }
}

impl From<Status> for Problem {
    fn from(status: Status) -> Self {
        let info = error_info::read(&status);
        let kind = match status.code() {
            Code::InvalidArgument | Code::OutOfRange => ProblemKind::Invalid,
            Code::NotFound | Code::Unimplemented => ProblemKind::NotFound,
            // Nothing is in conflict: the model that the agent asks does not answer.
            Code::Aborted if error_info::reason(&status) == Some(Reason::ModelAway) => {
                ProblemKind::BadGateway
            }
            Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => ProblemKind::Conflict,
            Code::PermissionDenied => ProblemKind::Forbidden,
            Code::Unauthenticated => ProblemKind::Unauthenticated,
            Code::ResourceExhausted => ProblemKind::TooManyRequests,
            Code::Cancelled => ProblemKind::Cancelled,
            Code::DeadlineExceeded => ProblemKind::Timeout,
            Code::Unavailable => ProblemKind::Unavailable,
            Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => ProblemKind::BadGateway,
        };
        let mut problem = Self::new(kind, status.message());
        let extensions = &mut problem.extensions;
        let code = telemetry::rpc::code_name(status.code().into());
        extensions.insert("code".to_owned(), json!(code));
        if let Some(info) = info {
            extensions.insert("reason".to_owned(), json!(info.reason));
            extensions.insert("domain".to_owned(), json!(info.domain));
            extensions.insert("metadata".to_owned(), json!(info.metadata));
        }
        let instance = status.metadata().get(dynamic::INSTANCE);
        if let Some(instance) = instance.and_then(|id| id.to_str().ok()) {
            extensions.insert("mesh_instance".to_owned(), json!(instance));
        }
        problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_grpc_has_a_status_that_is_no_500() {
        for code in 1..=16 {
            let problem = Problem::from(Status::new(Code::from_i32(code), "x"));
            assert!(problem.status >= 400 && problem.status != 500, "{code}");
            assert!(problem.extensions["code"].is_string());
        }
    }

    #[test]
    fn the_reason_of_a_refusal_goes_along() {
        let facts = [("id", "nobody".to_owned())];
        let status = error_info::status(Code::NotFound, Reason::NoSuchService, "who", facts);
        let problem = Problem::from(status);
        assert_eq!(
            (problem.status, &problem.extensions["reason"]),
            (404, &json!("NO_SUCH_SERVICE"))
        );
        assert_eq!(problem.extensions["metadata"]["id"], "nobody");
        let away = error_info::status(Code::Aborted, Reason::ModelAway, "model: away", []);
        assert_eq!(Problem::from(away).status, 502);
        assert_eq!(Problem::from(Status::aborted("raced")).status, 409);
    }
}
