//! What a model costs, as OpenTelemetry's conventions for generative AI name it.

use std::time::Duration;

use telemetry::{Histogram, MetricsRegistry, TraceContext};

use crate::{Error, stream::Completion};

/// Upper bounds as the conventions advise them.
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
const SECONDS: [f64; 14] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];

/// What is asked of the model.
const OPERATION: &str = "chat";

telemetry::metrics! {
    struct Rows {
        tokens: Histogram ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_token_type"] =
            "gen_ai_client_token_usage": "Tokens sent to a model and written by it, of answers that say so",
            || Histogram::new(TOKENS);
        duration: Histogram ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "error_type"] =
            "gen_ai_client_operation_duration_seconds": "Duration of questions to a model with their retries, without answers of the cache",
            || Histogram::new(SECONDS);
    }
}

/// The metrics of one model.
#[derive(Clone, Debug)]
pub(crate) struct ModelMetrics {
    rows: Rows,
    provider: &'static str,
    model: String,
}

impl ModelMetrics {
    pub(crate) fn new(registry: &MetricsRegistry, provider: &'static str, model: &str) -> Self {
        Self {
            rows: Rows::new(registry),
            provider,
            model: model.to_owned(),
        }
    }

    /// A question was answered, or was not.
    pub(crate) fn observe(&self, answer: &Result<Completion, Error>, took: Duration) {
        let error = match answer {
            Ok(_) => String::new(),
            Err(Error::Rejected { status, .. }) => status.to_string(),
            Err(Error::Timeout) => "timeout".to_owned(),
            Err(Error::Unavailable(_) | Error::RetryAfter(..)) => "unavailable".to_owned(),
            Err(Error::InvalidResponse(_)) => "invalid_response".to_owned(),
            Err(Error::InvalidConfig { .. } | Error::TooManyRounds(_)) => "_OTHER".to_owned(),
        };
        let labels = [OPERATION, self.provider, &self.model];
        let [operation, provider, model] = labels;
        let duration = self.rows.duration.of([operation, provider, model, &error]);
        duration.observe_of(took.as_secs_f64(), TraceContext::current());
        let tokens = answer.as_ref().ok().and_then(|answer| answer.tokens);
        if let Some((input, output)) = tokens {
            for (kind, count) in [("input", input), ("output", output)] {
                let tokens = self.rows.tokens.of([operation, provider, model, kind]);
                tokens.observe(count as f64);
            }
        }
    }
}
