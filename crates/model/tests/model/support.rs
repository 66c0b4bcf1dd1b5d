//! A model at an endpoint of the test, and a function to call.

use std::time::Duration;

use mesh_model::{
    Functions, Model, ModelKeys, TextSink,
    wire::{Function, Message},
};
use parking_lot::Mutex;
use serde_json::json;
use testkit::model_endpoint::{self, ModelEndpoint, http};

/// A call of the function `lookup`.
pub(crate) fn calls(arguments: &str) -> String {
    model_endpoint::calls(&[("lookup", arguments)])
}

pub(crate) fn model(server: &ModelEndpoint) -> Model {
    Model::new(keys(server)).unwrap()
}

pub(crate) fn keys(server: &ModelEndpoint) -> ModelKeys {
    ModelKeys {
        model_url: Some(server.url.clone()),
        model_name: "small".to_owned(),
        model_api_key: "hunter2".parse().ok(),
        model_timeout: Duration::from_secs(20),
        model_connect_timeout: Duration::from_secs(2),
        model_attempts: 3,
        model_rounds: 3,
        model_max_tokens: 100,
        model_max_bytes: 10_000,
        model_cache_bytes: 100_000,
        ..ModelKeys::default()
    }
}

#[derive(Debug)]
pub(crate) struct Lookup {
    pub(crate) offered: Vec<Function>,
    pub(crate) called: Mutex<Vec<String>>,
}

impl Lookup {
    pub(crate) fn new() -> Self {
        let offered = vec![Function {
            name: "lookup".to_owned(),
            description: "looks up".to_owned(),
            parameters: json!({"type": "object", "properties": {"word": {"type": "string"}}}),
        }];
        Self {
            offered,
            called: Mutex::default(),
        }
    }
}

#[async_trait::async_trait]
impl Functions for Lookup {
    fn definitions(&self) -> &[Function] {
        &self.offered
    }

    async fn call(&self, name: &str, arguments: &str) -> String {
        self.called.lock().push(format!("{name} {arguments}"));
        "a router".to_owned()
    }
}

#[derive(Default)]
pub(crate) struct CollectingSink(pub(crate) Mutex<Vec<String>>);

#[async_trait::async_trait]
impl TextSink for CollectingSink {
    async fn send(&self, piece: &str) {
        self.0.lock().push(piece.to_owned());
    }
}

pub(crate) fn question() -> Vec<Message> {
    vec![Message::system("You answer."), Message::user("What is it?")]
}

pub(crate) fn refuses(text: &str, param: &str) -> String {
    let error = json!({"error": {"message": text, "param": param}});
    http("400 Bad Request", "", &error.to_string())
}
