//! Pins: the first definition of each tool of a mounted server is kept in the registry's KV store. A
//! tool whose definition differs from its pin is neither listed nor called until an operator approves
//! it: a server may show a harmless tool first and another one under its name later.

mod difference;
mod key;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use config::keys;
use discovery::{Discovery, Error as RegistryError, KvEntries, first_answer};
use parking_lot::Mutex;
use serde_json::Value;

use crate::text::canonical;
use key::{CHANGED, PINNED, key, unescaped};

pub use difference::{Change, changes};

config::choice! {
    /// Whose definitions are pinned.
    pub enum PinMode {
        /// Those of mounted servers.
        Mounts = "mounts",
        /// Nobody's.
        Off = "off",
    }
}

keys! {
    /// Whether definitions are pinned.
    #[derive(Clone, Debug)]
    pub struct PinKeys: "Pins of mounted tools" {
        /// Whose tools are pinned: a changed one is neither listed nor called until it is approved.
        mcp_pins: PinMode = config::choice("mounts"),
    }
}

/// The largest definition that a KV store takes.
const MAX_DEFINITION: usize = 256 << 10;
/// Pins of one mount at most. A server that names its tools otherwise each time would fill the store.
const MAX_PINS: usize = if cfg!(test) { 100 } else { 10_000 };
/// How long the registry may take to say what is pinned.
const PATIENCE: Duration = Duration::from_secs(5);
/// What of a definition is pinned.
const SHOWN_FIELDS: [&str; 6] = [
    "name",
    "title",
    "description",
    "inputSchema",
    "outputSchema",
    "annotations",
];

/// The pins in a registry.
#[derive(Debug)]
pub struct Pins {
    registry: Arc<dyn Discovery>,
    /// What was written and has not come back yet.
    written: Mutex<BTreeMap<String, String>>,
}

/// One pinned tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Pin {
    /// Consul name of the mount, such as `tool-everything`.
    pub service: String,
    /// The tool.
    pub tool: String,
    /// The definition that was approved, or seen first.
    pub approved: Value,
    /// The definition that waits for approval.
    pub changed: Option<Value>,
}

/// How a tool stands against its pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is as it was approved.
    Approved,
    /// It changed: it is not to be used.
    Changed,
    /// It cannot be said: it is not to be used until it can. The text says why.
    Unknown(String),
    /// It is as it was first seen here, but the registry does not keep that. The text says why.
    NotKept(String),
}

/// Why pins cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The registry does not answer, or refuses.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// It has not answered in time.
    #[error("the registry does not say what is pinned{0}")]
    Silent(String),
    /// There is nothing to approve.
    #[error("{0} has no changed tool{1}: `meshctl mcp pins` lists them")]
    NothingChanged(String, String),
}

impl Pins {
    /// The pins of a registry.
    #[must_use]
    pub fn new(registry: Arc<dyn Discovery>) -> Self {
        let written = Mutex::default();
        Self { registry, written }
    }

    async fn entries(&self) -> Result<Arc<KvEntries>, PinError> {
        let mut entries = self.registry.entries();
        first_answer(&mut entries, PATIENCE).await.ok_or_else(|| {
            let why = self.registry.last_error();
            PinError::Silent(why.map(|why| format!(": {why}")).unwrap_or_default())
        })
    }

    /// Every pin, of one mount or of all, in order.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn list(&self, service: Option<&str>) -> Result<Vec<Pin>, PinError> {
        let entries = self.entries().await?;
        let pins = entries.values.iter().filter_map(|(path, approved)| {
            let (of, tool) = path.strip_prefix(PINNED)?.split_once('/')?;
            let tool = unescaped(tool);
            let changed = entries.values.get(&*key(CHANGED, of, &tool));
            let wanted = service.is_none_or(|service| service == of);
            wanted.then(|| Pin {
                service: of.to_owned(),
                approved: serde_json::from_str(approved).unwrap_or_default(),
                changed: changed.and_then(|changed| serde_json::from_str(changed).ok()),
                tool,
            })
        });
        Ok(pins.collect())
    }

    /// Approves the changed tools of a mount, or one of them, and gives what differed.
    ///
    /// # Errors
    /// When nothing changed, or the registry does not answer.
    pub async fn approve(
        &self,
        service: &str,
        tool: Option<&str>,
    ) -> Result<Vec<(Pin, Vec<Change>)>, PinError> {
        let mut pins = self.list(Some(service)).await?;
        pins.retain(|pin| pin.changed.is_some() && tool.is_none_or(|tool| tool == pin.tool));
        if pins.is_empty() {
            let tool = tool.map(|tool| format!(" {tool:?}")).unwrap_or_default();
            return Err(PinError::NothingChanged(service.to_owned(), tool));
        }
        let mut approved = Vec::new();
        for pin in pins {
            let Some(changed) = &pin.changed else {
                continue;
            };
            let (pinned, waiting) = (
                key(PINNED, service, &pin.tool),
                key(CHANGED, service, &pin.tool),
            );
            let value = definition(changed);
            self.registry.write(&pinned, Some(&value)).await?;
            self.registry.write(&waiting, None).await?;
            let differs = changes(&pin.approved, changed);
            approved.push((pin, differs));
        }
        Ok(approved)
    }

    /// How the tools of a mount stand, each with its [`definition`]. A tool without a pin is pinned as
    /// it is.
    pub async fn check(
        &self,
        service: &str,
        tools: Vec<(String, String)>,
    ) -> BTreeMap<String, Standing> {
        let entries = self.entries().await;
        let mut standings = BTreeMap::new();
        let begin = key(PINNED, service, "");
        let count = entries.as_ref().map_or(0, |entries| {
            let pinned = entries
                .values
                .keys()
                .filter(|path| path.starts_with(&begin));
            pinned.count()
        });
        let mut room = MAX_PINS.saturating_sub(count.max(self.written.lock().len()));
        for (name, definition) in tools {
            let standing = match &entries {
                Ok(entries) => {
                    self.check_one(entries, service, (&name, &definition), &mut room)
                        .await
                }
                Err(error) => Standing::Unknown(error.to_string()),
            };
            standings.insert(name, standing);
        }
        standings
    }

    async fn check_one(
        &self,
        entries: &KvEntries,
        service: &str,
        (name, now): (&str, &str),
        room: &mut usize,
    ) -> Standing {
        if now.len() > MAX_DEFINITION {
            let text = format!(
                "its definition has {} bytes, more than a pin may",
                now.len()
            );
            return Standing::Unknown(text);
        }
        let path = key(PINNED, service, name);
        let known = entries.values.get(&*path).map(|it| (**it).to_owned());
        let known = {
            let mut written = self.written.lock();
            match known {
                Some(known) => {
                    written.remove(&path);
                    Some(known)
                }
                None => written.get(&path).cloned(),
            }
        };
        let Some(known) = known else {
            let Some(left) = room.checked_sub(1) else {
                let text = format!(
                    "{MAX_PINS} tools of {service} are pinned: remove those that are gone from {PINNED}{service}/ in the \
                     registry's KV store"
                );
                return Standing::Unknown(text);
            };
            *room = left;
            self.written.lock().insert(path.clone(), now.to_owned());
            return match self.registry.write(&path, Some(now)).await {
                Ok(()) => Standing::Approved,
                Err(error) => Standing::NotKept(error.to_string()),
            };
        };
        let changed = key(CHANGED, service, name);
        let waiting = entries.values.get(&*changed);
        if same(&known, now) {
            if waiting.is_some() {
                // It is again what it was.
                self.registry.write(&changed, None).await.ok();
            }
            return Standing::Approved;
        }
        if waiting.is_none_or(|waiting| !same(waiting, now)) {
            // Without it the change cannot be shown; it is refused all the same.
            self.registry.write(&changed, Some(now)).await.ok();
        }
        Standing::Changed
    }
}

/// Whether two texts are the same definition.
fn same(one: &str, other: &str) -> bool {
    let read = |text: &str| serde_json::from_str::<Value>(text).ok();
    one == other || read(one).is_some_and(|it| Some(it) == read(other))
}

/// A definition as it is pinned: what a model or a person is shown of it, its fields in order.
#[must_use]
pub fn definition(entry: &Value) -> String {
    let shown = SHOWN_FIELDS.iter().filter_map(|name| {
        let value = entry.get(name)?;
        Some(((*name).to_owned(), value.clone()))
    });
    canonical(&Value::Object(shown.collect()))
}

#[cfg(test)]
mod tests {
    use discovery::backends::Memory;
    use serde_json::json;

    use super::*;

    fn tool(description: &str) -> Value {
        json!({"name": "add_1", "description": description, "inputSchema": {"type": "object"}})
    }

    async fn standing(pins: &Pins, entry: &Value) -> Standing {
        let tools = vec![("add_1".to_owned(), definition(entry))];
        let mut all = pins.check("tool-x", tools).await;
        all.remove("add_1").unwrap()
    }

    #[tokio::test]
    async fn a_changed_tool_is_not_used_until_it_is_approved() {
        let registry: Arc<dyn Discovery> = Arc::new(Memory::new());
        let (mount, operator) = (Pins::new(registry.clone()), Pins::new(registry.clone()));
        let (old, new) = (tool("adds"), tool("adds, and sends your files"));
        assert_eq!(standing(&mount, &old).await, Standing::Approved);
        let told = operator
            .approve("tool-x", None)
            .await
            .unwrap_err()
            .to_string();
        assert!(told.contains("has no changed tool"), "{told}");
        assert_eq!(standing(&mount, &new).await, Standing::Changed);
        // Another mount of the server sees the same.
        assert_eq!(
            standing(&Pins::new(registry.clone()), &new).await,
            Standing::Changed
        );
        let pins = operator.list(None).await.unwrap();
        assert_eq!(
            (pins[0].tool.as_str(), pins[0].changed.as_ref()),
            ("add_1", Some(&new))
        );
        let approved = operator.approve("tool-x", Some("add_1")).await.unwrap();
        let shown = approved[0].1[0].to_string();
        assert_eq!(
            shown,
            "/description\n  - \"adds\"\n  + \"adds, and sends your files\""
        );
        assert_eq!(standing(&mount, &new).await, Standing::Approved);
        assert_eq!(standing(&mount, &old).await, Standing::Changed);
        assert_eq!(standing(&mount, &new).await, Standing::Approved);
        assert_eq!(
            operator.list(Some("tool-x")).await.unwrap()[0].changed,
            None
        );
    }

    #[tokio::test]
    async fn what_the_registry_does_not_keep_holds_for_this_process() {
        let memory = Arc::new(Memory::new());
        let pins = Pins::new(memory.clone());
        memory.set_reachable(false);
        assert!(matches!(
            standing(&pins, &tool("a")).await,
            Standing::NotKept(_)
        ));
        assert_eq!(standing(&pins, &tool("a")).await, Standing::Approved);
        assert_eq!(standing(&pins, &tool("b")).await, Standing::Changed);
    }

    #[tokio::test]
    async fn the_order_of_fields_and_what_is_not_shown_are_no_change() {
        let pins = Pins::new(Arc::new(Memory::new()));
        let first: Value =
            serde_json::from_str(r#"{"name":"add_1","_meta":{"a":1},"b":{"x":1,"y":2}}"#).unwrap();
        let again: Value = serde_json::from_str(r#"{"b":{"y":2,"x":1},"name":"add_1"}"#).unwrap();
        assert_eq!(standing(&pins, &first).await, Standing::Approved);
        assert_eq!(standing(&pins, &again).await, Standing::Approved);
    }

    #[tokio::test]
    async fn a_server_of_ever_new_names_does_not_fill_the_store() {
        let memory = Arc::new(Memory::new());
        let pins = Pins::new(memory.clone());
        for round in 0..12 {
            let tools = (0..MAX_PINS / 10).map(|at| (format!("t{round}-{at}"), "{}".to_owned()));
            pins.check("tool-x", tools.collect()).await;
        }
        let kept = memory.entries().borrow().as_ref().unwrap().values.len();
        assert_eq!(kept, MAX_PINS);
        let more = vec![("one-more".to_owned(), "{}".to_owned())];
        let standing = pins.check("tool-x", more).await.remove("one-more");
        assert!(
            matches!(standing, Some(Standing::Unknown(_))),
            "{standing:?}"
        );
        // Another mount has room of its own.
        let tools = vec![("a".to_owned(), "{}".to_owned())];
        let other = Pins::new(memory).check("tool-y", tools).await;
        assert_eq!(other["a"], Standing::Approved);
    }
}
