//! What a server may ask a client for, and which client can answer.

use serde_json::{Map, Value, json};

/// The methods by which a server asks, and the capability that answers each.
const METHODS: [(&str, &str); 3] = [
    ("sampling/createMessage", "sampling"),
    ("elicitation/create", "elicitation"),
    ("roots/list", "roots"),
];

/// The capabilities of a client, as it declares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Capabilities(pub(crate) Map<String, Value>);

impl Capabilities {
    /// The capabilities in a client's own words; none where they are no object.
    pub(crate) fn read(value: Option<&Value>) -> Self {
        Self(
            value
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
        )
    }

    /// The same as 2026-07-28 has them; with the extension of tasks where it is wanted.
    pub(crate) fn modern(&self, with_tasks: bool) -> Map<String, Value> {
        let mut capabilities = self.0.clone();
        capabilities.remove("tasks");
        if with_tasks {
            add_tasks(&mut capabilities);
        }
        capabilities
    }

    /// All that a mount passes on. It is what a server of a session is told, since the session is of
    /// no client; which client answers is seen for each question.
    pub(crate) fn all() -> Self {
        let all = json!({
            "elicitation": {"form": {}, "url": {}},
            "sampling": {"context": {}, "tools": {}},
            "roots": {},
        });
        Self::read(Some(&all))
    }

    /// Whether the client can answer this method.
    pub(crate) fn answer(
        &self,
        method: &str,
        params: Option<&serde_json::value::RawValue>,
    ) -> bool {
        let Some(name) = capability(method) else {
            return false;
        };
        let Some(declared) = self.0.get(name) else {
            return false;
        };
        // An elicitation without a mode is by a form, and so is a capability without one.
        let by_url = params.is_some_and(|params| {
            serde_json::from_str::<Value>(params.get()).is_ok_and(|it| it["mode"] == "url")
        });
        name != "elicitation" || !by_url || declared.get("url").is_some()
    }
}

/// The extension of tasks.
pub(crate) const TASKS: &str = "io.modelcontextprotocol/tasks";

/// Declares the extension of tasks. What a peer gave for extensions may be anything.
pub(crate) fn add_tasks(capabilities: &mut Map<String, Value>) {
    let extensions = capabilities.entry("extensions").or_insert(Value::Null);
    match extensions {
        Value::Object(extensions) => drop(extensions.insert(TASKS.to_owned(), json!({}))),
        other => *other = json!({ TASKS: {} }),
    }
}

/// Whether the capabilities of a peer have the extension of tasks.
pub(crate) fn has_tasks(capabilities: &Map<String, Value>) -> bool {
    let extensions = capabilities.get("extensions");
    extensions.is_some_and(|it| it.get(TASKS).is_some())
}

/// The capability that answers a method; `None` where that is no question to a client.
pub(crate) fn capability(method: &str) -> Option<&'static str> {
    let row = METHODS.iter().find(|(known, _)| *known == method);
    row.map(|(_, name)| *name)
}
