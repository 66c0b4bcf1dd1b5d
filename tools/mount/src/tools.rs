//! Which tools of the server may be listed and called.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mcp::pins::{Pins, Standing, definition};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::{
    definitions::{self, Definition, Definitions},
    keys::MountKeys,
    link::{Era, Link},
    message::{Raw, fields, text, to_raw},
};

/// The tools.
#[derive(Debug)]
pub(crate) struct Tools {
    /// As they were read last. `None` until they were read once.
    known: watch::Sender<Option<Arc<Definitions>>>,
    /// Those whose definition cannot be used.
    invalid: Mutex<BTreeSet<String>>,
    /// Those that may not be used, and why.
    blocked: Mutex<BTreeMap<String, String>>,
    /// Told when a tool is not as it is known.
    pub(crate) strange: Notify,
}

/// What a comparison with the pins came to.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// Whether other tools are blocked than before.
    pub(crate) differs: bool,
    /// How many are.
    pub(crate) blocked: usize,
    /// Why the registry keeps no pins, if it does not.
    pub(crate) not_kept: Option<String>,
}

impl Default for Tools {
    fn default() -> Self {
        Self {
            known: watch::channel(None).0,
            invalid: Mutex::default(),
            blocked: Mutex::default(),
            strange: Notify::new(),
        }
    }
}

impl Tools {
    /// Reads them from the server.
    pub(crate) async fn read(
        &self,
        link: &dyn Link,
        keys: &MountKeys,
    ) -> anyhow::Result<Definitions> {
        let read = definitions::list(link, keys).await?;
        let over_http = link.facts().era == Era::Modern && link.has_headers();
        let mut invalid = BTreeSet::new();
        let mut usable = |it: &Arc<Definition>| match &it.invalid {
            Some(reason) if over_http => {
                tracing::warn!(tool = it.name, reason, "the tool is left out");
                invalid.insert(it.name.clone());
                false
            }
            _ => true,
        };
        let read = read.into_iter().filter(|(_, it)| usable(it)).collect();
        *self.invalid.lock() = invalid;
        Ok(read)
    }

    /// Takes what was read.
    pub(crate) fn set(&self, read: Definitions) {
        self.known.send_replace(Some(Arc::new(read)));
    }

    /// They are to be read and compared again before any is used.
    pub(crate) fn forget(&self) {
        self.known.send_replace(None);
    }

    /// Those that are known; `None` until they were read once.
    pub(crate) fn known(&self) -> Option<Arc<Definitions>> {
        self.known.borrow().clone()
    }

    /// Those that may be used, by their names.
    pub(crate) fn usable(&self) -> Vec<Arc<Definition>> {
        let known = self.known().unwrap_or_default();
        let blocked = self.blocked.lock();
        let usable = known.values().filter(|it| !blocked.contains_key(&it.name));
        usable.cloned().collect()
    }

    /// Those that are known. The first reading is waited for, but only so long.
    pub(crate) async fn first(&self, wait: std::time::Duration) -> Option<Arc<Definitions>> {
        let mut known = self.known.subscribe();
        let known = tokio::time::timeout(wait, known.wait_for(Option::is_some)).await;
        known.ok()?.ok()?.clone()
    }

    /// Compares tools with their pins. Whether other ones may be used than before.
    pub(crate) async fn check(&self, pins: &Pins, service: &str, read: &Definitions) -> Checked {
        let named = read
            .iter()
            .map(|(name, it)| (name.clone(), definition(&it.value)));
        let standings = pins.check(service, named.collect()).await;
        let mut checked = Checked::default();
        let mut blocked = BTreeMap::new();
        for (name, standing) in standings {
            let reason = match standing {
                Standing::Approved => continue,
                Standing::NotKept(why) => {
                    checked.not_kept = Some(why);
                    continue;
                }
                Standing::Changed => format!(
                    "the tool {name:?} changed since it was approved: `meshctl mcp approve {service}` shows \
                     the difference and approves it"
                ),
                Standing::Unknown(why) => {
                    format!("the pin of the tool {name:?} is not known: {why}")
                }
            };
            blocked.insert(name, reason);
        }
        checked.blocked = blocked.len();
        let mut present = self.blocked.lock();
        checked.differs = !present.keys().eq(blocked.keys());
        *present = blocked;
        checked
    }

    /// Why a tool is not to be called; `None` for one that may be, and for one that is not known.
    pub(crate) fn blocked(&self, name: &str) -> Option<String> {
        self.blocked.lock().get(name).cloned()
    }

    /// A page of `tools/list` without the tools that may not be called.
    ///
    /// Where tools are pinned, so many at most, that is also a tool that is not as it was when it was
    /// compared: it is read again.
    pub(crate) fn shown(&self, result: Raw, pinned: Option<usize>) -> Raw {
        let Some(mut page) = fields(Some(&result)) else {
            return result;
        };
        let entries = page
            .get("tools")
            .and_then(|it| serde_json::from_str(it.get()).ok());
        let Some(entries): Option<Vec<Raw>> = entries else {
            return result;
        };
        let known = self.known();
        let read = known.as_ref().map_or(0, |known| known.len());
        let room = pinned.is_some_and(|most| read < most);
        let count = entries.len();
        let shown: Vec<Raw> = entries
            .into_iter()
            .filter(|entry| {
                let name = fields(Some(entry)).and_then(|it| text(it.get("name")));
                let Some(name) = name else { return false };
                let left_out = known.as_ref().is_some_and(|known| {
                    known.get(&name).is_none() && self.invalid.lock().contains(&name)
                });
                let now = pinned.and_then(|_| Definition::read(entry));
                let strange = pinned.is_some()
                    && now.as_ref().is_none_or(|now| {
                        let known = known.as_ref().and_then(|known| known.get(&name));
                        known.is_none_or(|it| {
                            it.value != now.value && definition(&it.value) != definition(&now.value)
                        })
                    });
                // To read again what has no use would change nothing.
                if strange && now.is_some() && !left_out && room {
                    self.strange.notify_one();
                }
                !left_out && !strange && self.blocked(&name).is_none()
            })
            .collect();
        if shown.len() == count {
            return result;
        }
        page.insert("tools".to_owned(), to_raw(&shown));
        to_raw(&page)
    }
}
