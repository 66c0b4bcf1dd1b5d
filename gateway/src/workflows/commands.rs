//! Commands to the runner that owns a run: sent by the store, and answered there.

use std::time::Duration;

use runs::Command;
use serde_json::Value;
use tokio::time::Instant;

use super::{Workflows, ids};
use crate::problem::{FieldProblem, Problem, ProblemKind};

/// The answer is looked for so often, in case a change is not told.
const LOOK: Duration = Duration::from_millis(500);

impl Workflows {
    /// Sends a command and waits for its answer. With a `key`, the same command again is answered as
    /// the first one was.
    ///
    /// # Errors
    /// What the runner refuses; 404 for an unknown run; 504 when no runner answers in time.
    pub(crate) async fn command(
        &self,
        run_id: &str,
        kind: &str,
        body: Value,
        key: Option<&str>,
    ) -> Result<Value, Problem> {
        let store = self.store();
        let command = Command {
            run_id: run_id.to_owned(),
            id: key.map_or_else(runs::new_id, |key| ids::of(&[run_id, kind, key])),
            kind: kind.to_owned(),
            body,
        };
        let mut listener = self.changes.wait();
        self.ask(store.send(&command)).await.map_err(unknown_run)?;
        let deadline = Instant::now() + self.keys.command_timeout;
        let ids = [command.id];
        loop {
            listener.mark();
            let answers = self.ask(store.answers(&ids)).await?;
            if let Some((_, answer)) = answers.into_iter().next() {
                return read(answer);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Problem::new(
                    ProblemKind::Timeout,
                    format!(
                        "no workflow-runner has answered within command_timeout = {:?}: the command is \
                         kept, and carried out once one runs",
                        self.keys.command_timeout
                    ),
                ));
            }
            listener.answers(left.min(LOOK)).await;
        }
    }
}

/// An unknown run, in the words of the API's predecessor.
pub(crate) fn unknown_run(problem: Problem) -> Problem {
    match problem.status {
        404 => Problem::new(ProblemKind::NotFound, "run not found"),
        _ => problem,
    }
}

fn read(answer: runs::CommandAnswer) -> Result<Value, Problem> {
    let kind = match answer.status {
        200..300 => return Ok(answer.body),
        404 => ProblemKind::NotFound,
        409 => ProblemKind::Conflict,
        422 => ProblemKind::Invalid,
        503 => ProblemKind::Unavailable,
        _ => ProblemKind::Malformed,
    };
    let text = |name: &str| answer.body.get(name).and_then(Value::as_str);
    let message = text("message").unwrap_or("the run's runner refuses it");
    let mut problem = Problem::new(kind, message);
    if let Some(path) = text("path").filter(|path| !path.is_empty()) {
        problem.errors.push(FieldProblem {
            field: path.to_owned(),
            reason: message.to_owned(),
        });
    }
    if let Some(nodes) = answer.body.get("nodes") {
        problem.extensions.insert("nodes".to_owned(), nodes.clone());
    }
    Err(problem)
}

#[cfg(test)]
mod tests {
    use runs::CommandAnswer;
    use serde_json::json;

    use super::*;

    #[test]
    fn refusals_keep_their_status_and_name_the_place() {
        let answer = |status, body| read(CommandAnswer { status, body });
        assert_eq!(answer(200, json!({"seq": 1})).unwrap(), json!({"seq": 1}));
        let refused = answer(422, json!({"message": "no such node", "path": "/nodes/9"}));
        let problem = refused.unwrap_err();
        assert_eq!(
            (problem.status, problem.errors[0].field.as_str()),
            (422, "/nodes/9")
        );
        for status in [400, 404, 409, 503] {
            assert_eq!(answer(status, json!({})).unwrap_err().status, status);
        }
        assert_eq!(
            unknown_run(Problem::new(ProblemKind::NotFound, "x")).detail,
            "run not found"
        );
    }
}
