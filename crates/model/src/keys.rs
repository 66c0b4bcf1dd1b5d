//! The configuration keys of whoever uses a model.

use service::{Config, Key, Type};

use crate::{Error, Model, ModelOptions};

/// The keys of a model, for a program's table.
pub const KEYS: &[Key] = &[
    Key::text(
        "model_url",
        "",
        "base URL of an OpenAI-compatible API, such as http://localhost:11434/v1; none without it",
    ),
    Key::text("model_name", "", "the model to ask for"),
    Key::text("model_api_key", "", "key of the API").secret(),
    Key::duration(
        "model_timeout",
        "120s",
        "longest time for one request to the model, its retries included",
    ),
    Key::duration(
        "model_connect_timeout",
        "5s",
        "longest time for a connection to the model",
    ),
    Key::new(
        "model_attempts",
        Type::Integer(1, 20),
        "4",
        "how often one request is sent, at most",
    ),
    Key::new(
        "model_rounds",
        Type::Integer(1, 50),
        "6",
        "how often the model may call tools before it has to answer",
    ),
    Key::new(
        "model_max_tokens",
        Type::Integer(1, 1_000_000),
        "4096",
        "most tokens of one answer",
    ),
    Key::new(
        "model_max_tokens_name",
        Type::Choice(&["auto", "max_tokens", "max_completion_tokens", "none"]),
        "auto",
        "what a request calls its most tokens; none sends no limit, auto finds the name out",
    ),
    Key::new(
        "model_temperature",
        Type::Custom(is_temperature, "a number from 0 to 2, or none"),
        "0",
        "how much chance there is in an answer; none leaves it to the endpoint",
    ),
    Key::list(
        "model_omit",
        "",
        "parameters that no request has, such as stream_options, temperature, tool_choice or stream",
    ),
    Key::size("model_max_bytes", "4MiB", "largest answer that is read"),
    Key::size(
        "model_cache_bytes",
        "8MiB",
        "answers kept in memory for the same question; 0 keeps none",
    ),
    Key::duration(
        "tool_timeout",
        "15s",
        "longest wait for a tool that is called",
    ),
];

fn is_temperature(text: &str) -> bool {
    text == "none"
        || text
            .parse()
            .is_ok_and(|value: f64| (0.0..=2.0).contains(&value))
}

/// The model that the keys describe; `None` when `model_url` is empty.
///
/// # Errors
/// When they describe one that cannot be.
pub fn from_config(config: &Config) -> Result<Option<Model>, Error> {
    let Some(url) = config.optional("model_url") else {
        return Ok(None);
    };
    let options = ModelOptions {
        url: url.to_owned(),
        name: config.text("model_name").to_owned(),
        api_key: config.optional("model_api_key").map(str::to_owned),
        timeout: config.duration("model_timeout"),
        connect_timeout: config.duration("model_connect_timeout"),
        attempts: config.integer("model_attempts"),
        rounds: config.integer("model_rounds"),
        max_tokens: config.integer("model_max_tokens"),
        limit: config.text("model_max_tokens_name").to_owned(),
        temperature: config.text("model_temperature").parse().ok(),
        omit: config.list("model_omit"),
        max_bytes: config.size("model_max_bytes"),
        cache_bytes: config.size("model_cache_bytes"),
    };
    Model::new(options).map(Some)
}
