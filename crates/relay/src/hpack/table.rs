//! The dynamic table of one direction of a connection (RFC 7541, section 2.3.2).

use std::collections::VecDeque;

use super::block::{Block, Entry};

/// The peer's recent fields, the newest first, in their wire form.
#[derive(Debug)]
pub(super) struct Table {
    rows: VecDeque<Row>,
    size: usize,
    limit: usize,
    /// How often it has changed.
    changes: u64,
}

#[derive(Debug)]
struct Row {
    entry: Entry,
    wire: Box<[u8]>,
    size: usize,
}

impl Table {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            rows: VecDeque::new(),
            size: 0,
            limit,
            changes: 0,
        }
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) fn resize(&mut self, limit: usize) {
        self.changes += 1;
        self.limit = limit;
        self.evict(0);
    }

    fn evict(&mut self, room: usize) {
        while self.size + room > self.limit {
            let Some(row) = self.rows.pop_back() else {
                return;
            };
            self.size -= row.size;
        }
    }

    /// Keeps the last field of a block, of which so many bytes were left out. One that is larger than
    /// the table empties it.
    pub(super) fn keep_last(&mut self, block: &Block, left_out: usize) {
        let Some((entry, field)) = block.last() else {
            return;
        };
        let size = entry.size as usize + left_out;
        self.changes += 1;
        self.evict(size);
        if size <= self.limit {
            self.size += size;
            self.rows.push_front(Row {
                entry,
                wire: field.wire.into(),
                size,
            });
        }
    }

    /// Copies a field into a block, by its index from 0; false when there is none.
    pub(super) fn copy(&self, index: usize, block: &mut Block) -> bool {
        let Some(row) = self.rows.get(index) else {
            return false;
        };
        block.copied(row.entry, &row.wire);
        true
    }

    /// The name of a field, by its index from 0.
    pub(super) fn name(&self, index: usize) -> Option<&[u8]> {
        self.rows.get(index).map(|row| row.entry.name_in(&row.wire))
    }

    #[cfg(test)]
    pub(super) fn tokens(&self) -> Vec<super::Token> {
        self.rows.iter().map(|row| row.entry.token).collect()
    }
}
