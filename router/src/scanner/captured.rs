//! Which fields of a message are captured, and what came of them.

use super::ScanError;

/// The longest string that is captured; a longer one is an error, so that memory stays bounded.
pub const MAX_CAPTURED_BYTES: usize = 1024;

/// The string fields of a message that routing reads: number and name of each.
#[derive(Debug)]
pub struct Fields {
    /// Whom the message is for; a second, different one is an error.
    pub id: (u32, &'static str),
    /// Which session it belongs to.
    pub session: Option<(u32, &'static str)>,
    /// Which task it is.
    pub task: Option<(u32, &'static str)>,
}

impl Fields {
    /// `agentplatform.TaskRequest`.
    pub const TASK_REQUEST: Self = Self {
        id: (2, "agent_id"),
        session: Some((6, "session_id")),
        task: Some((1, "task_id")),
    };
    /// `agentplatform.ToolRequest`.
    pub const TOOL_REQUEST: Self = Self {
        id: (1, "tool_id"),
        session: Some((4, "session_id")),
        task: None,
    };

    /// The name of a field that is to be captured.
    pub(super) fn name(&self, number: u32) -> Option<&'static str> {
        [Some(self.id), self.session, self.task]
            .into_iter()
            .flatten()
            .find(|(field, _)| *field == number)
            .map(|(_, name)| name)
    }
}

/// What was captured so far.
#[derive(Debug)]
pub(super) struct Captured {
    pub(super) fields: &'static Fields,
    id: String,
    session: String,
    task: String,
}

impl Captured {
    pub(super) fn new(fields: &'static Fields) -> Self {
        Self {
            fields,
            id: String::new(),
            session: String::new(),
            task: String::new(),
        }
    }

    pub(super) fn id(&self) -> Option<&str> {
        some(&self.id)
    }

    pub(super) fn session(&self) -> Option<&str> {
        some(&self.session)
    }

    pub(super) fn task(&self) -> Option<&str> {
        some(&self.task)
    }

    /// A field is complete. The instance will go by the last id, we have gone by the first: they
    /// must be one. An empty one ahead of the id is what protobuf takes for absent.
    pub(super) fn set(&mut self, number: u32, bytes: &[u8]) -> Result<(), ScanError> {
        let Some(name) = self.fields.name(number) else {
            return Ok(());
        };
        let value = std::str::from_utf8(bytes)
            .map_err(|_| ScanError::malformed(format!("{name} is not UTF-8")))?;
        if number == self.fields.id.0 {
            if !self.id.is_empty() && self.id != value {
                let first = self.id.clone();
                return Err(ScanError::Conflict {
                    field: name,
                    first,
                    second: value.to_owned(),
                });
            }
            value.clone_into(&mut self.id);
        } else if self
            .fields
            .session
            .is_some_and(|(field, _)| field == number)
        {
            value.clone_into(&mut self.session);
        } else {
            value.clone_into(&mut self.task);
        }
        Ok(())
    }
}

fn some(value: &str) -> Option<&str> {
    (!value.is_empty()).then_some(value)
}
