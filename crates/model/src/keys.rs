//! The configuration keys of a model.

use std::time::Duration;

use config::{Secret, checked, duration, integer, keys, list, optional, secret, size, text, word};

keys! {
    /// The keys of a model.
    #[derive(Clone, Debug)]
    pub struct ModelKeys: "Language model" {
        /// Base URL of an OpenAI-compatible API, such as http://localhost:11434/v1. Empty: no model.
        model_url: Option<String> = optional(),
        /// The model to ask for.
        model_name: String = text(""),
        /// The API's key.
        model_api_key: Option<Secret> = secret(),
        /// Longest time for one request to the model, its retries included.
        model_timeout: Duration = duration("120s").zero("every request fails"),
        /// Longest time to connect to the model.
        model_connect_timeout: Duration = duration("5s").zero("every request fails"),
        /// Most attempts of one request.
        model_attempts: u32 = integer(4, 1..=20, "attempts"),
        /// How often the model may call tools before it has to answer.
        model_rounds: u32 = integer(6, 1..=50, "rounds"),
        /// Most tokens of one answer.
        model_max_tokens: u32 = integer(4096, 1..=1_000_000, "tokens"),
        /// Parameter that carries `model_max_tokens`. `none` sends no limit, `auto` finds the name out.
        model_max_tokens_name: String = word(
            "auto",
            &["auto", "max_tokens", "max_completion_tokens", "none"],
            |word| Some(word.to_owned()),
        ),
        /// Randomness of answers. `none` leaves it to the endpoint.
        model_temperature: Option<f64> = checked(
            "0",
            temperature,
            |text| temperature(text).is_some(),
            "a number from 0 to 2, or none",
        ),
        /// Parameters to leave out of every request, such as stream_options or tool_choice.
        model_omit: Vec<String> = list(),
        /// Largest answer that is read.
        model_max_bytes: usize = size("4MiB").zero("none is read"),
        /// Answers that are kept in memory for the same question.
        model_cache_bytes: usize = size("8MiB").zero("none are kept"),
    }
}

fn temperature(text: &str) -> Option<Option<f64>> {
    match text {
        "none" => Some(None),
        text => {
            let value = text.parse().ok();
            value.filter(|value| (0.0..=2.0).contains(value)).map(Some)
        }
    }
}
