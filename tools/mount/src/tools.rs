//! Which tools of the server may be listed and called.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    definitions::{self, Definition, Definitions},
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
}

impl Default for Tools {
    fn default() -> Self {
        Self {
            known: watch::channel(None).0,
            invalid: Mutex::default(),
        }
    }
}

impl Tools {
    /// Reads them from the server.
    pub(crate) async fn read(&self, link: &dyn Link, most: usize) -> anyhow::Result<()> {
        let read = definitions::list(link, most).await?;
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
        self.known.send_replace(Some(Arc::new(read)));
        Ok(())
    }

    /// Those that are known; `None` until they were read once.
    pub(crate) fn known(&self) -> Option<Arc<Definitions>> {
        self.known.borrow().clone()
    }

    /// The same, but waits for the first reading.
    pub(crate) async fn first(&self, wait: std::time::Duration) -> Option<Arc<Definitions>> {
        let mut known = self.known.subscribe();
        let known = tokio::time::timeout(wait, known.wait_for(Option::is_some)).await;
        known.ok()?.ok()?.clone()
    }

    /// Why a tool is not to be called; `None` for one that may be, and for one that is not known.
    pub(crate) fn blocked(&self, _name: &str) -> Option<String> {
        None
    }

    /// A page of `tools/list` without the tools that may not be called.
    pub(crate) fn shown(&self, result: Raw) -> Raw {
        let Some(mut page) = fields(Some(&result)) else {
            return result;
        };
        let entries = page.get("tools").and_then(|it| serde_json::from_str(it.get()).ok());
        let Some(entries): Option<Vec<Raw>> = entries else {
            return result;
        };
        let known = self.known();
        let count = entries.len();
        let shown: Vec<Raw> = entries
            .into_iter()
            .filter(|entry| {
                let name = fields(Some(entry)).and_then(|it| text(it.get("name")));
                let Some(name) = name else { return false };
                let left_out = known.as_ref().is_some_and(|known| {
                    known.get(&name).is_none() && self.invalid.lock().contains(&name)
                });
                !left_out && self.blocked(&name).is_none()
            })
            .collect();
        if shown.len() == count {
            return result;
        }
        page.insert("tools".to_owned(), to_raw(&shown));
        to_raw(&page)
    }
}
