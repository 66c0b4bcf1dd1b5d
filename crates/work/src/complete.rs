//! Payloads as people write them: what a front end makes of them before they are jobs.

use jobs::{NewJob, Timer};
use serde_json::{Value, json};

use crate::{FieldError, JobKind, JobPayload, Pipeline, Task};

/// The longest beginning of a run's id that leaves room for its end.
const MAX_BEGINNING: usize = 48;

impl JobPayload {
    /// Reads a payload that may leave out what is made of it: the `run_id` of a goal, the
    /// `subtasks` of a description. Under an idempotency key they are the same each time.
    ///
    /// # Errors
    /// With the first field that will not do.
    pub fn complete(kind: JobKind, payload: &Value, key: Option<&str>) -> Result<Self, FieldError> {
        let made = match (kind, payload.as_object()) {
            (JobKind::Pipeline, Some(given)) if !given.contains_key("run_id") => {
                let goal = given.get("goal").and_then(Value::as_str);
                let run = goal.map(|goal| Pipeline::new(goal, key).run_id);
                run.map(|run| ("run_id", json!(run)))
            }
            (JobKind::Task, Some(given)) if !given.contains_key("subtasks") => {
                let text = given.get("description").and_then(Value::as_str);
                let parts = text.map(|text| Task::new(text, key).subtasks);
                parts.map(|parts| ("subtasks", json!(parts)))
            }
            _ => None,
        };
        let mut payload = payload.clone();
        if let (Some((name, value)), Some(given)) = (made, payload.as_object_mut()) {
            given.insert(name.to_owned(), value);
        }
        Self::read(kind, &payload)
    }
}

/// The job of a timer for the time that a key names. Each is a run of its own: a `run_id` that the
/// timer's payload has is what the ids of its runs begin with.
///
/// # Errors
/// With the first field that will not do.
pub fn timer_job(timer: &Timer, key: &str) -> Result<NewJob, FieldError> {
    let kind = JobKind::parse(&timer.kind)?;
    let mut work = JobPayload::complete(kind, &timer.payload, Some(key))?;
    if let (JobPayload::Pipeline(run), Some(given)) = (&mut work, timer.payload.get("run_id")) {
        let own = Pipeline::new(&run.goal, Some(key)).run_id;
        let own = own.split_once('-').map_or(own.as_str(), |(_, own)| own);
        let given: String = given
            .as_str()
            .unwrap_or("run")
            .chars()
            .take(MAX_BEGINNING)
            .collect();
        run.run_id = format!("{given}-{own}");
    }
    let payload = work.job().payload;
    Ok(NewJob {
        payload,
        ..timer.job()
    })
}

#[cfg(test)]
mod tests {
    use jobs::Schedule;

    use super::*;

    fn fired(kind: &str, payload: Value, key: &str) -> Value {
        let timer = Timer::new("t", Schedule::Every(1_000), kind, payload);
        let job = timer_job(&timer, key).unwrap();
        serde_json::from_slice(job.payload.bytes()).unwrap()
    }

    #[test]
    fn each_firing_is_a_run_of_its_own_and_the_same_one_for_whoever_fires_it() {
        let goal = json!({"goal": "How does a router drain?"});
        let one = fired("pipeline", goal.clone(), "timer/t/1");
        assert_eq!(one, fired("pipeline", goal.clone(), "timer/t/1"));
        let two = fired("pipeline", goal, "timer/t/2");
        assert_eq!(one["goal"], two["goal"]);
        assert_ne!(one["run_id"], two["run_id"]);
        let named = json!({"goal": "g", "run_id": "nightly"});
        let (one, two) = (
            fired("pipeline", named.clone(), "timer/t/1"),
            fired("pipeline", named, "timer/t/2"),
        );
        assert_ne!(one["run_id"], two["run_id"]);
        assert!(one["run_id"].as_str().unwrap().starts_with("nightly-"));
    }

    #[test]
    fn a_description_is_split_into_parts() {
        let task = fired("task", json!({"description": "Plan it, then test it"}), "k");
        assert_eq!(task["subtasks"].as_array().unwrap().len(), 2);
        let given =
            json!({"description": "d", "subtasks": [{"subtask_id": "s", "description": "d"}]});
        assert_eq!(fired("task", given.clone(), "k"), given);
    }

    #[test]
    fn what_a_timer_says_of_its_jobs_holds_for_each() {
        let mut timer = Timer::new(
            "t",
            Schedule::Every(1_000),
            "pipeline",
            json!({"goal": "g"}),
        );
        (timer.priority, timer.queue) = (5, "slow".to_owned());
        let job = timer_job(&timer, "k").unwrap();
        assert_eq!((job.priority, job.queue.as_str()), (5, "slow"));
        let bad = Timer::new(
            "t",
            Schedule::Every(1_000),
            "pipeline",
            json!({"gaol": "g"}),
        );
        assert!(timer_job(&bad, "k").is_err());
    }
}
