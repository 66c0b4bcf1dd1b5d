//! The key-value store.

use std::{collections::BTreeMap, ops::Bound};

use bytes::Bytes;

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
    pub(super) index: u64,
    /// When one was last removed.
    removed_index: u64,
}

impl Default for KvStore {
    fn default() -> Self {
        // Clients read 0 as no index.
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

    /// When an entry last changed; for a key without one, when any entry did.
    pub(crate) fn changed(&self, key: &str) -> u64 {
        self.get(key).map_or(self.index, |entry| entry.modify_index)
    }

    /// When the entries beneath a prefix last changed, or any entry was removed: where that was is not
    /// kept.
    pub(crate) fn changed_beneath(&self, prefix: &str) -> u64 {
        let newest = self.beneath(prefix).map(|(_, entry)| entry.modify_index);
        newest
            .max()
            .map_or(self.index, |it| it.max(self.removed_index))
    }

    /// The entries whose keys begin with a prefix, in order.
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

    /// Whether `cas` is absent or where the entry last changed; 0 stands for no entry.
    fn allows(&self, key: &str, cas: Option<u64>) -> bool {
        cas.is_none_or(|cas| self.get(key).map_or(0, |known| known.modify_index) == cas)
    }

    /// Writes an entry, as the change `index`. False when `cas` does not allow it.
    pub(super) fn put(
        &mut self,
        key: &str,
        value: Bytes,
        flags: u64,
        cas: Option<u64>,
        index: u64,
    ) -> bool {
        if !self.allows(key, cas) {
            return false;
        }
        let known = self.get(key);
        if known.is_none_or(|known| known.value != value || known.flags != flags) {
            let entry = KvPair {
                value,
                flags,
                create_index: known.map_or(index, |known| known.create_index),
                modify_index: index,
            };
            self.by_key.insert(key.to_owned(), entry);
            self.index = index;
        }
        true
    }

    /// Removes an entry, as the change `index`. False when `cas` does not allow it.
    pub(super) fn delete(&mut self, key: &str, cas: Option<u64>, index: u64) -> bool {
        // An entry that is not there is gone already, whatever it is compared with.
        if self.get(key).is_none() {
            return true;
        }
        let allowed = self.allows(key, cas);
        if allowed {
            self.by_key.remove(key);
            (self.index, self.removed_index) = (index, index);
        }
        allowed
    }

    /// Removes all entries whose keys begin with a prefix, as the change `index`.
    pub(super) fn delete_beneath(&mut self, prefix: &str, index: u64) {
        let before = self.len();
        self.by_key.retain(|key, _| !key.starts_with(prefix));
        if self.len() != before {
            (self.index, self.removed_index) = (index, index);
        }
    }
}
