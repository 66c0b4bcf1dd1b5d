//! How a failure is told: what went wrong and what to do, with all that the mesh says about it.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use proto::error_info;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::{
    gateway::Problem,
    output::{Output, Style},
    router,
};

/// Tells a failure and gives the exit code for it. With `--json` it is the answer's last line.
pub(crate) fn exit(out: &Output, error: &anyhow::Error) -> ExitCode {
    if error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    {
        // Whoever read the answer has seen enough, as `head` does.
        return ExitCode::SUCCESS;
    }
    if out.json {
        // Where nobody reads it, the exit code says it.
        let value = json!({ "error": value(error) }).to_string();
        let value = serde_json::from_str(&telemetry::redact_json(&value)).unwrap_or_default();
        out.value(&value).ok();
    } else {
        let mut text = out.paint_remark(Style::Bad, "error:");
        text += &format!(" {}", describe(error));
        out.remark(&telemetry::redact(&text));
    }
    ExitCode::FAILURE
}

/// Tells what is wrong with the command line, or shows the help that it asks for.
pub(crate) fn refused(error: &clap::Error) -> ExitCode {
    if error.kind() == clap::error::ErrorKind::ValueValidation {
        let text = error.render().to_string();
        writeln!(
            io::stderr().lock(),
            "{}",
            telemetry::humanize(text.trim_end())
        )
        .ok();
    } else {
        // Where nobody reads it, the exit code says it.
        error.print().ok();
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn describe(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Status>() {
        Some(status) => of_status(status),
        None => format!("{error:#}"),
    }
}

/// `NOT_FOUND: message`, then a line each for the reason, its facts, and who answered.
fn of_status(status: &Status) -> String {
    let mut text = format!("{}: {}", name(status.code()), message(status));
    if let Some(info) = error_info::read(status) {
        text += &format!("\n  reason: {} ({})", info.reason, info.domain);
        let mut facts: Vec<_> = info.metadata.into_iter().collect();
        facts.sort();
        for (key, value) in facts {
            text += &format!("\n  {key}: {value}");
        }
    }
    if let Some(instance) = router::instance(status.metadata()) {
        text += &format!("\n  {}: {instance}", router::INSTANCE);
    }
    text
}

/// A connection that broke is told with its cause, which is not in the status's own message.
fn message(status: &Status) -> String {
    let cause = std::error::Error::source(status).map(router::cause);
    cause.map_or_else(
        || status.message().to_owned(),
        |cause| format!("{}: {cause}", status.message()),
    )
}

fn value(error: &anyhow::Error) -> Value {
    if let Some(problem) = Problem::of(error) {
        let mut value = problem.details.clone();
        value["message"] = problem.text("detail").into();
        return value;
    }
    let Some(status) = error.downcast_ref::<Status>() else {
        return json!({ "message": format!("{error:#}") });
    };
    let mut value = json!({
        "code": name(status.code()),
        "number": i32::from(status.code()),
        "message": message(status),
    });
    if let Some(info) = error_info::read(status) {
        value["reason"] = info.reason.into();
        value["domain"] = info.domain.into();
        value["metadata"] = json!(info.metadata);
    }
    if let Some(instance) = router::instance(status.metadata()) {
        value["instance"] = instance.into();
    }
    value
}

/// The code's name as gRPC's documents write it.
pub(crate) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use proto::error_info::Reason;

    use super::*;

    fn refusal() -> anyhow::Error {
        let facts = [("id", "nobody".to_owned())];
        let status =
            error_info::status(Code::NotFound, Reason::NoSuchService, "who is that", facts);
        anyhow::Error::new(status)
    }

    #[test]
    fn a_status_is_told_with_its_reason_and_facts() {
        assert_eq!(
            describe(&refusal()),
            "NOT_FOUND: who is that\n  reason: NO_SUCH_SERVICE (mesh)\n  id: nobody"
        );
    }

    #[test]
    fn programs_get_the_same_facts() {
        let value = value(&refusal());
        assert_eq!(
            (&value["code"], &value["number"]),
            (&json!("NOT_FOUND"), &json!(5))
        );
        assert_eq!(value["metadata"], json!({ "id": "nobody" }));
    }

    #[test]
    fn other_failures_are_told_with_their_causes() {
        let error = anyhow::anyhow!("cause").context("what failed");
        assert_eq!(describe(&error), "what failed: cause");
    }
}
