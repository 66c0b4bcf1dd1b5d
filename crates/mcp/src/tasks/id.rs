//! The id of a task: that of its job, and a letter for how its answer is read. So any replica can tell
//! of a task, whatever became of its tool.

use std::{fmt, str::FromStr};

use jobs::JobId;

use crate::call::Form;

/// How the answer of a job is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Task,
    Tool,
    Message,
}

const LETTERS: [(Answer, char); 3] = [
    (Answer::Task, 'a'),
    (Answer::Tool, 't'),
    (Answer::Message, 'm'),
];

/// The id of a task, such as `default.0.0193a7c0f2b1f00d5e1f8a3c2d4.a`. Its job has 64 random bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskId {
    pub(crate) job: JobId,
    answer: Answer,
}

impl TaskId {
    pub(crate) fn new(job: &JobId, form: &Form) -> Self {
        let answer = match form {
            Form::Task => Answer::Task,
            Form::Tool { .. } => Answer::Tool,
            Form::Message(_) | Form::Stream(_) | Form::Json | Form::Mounted => Answer::Message,
        };
        Self {
            job: job.clone(),
            answer,
        }
    }

    pub(crate) fn form(&self) -> Form {
        match self.answer {
            Answer::Task => Form::Task,
            Answer::Tool => Form::Tool { has_schema: false },
            Answer::Message => Form::Json,
        }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = LETTERS.iter().find(|(answer, _)| *answer == self.answer);
        write!(
            f,
            "{}.{}",
            self.job,
            letter.map_or('m', |(_, letter)| *letter)
        )
    }
}

impl FromStr for TaskId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (job, letter) = text.rsplit_once('.').ok_or(())?;
        let found = LETTERS
            .iter()
            .find(|(_, known)| letter.chars().eq([*known]));
        Ok(Self {
            answer: found.ok_or(())?.0,
            job: job.parse().map_err(|_| ())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_text_and_others_are_none() {
        let job = JobId::new(&jobs::Lane::new("default", 0).unwrap());
        for form in [Form::Task, Form::Tool { has_schema: true }, Form::Json] {
            let id = TaskId::new(&job, &form);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for text in [
            "",
            "a",
            &job.to_string(),
            &format!("{job}.x"),
            &format!("{job}.aa"),
            "x.a",
        ] {
            assert_eq!(text.parse::<TaskId>(), Err(()), "{text}");
        }
    }
}
