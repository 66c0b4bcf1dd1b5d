//! The tools of the server, as it describes them.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, value::RawValue};
use tracing::warn;

use crate::{
    headers,
    keys::MountKeys,
    link::{Era, Link, Outgoing},
    message::{Fields, Raw, cut, error_text, fields, is_unambiguous, raw, text, to_raw},
};

/// The longest name of a tool.
const MAX_NAME: usize = 128;
/// Pages of one list that are read.
const MAX_PAGES: usize = 1000;
/// Messages of the largest size that all pages may have together.
const MAX_MESSAGES: usize = 8;

/// One tool of the server.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) name: String,
    /// Its whole entry in `tools/list`.
    pub(crate) value: Value,
    /// The arguments that HTTP carries as headers: paths, and names of headers.
    pub(crate) headers: Vec<(Vec<String>, String)>,
    /// Why its headers cannot be used: then the tool cannot either.
    pub(crate) invalid: Option<String>,
}

/// All of them, by their names.
pub(crate) type Definitions = BTreeMap<String, Arc<Definition>>;

impl Definition {
    /// Reads an entry of `tools/list`; `None` for one without a usable name, and for one with two members
    /// of one name: readers do not agree on which of them counts.
    pub(crate) fn read(entry: &RawValue) -> Option<Self> {
        if !is_unambiguous(entry) {
            return None;
        }
        let value: Value = serde_json::from_str(entry.get()).ok()?;
        let name = value["name"].as_str()?.to_owned();
        let usable = !name.is_empty() && name.len() <= MAX_NAME && !name.contains(char::is_control);
        let (headers, invalid) = match headers::annotated(&value["inputSchema"]) {
            Ok(headers) => (headers, None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        usable.then_some(Self {
            headers,
            invalid,
            name,
            value,
        })
    }

    /// A text of the entry, such as its description.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.value[name].as_str().unwrap_or_default()
    }

    /// A hint of its annotations; `None` when nothing is declared.
    pub(crate) fn hint(&self, name: &str) -> Option<bool> {
        self.value["annotations"][name].as_bool()
    }

    pub(crate) fn schema(&self) -> &Value {
        &self.value["inputSchema"]
    }
}

/// Asks the server for all pages of its tools.
pub(crate) async fn list(link: &dyn Link, keys: &MountKeys) -> anyhow::Result<Definitions> {
    let most = keys.mount_max_tools;
    let mut room = keys.mount_max_message.saturating_mul(MAX_MESSAGES);
    let mut found = Definitions::new();
    if !link.facts().can("tools") {
        return Ok(found);
    }
    let (mut cursor, mut seen) = (None::<String>, 0);
    for _ in 0..MAX_PAGES {
        let mut params = own_params(link);
        if let Some(cursor) = &cursor {
            params.insert("cursor".to_owned(), raw(&Value::from(cursor.as_str())));
        }
        let mut asked = link.request(Outgoing::own("tools/list", params)).await?;
        let result = asked.outcome().await?.map_err(|error| {
            anyhow::anyhow!(
                "the server does not list its tools: {}",
                cut(&error_text(&error))
            )
        })?;
        let Some(left) = room.checked_sub(result.get().len()) else {
            let key = "mount_max_message";
            warn!(
                key,
                "the server's tools have {MAX_MESSAGES} times as many bytes as a message may"
            );
            return Ok(found);
        };
        room = left;
        let mut page = fields(Some(&result)).unwrap_or_default();
        let entries: Vec<Raw> = match page.remove("tools") {
            Some(entries) => serde_json::from_str(entries.get())?,
            None => Vec::new(),
        };
        for entry in &entries {
            seen += 1;
            if seen > most {
                warn!(most, key = "mount_max_tools", "the server has more tools");
                return Ok(found);
            }
            match Definition::read(entry) {
                Some(it) => drop(found.insert(it.name.clone(), Arc::new(it))),
                None => warn!("a tool of the server has no usable name, or says something twice"),
            }
        }
        let next = text(page.get("nextCursor")).filter(|next| !next.is_empty());
        if next.is_none() || next == cursor {
            return Ok(found);
        }
        cursor = next;
    }
    Ok(found)
}

/// The parameters of a request of the mount itself.
pub(crate) fn own_params(link: &dyn Link) -> Fields {
    let facts = link.facts();
    if facts.era == Era::Legacy {
        return Fields::new();
    }
    let capabilities = crate::asks::Capabilities::all().0;
    let client = crate::handshake::client_info();
    let meta = crate::handshake::modern_meta(&facts.version, &client, &capabilities);
    Fields::from([("_meta".to_owned(), to_raw(&meta))])
}
