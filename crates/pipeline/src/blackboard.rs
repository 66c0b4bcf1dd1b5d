//! The log of a run, an entry a line, and its snapshot.

use chrono::{SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Error, LOG, Report, RunMetrics, SNAPSHOT, StepReport, files::RunFiles};

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Entry {
    /// Its number within the run, from 1. The fs tool assigns it, since two attempts may write at once.
    seq: u64,
    #[serde(flatten)]
    note: Note,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    /// When, RFC 3339.
    at: String,
    /// Which attempt wrote it.
    #[serde(default)]
    attempt: String,
    #[serde(flatten)]
    event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// The run began. In logs of earlier releases each attempt has this entry.
    RunStarted { run_id: String, goal: String },
    /// Another attempt resumes the run.
    RunResumed { run_id: String },
    /// A step's agent is called.
    StepStarted { step: String, agent: String },
    /// A step is done, and its artifact is on disk.
    StepFinished(StepReport),
    /// A step failed.
    StepFailed { step: String, error: String },
    /// All steps are done.
    RunFinished { metrics: RunMetrics },
}

/// The log of one run.
#[derive(Debug)]
pub(crate) struct Blackboard {
    run_id: String,
    /// Names this attempt in its entries.
    attempt: String,
    entries: Vec<Entry>,
}

impl Blackboard {
    /// Reads the log, without a line that a crash cut short.
    pub(crate) async fn open(files: &RunFiles, run_id: &str) -> Result<Self, Error> {
        Ok(Self {
            run_id: run_id.to_owned(),
            attempt: format!("{:08x}", rand::random::<u32>()),
            entries: read(files).await?,
        })
    }

    /// The goal that the run began with; `None` for a new run.
    pub(crate) fn goal(&self) -> Option<&str> {
        self.entries
            .iter()
            .find_map(|entry| match &entry.note.event {
                Event::RunStarted { goal, .. } => Some(goal.as_str()),
                _ => None,
            })
    }

    /// The last entry that says a step is done.
    pub(crate) fn finished_step(&self, step: &str) -> Option<&StepReport> {
        self.entries
            .iter()
            .rev()
            .find_map(|entry| match &entry.note.event {
                Event::StepFinished(report) if report.step == step => Some(report),
                _ => None,
            })
    }

    /// Whether the last entry says that all steps are done.
    pub(crate) fn is_finished(&self) -> bool {
        let last = self.entries.last().map(|entry| &entry.note.event);
        matches!(last, Some(Event::RunFinished { .. }))
    }

    /// Appends an entry, and rewrites the snapshot.
    pub(crate) async fn append(&mut self, files: &RunFiles, event: Event) -> Result<(), Error> {
        let note = Note {
            at: Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
            attempt: self.attempt.clone(),
            event,
        };
        let seq = files.append(LOG, &line(&note)?).await?;
        if seq == self.entries.last().map_or(1, |last| last.seq + 1) {
            self.entries.push(Entry { seq, note });
        } else {
            // Another attempt writes too, and its steps count.
            self.entries = read(files).await?;
        }
        files.write(SNAPSHOT, &self.snapshot()).await
    }

    /// The state after all entries, without their history.
    fn snapshot(&self) -> String {
        let mut metrics = RunMetrics::default();
        let steps: Vec<_> = crate::STEPS
            .iter()
            .map(|step| {
                let done = self.finished_step(step.name);
                if let Some(report) = done {
                    metrics.add(&report.metrics);
                }
                let status = match self.last_of(step.name) {
                    Some(Event::StepStarted { .. }) => "running",
                    Some(Event::StepFailed { .. }) => "failed",
                    Some(Event::StepFinished(_)) => "finished",
                    _ => "pending",
                };
                json!({"step": step.name, "status": status, "report": done})
            })
            .collect();
        let last = self.entries.last();
        let snapshot = json!({
            "run_id": self.run_id,
            "goal": self.goal(),
            "status": if self.is_finished() { "finished" } else { "open" },
            "seq": last.map(|entry| entry.seq),
            "updated_at": last.map(|entry| &entry.note.at),
            "steps": steps,
            "metrics": metrics,
        });
        format!("{snapshot:#}\n")
    }

    fn last_of(&self, name: &str) -> Option<&Event> {
        let events = self.entries.iter().rev().map(|entry| &entry.note.event);
        events.into_iter().find(|event| match event {
            Event::StepStarted { step, .. } | Event::StepFailed { step, .. } => step == name,
            Event::StepFinished(report) => report.step == name,
            Event::RunStarted { .. } | Event::RunResumed { .. } | Event::RunFinished { .. } => {
                false
            }
        })
    }

    /// The report of a run whose steps are all done.
    pub(crate) fn report(&self, steps: Vec<StepReport>) -> Report {
        let mut metrics = RunMetrics::default();
        steps.iter().for_each(|step| metrics.add(&step.metrics));
        let files = steps.iter().map(|step| step.artifact.as_str());
        let files = files.chain([LOG, SNAPSHOT]);
        Report {
            run_id: self.run_id.clone(),
            goal: self.goal().unwrap_or_default().to_owned(),
            artifacts: files
                .map(|file| format!("{}/{file}", self.run_id))
                .collect(),
            steps,
            metrics,
        }
    }
}

async fn read(files: &RunFiles) -> Result<Vec<Entry>, Error> {
    let log = files.read(LOG).await?.unwrap_or_default();
    let lines = log.lines();
    let entries = lines.filter_map(|line| serde_json::from_str(line).ok());
    Ok(entries.collect())
}

fn line(note: &Note) -> Result<String, Error> {
    // Never an error: a note is texts and numbers.
    serde_json::to_string(note).map_err(|error| Error::Invalid(error.to_string()))
}
