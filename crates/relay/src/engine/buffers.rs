//! Memory of large buffers: lent to the connections that write bodies now, not kept by each that
//! once did.

use crate::conn::Conn;

/// What every connection keeps for its own output: calls without large bodies need no more.
const OWN: usize = 32 * 1024;
/// As many are kept for others, none larger than this.
const SPARE: (usize, usize) = (4, 512 * 1024);

#[derive(Debug, Default)]
pub(super) struct BufferPool(Vec<Vec<u8>>);

impl BufferPool {
    /// The connection is about to write so many bytes more.
    pub(super) fn lend(&mut self, conn: &mut Conn, bytes: usize) {
        let needed = conn.out.len() + bytes;
        if needed > conn.out.capacity().max(OWN)
            && let Some(memory) = self.0.pop()
        {
            let own = conn.exchange(memory);
            self.keep(own);
        }
    }

    /// The connection has written; when nothing is left, it gives back what is not its own.
    pub(super) fn take_back(&mut self, conn: &mut Conn) {
        if conn.out.capacity() > OWN && conn.output().is_empty() {
            let memory = conn.exchange(Vec::new());
            self.keep(memory);
        }
    }

    fn keep(&mut self, memory: Vec<u8>) {
        let (most, largest) = SPARE;
        if self.0.len() < most && (OWN + 1..=largest).contains(&memory.capacity()) {
            self.0.push(memory);
        }
    }
}
