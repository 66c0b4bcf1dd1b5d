//! How a failure is shown: what went wrong and what to do, with all that the mesh says about it.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use proto::error_info;
use serde_json::{Value, json};
use telemetry::{root_cause, rpc::code_name};
use tonic::Status;

use crate::{
    gateway::Problem,
    output::{Output, Style},
    router,
};

/// Shows a failure, and gives the exit code for it. With `--json` it is the answer's last line.
pub(crate) fn exit(out: &Output, error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        // The reader has seen enough, as `head` does.
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

/// Does something with each of several names, and goes on after a failure, which the exit code
/// remembers.
pub(crate) async fn each(
    out: &Output,
    names: &[String],
    act: impl AsyncFn(&str) -> anyhow::Result<Value>,
    shown: impl Fn(&Value) -> String,
) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for name in names {
        match act(name).await {
            Ok(answer) if out.json => out.value(&answer)?,
            Ok(answer) => out.line(&shown(&answer))?,
            Err(error) => code = exit(out, &error),
        }
    }
    Ok(code)
}

/// Whether nobody reads what is written.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Shows what is wrong with the command line, or the help that it asks for.
pub(crate) fn refused(error: &clap::Error) -> ExitCode {
    if error.kind() == clap::error::ErrorKind::ValueValidation {
        let text = error.render().to_string();
        let text = telemetry::humanize(text.trim_end());
        writeln!(io::stderr().lock(), "{text}").ok();
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
    let mut text = format!("{}: {}", code_name(status.code().into()), message(status));
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

/// The message of a status, with the cause of a broken connection, which tonic leaves out.
fn message(status: &Status) -> String {
    match std::error::Error::source(status).map(root_cause) {
        Some(cause) => format!("{}: {cause}", status.message()),
        None => status.message().to_owned(),
    }
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
        "code": code_name(status.code().into()),
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

#[cfg(test)]
mod tests {
    use proto::error_info::Reason;
    use tonic::Code;

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
