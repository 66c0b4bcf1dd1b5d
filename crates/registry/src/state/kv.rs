//! The key-value store.

use std::{collections::BTreeMap, ops::Bound};

use bytes::Bytes;

use super::State;

/// A value.
#[derive(Clone, Debug)]
pub(crate) struct KvPair {
    pub(crate) value: Bytes,
    pub(crate) flags: u64,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
}

/// The values by key.
#[derive(Debug)]
pub(crate) struct KvStore {
    by_key: BTreeMap<String, KvPair>,
    /// When any of them last changed.
    index: u64,
    /// When one was last taken out.
    removed_index: u64,
}

impl Default for KvStore {
    fn default() -> Self {
        // Clients take the number 0 for no number.
        Self {
            by_key: BTreeMap::new(),
            index: 1,
            removed_index: 1,
        }
    }
}

impl KvStore {
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&KvPair> {
        self.by_key.get(key)
    }

    /// When one last changed; of a key that is not there, when any did.
    pub(crate) fn changed(&self, key: &str) -> u64 {
        self.get(key).map_or(self.index, |entry| entry.modify_index)
    }

    /// When those beneath a prefix last changed, or any was taken out: which prefix that was
    /// beneath is not kept.
    pub(crate) fn changed_beneath(&self, prefix: &str) -> u64 {
        let newest = self.beneath(prefix).map(|(_, entry)| entry.modify_index);
        newest
            .max()
            .map_or(self.index, |it| it.max(self.removed_index))
    }

    /// Those whose keys begin with a prefix, in order.
    pub(crate) fn beneath<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a KvPair)> {
        let from = self
            .by_key
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(key, entry)| (key.as_str(), entry))
    }

    /// Whether a write may happen that is for what was last changed at `cas` (0: for what is not
    /// there).
    fn allow(&self, key: &str, cas: Option<u64>) -> bool {
        cas.is_none_or(|cas| self.get(key).map_or(0, |known| known.modify_index) == cas)
    }
}

impl State {
    /// Writes an entry. False when `cas` is given and is not what it was last changed at (0: it must
    /// not be there).
    ///
    /// # Errors
    /// When there are too many.
    pub(crate) fn put(
        &mut self,
        key: &str,
        value: Bytes,
        flags: u64,
        cas: Option<u64>,
    ) -> Result<bool, String> {
        self.room()?;
        if !self.entries.allow(key, cas) {
            return Ok(false);
        }
        let known = self.entries.get(key);
        if known.is_some_and(|known| known.value == value && known.flags == flags) {
            return Ok(true);
        }
        let created = known.map(|known| known.create_index);
        let index = self.next();
        let entry = KvPair {
            value,
            flags,
            create_index: created.unwrap_or(index),
            modify_index: index,
        };
        self.entries.by_key.insert(key.to_owned(), entry);
        self.entries.index = index;
        Ok(true)
    }

    /// Takes an entry out; false when `cas` is given and is not what it was last changed at.
    pub(crate) fn delete(&mut self, key: &str, cas: Option<u64>) -> bool {
        // One that is not there is out already, whatever it is compared with.
        if self.entries.get(key).is_none() {
            return true;
        }
        let allowed = self.entries.allow(key, cas);
        if allowed {
            self.entries.by_key.remove(key);
            self.entries_removed();
        }
        allowed
    }

    /// Takes out all beneath a prefix.
    pub(crate) fn delete_beneath(&mut self, prefix: &str) {
        let before = self.entries.len();
        self.entries
            .by_key
            .retain(|key, _| !key.starts_with(prefix));
        if self.entries.len() != before {
            self.entries_removed();
        }
    }

    fn entries_removed(&mut self) {
        let index = self.next();
        (self.entries.index, self.entries.removed_index) = (index, index);
    }
}
