//! The report of a run.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// A run that is complete.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Its id: the directory of its files.
    pub run_id: String,
    /// What was wanted.
    pub goal: String,
    /// Paths of its files beneath `OUT_DIR`, the blackboard last.
    pub artifacts: Vec<String>,
    /// Its steps in order.
    pub steps: Vec<StepReport>,
    /// The sum over all steps, those of earlier attempts included.
    pub metrics: RunMetrics,
}

/// One step that is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Its name.
    pub step: String,
    /// ID of the instance that answered.
    pub agent: String,
    /// The file that it wrote.
    pub artifact: String,
    /// Size of that, bytes.
    pub bytes: usize,
    /// Fingerprint of that: 16 hexadecimal digits of xxh3.
    pub fingerprint: String,
    /// How long it took, ms.
    pub duration_ms: u64,
    /// Whether an earlier attempt of the run did it.
    #[serde(default)]
    pub resumed: bool,
    /// What it used.
    pub metrics: RunMetrics,
}

/// What a step or a run used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMetrics {
    /// Calls of tools.
    pub tool_calls: u64,
    /// Requests to the model that were answered, also from its cache.
    pub llm_calls: u64,
    /// Requests that the cache answered.
    pub cache_hits: u64,
    /// Tokens sent to the model and written by it.
    pub tokens_used: u64,
    /// Tokens sent.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
    /// The model; `none` without one.
    pub llm_model: String,
    /// `model` or `extractive`.
    pub mode: String,
}

impl RunMetrics {
    /// The metrics in the metadata of an agent's answer; those that are missing are 0.
    #[must_use]
    pub fn from_metadata(metadata: &HashMap<String, String>) -> Self {
        let count = |key| metadata.get(key).and_then(|n| n.parse().ok()).unwrap_or(0);
        let text = |key: &str| metadata.get(key).cloned().unwrap_or_default();
        Self {
            tool_calls: count("tool_calls"),
            llm_calls: count("llm_calls"),
            cache_hits: count("cache_hits"),
            tokens_used: count("tokens_used"),
            prompt_tokens: count("prompt_tokens"),
            completion_tokens: count("completion_tokens"),
            llm_model: text("llm_model"),
            mode: text("mode"),
        }
    }

    /// Adds the metrics of another step.
    pub fn add(&mut self, other: &Self) {
        self.tool_calls += other.tool_calls;
        self.llm_calls += other.llm_calls;
        self.cache_hits += other.cache_hits;
        self.tokens_used += other.tokens_used;
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        join(&mut self.llm_model, &other.llm_model);
        join(&mut self.mode, &other.mode);
    }
}

/// Joins the values of steps that differ: `extractive, model`.
fn join(all: &mut String, one: &str) {
    if all.is_empty() {
        one.clone_into(all);
    } else if !one.is_empty() && all.split(", ").all(|known| known != one) {
        all.push_str(", ");
        all.push_str(one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_steps_add_up() {
        let step = |tokens: &str, mode: &str| {
            let pairs = [
                ("tokens_used", tokens),
                ("mode", mode),
                ("llm_model", "none"),
            ];
            RunMetrics::from_metadata(&pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into())
        };
        let mut sum = RunMetrics::default();
        for one in [
            step("7", "model"),
            step("junk", "extractive"),
            step("3", "model"),
        ] {
            sum.add(&one);
        }
        assert_eq!((sum.tokens_used, &*sum.mode), (10, "model, extractive"));
        assert_eq!(sum.llm_model, "none");
    }
}
