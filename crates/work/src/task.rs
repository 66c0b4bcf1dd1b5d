//! The kind `task`: a description in parts, each for the agent that suits it best.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    FieldError, MAX_SUBTASKS,
    ids::IdSeed,
    pipeline::{check_id, check_text},
    split,
};

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The whole, in the user's words.
    pub description: String,
    /// Its parts, known from the start so that whoever submits it can be told.
    pub subtasks: Vec<Subtask>,
}

/// A part of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subtask {
    /// Its id within the task.
    pub subtask_id: String,
    /// What is to be done.
    pub description: String,
}

impl Task {
    /// Splits a description. Under an idempotency key its parts have the same ids each time.
    #[must_use]
    pub fn new(description: &str, idempotency_key: Option<&str>) -> Self {
        let seed = IdSeed::new(idempotency_key, description);
        let subtasks = (1..).zip(split(description)).map(|(number, part)| Subtask {
            subtask_id: seed.id("sub", number),
            description: part,
        });
        Self {
            description: description.to_owned(),
            subtasks: subtasks.collect(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), FieldError> {
        check_text("description", &self.description)?;
        let count = self.subtasks.len();
        if count == 0 || count > MAX_SUBTASKS {
            let reason = format!("{count} are not 1 to {MAX_SUBTASKS}");
            return Err(FieldError::new("subtasks", reason));
        }
        let mut known = BTreeSet::new();
        for (index, subtask) in self.subtasks.iter().enumerate() {
            let field = |name: &str| format!("subtasks[{index}].{name}");
            check_id(field("subtask_id"), &subtask.subtask_id)?;
            check_text(&field("description"), &subtask.description)?;
            if !known.insert(&subtask.subtask_id) {
                return Err(FieldError::new(field("subtask_id"), "is there twice"));
            }
        }
        Ok(())
    }
}
