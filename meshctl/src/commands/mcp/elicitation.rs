//! What is answered to a tool that asks back.

use serde_json::{Map, Value, json};

use crate::{
    mcp::Responder,
    output::{Output, plain},
};

/// Answers with what was given on the command line, shows progress.
#[derive(Debug)]
pub(super) struct Person<'a> {
    pub(super) out: &'a Output,
    /// `None` when nothing was given: then no tool asks.
    pub(super) answer: Option<Map<String, Value>>,
}

impl Responder for Person<'_> {
    fn capabilities(&self) -> Map<String, Value> {
        let mut capabilities = Map::new();
        if self.answer.is_some() {
            capabilities.insert("elicitation".to_owned(), json!({}));
        }
        capabilities
    }

    fn respond(&mut self, method: &str, params: &Value) -> Option<Value> {
        match (method, &self.answer) {
            ("ping", _) => Some(json!({})),
            ("elicitation/create", Some(answer)) => {
                let asked = crate::output::text(params, "message");
                self.out.remark(&format!("asked: {asked}"));
                Some(json!({ "action": "accept", "content": content(params, answer) }))
            }
            _ => None,
        }
    }

    fn told(&mut self, method: &str, params: &Value) {
        match method {
            "notifications/progress" => {
                let told = plain(params["message"].as_str().unwrap_or_default());
                let done = match (&params["progress"], &params["total"]) {
                    (done, Value::Null) => format!("{done}"),
                    (done, total) => format!("{done} of {total}"),
                };
                self.out.progress(format!("{done} {told}").trim());
            }
            "notifications/tasks" => {
                let status = crate::output::text(params, "status");
                let told = crate::output::text(params, "statusMessage");
                self.out.progress(format!("{status} {told}").trim());
            }
            "notifications/message" => {
                let data = match &params["data"] {
                    Value::String(text) => text.clone(),
                    data => data.to_string(),
                };
                self.out.remark(&plain(&data));
            }
            _ => {}
        }
    }
}

/// The fields that a form asks for: as given, else their defaults.
fn content(params: &Value, given: &Map<String, Value>) -> Map<String, Value> {
    let mut content = Map::new();
    let fields = params["requestedSchema"]["properties"].as_object();
    for (name, schema) in fields.into_iter().flatten() {
        if let Some(value) = given.get(name).or(schema.get("default")) {
            content.insert(name.clone(), value.clone());
        }
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_filled_with_what_was_given_and_with_defaults() {
        let params = json!({"message": "who?", "requestedSchema": {"type": "object", "properties": {
            "name": {"type": "string", "default": "John"}, "age": {"type": "integer", "default": 30},
            "nick": {"type": "string"}}}});
        let given = json!({"age": 31, "other": 1});
        let content = content(&params, given.as_object().unwrap());
        assert_eq!(Value::Object(content), json!({"name": "John", "age": 31}));
    }
}
