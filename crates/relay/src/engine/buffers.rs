//! Large output buffers: a connection borrows one while it writes bodies, and then gives it back.

use crate::conn::Conn;

/// The output buffer that a connection keeps, bytes. It is enough for calls without large bodies.
const OWN: usize = 32 * 1024;
/// The number of free buffers that are kept, and the size of the largest.
const SPARE: (usize, usize) = (4, 512 * 1024);

#[derive(Debug, Default)]
pub(super) struct BufferPool(Vec<Vec<u8>>);

impl BufferPool {
    /// Lends a buffer to a connection that is about to write `more` bytes, where it needs one.
    pub(super) fn lend(&mut self, conn: &mut Conn, bytes: usize) {
        let needed = conn.out.len() + bytes;
        if needed > conn.out.capacity().max(OWN)
            && let Some(memory) = self.0.pop()
        {
            let own = conn.exchange(memory);
            self.keep(own);
        }
    }

    /// Takes back the buffer of a connection that has written everything.
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
