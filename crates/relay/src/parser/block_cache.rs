//! The header blocks that a connection brought last. Peers repeat them from call to call, byte for
//! byte once their table has the fields: what came before is not decoded and checked again.

use crate::{
    hpack::{Block, Decoder, Error},
    message::{self, MessageKind, Summary},
};

/// So many are kept: a few methods of a client, the heads and ends of an instance's answers.
const SLOTS: usize = 4;
/// A block that is longer on the wire is not looked for again, bytes.
const WIRE: usize = 512;
/// Memory that is kept for all of them, bytes.
const KEPT: usize = 8192;

/// Decoded blocks of a connection, and which of them is the last.
#[derive(Debug, Default)]
pub(super) struct BlockCache {
    slots: [Slot; SLOTS],
    last: usize,
    /// So many had to be decoded.
    decoded: usize,
}

#[derive(Debug, Default)]
struct Slot {
    /// As it came; empty when it must not be used again.
    wire: Vec<u8>,
    /// The decoder's table then, by [`Decoder::table`]: the same bytes say the same while it is.
    table: u64,
    block: Block,
    /// What it is as a message of the kind that was last asked for.
    checked: Option<(MessageKind, Option<Summary>)>,
}

impl BlockCache {
    /// Decodes a block, or finds it: it is then the last.
    pub(super) fn decode(
        &mut self,
        decoder: &mut Decoder,
        wire: &[u8],
        max_list: usize,
    ) -> Result<(), Error> {
        let table = decoder.table();
        let known = |slot: &Slot| slot.table == table && slot.wire == wire;
        if !wire.is_empty()
            && let Some(found) = self.slots.iter().position(known)
        {
            self.last = found;
            return Ok(());
        }
        // What can be found again stays while there is a place that cannot; then each goes in turn.
        let useless = |slot: &Slot| slot.table != table || slot.wire.is_empty();
        let place = self.slots.iter().position(useless);
        self.last = place.unwrap_or(self.decoded % SLOTS);
        self.decoded += 1;
        let slot = &mut self.slots[self.last];
        slot.wire.clear();
        slot.checked = None;
        decoder.decode(wire, max_list, &mut slot.block)?;
        slot.table = table;
        // What has changed the table would change it again.
        if wire.len() <= WIRE && decoder.table() == table {
            slot.wire.extend_from_slice(wire);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn decoded(&self) -> usize {
        self.decoded
    }

    /// The last block.
    pub(super) fn block(&self) -> &Block {
        &self.slots[self.last].block
    }

    /// Takes the last block out; to be given back as it is before the next.
    pub(super) fn take(&mut self) -> Block {
        std::mem::take(&mut self.slots[self.last].block)
    }

    /// Gives the last block back, and the memory of all up where that is large.
    pub(super) fn restore(&mut self, block: Block) {
        self.slots[self.last].block = block;
        if self.memory() > KEPT {
            self.slots = Default::default();
        }
    }

    /// Bytes of memory that it has.
    pub(super) fn memory(&self) -> usize {
        let memory = |slot: &Slot| slot.block.memory() + slot.wire.capacity();
        self.slots.iter().map(memory).sum()
    }

    /// Checks the last block as a message.
    pub(super) fn check(&mut self, kind: MessageKind) -> Option<Summary> {
        let slot = &mut self.slots[self.last];
        match slot.checked {
            Some((known, checked)) if known == kind => checked,
            _ => {
                let checked = message::check(&slot.block, kind);
                slot.checked = Some((kind, checked));
                checked
            }
        }
    }
}
