//! Pools of descriptors that services share: those of one build describe themselves by the same files, and
//! a pool takes many times the memory of its files.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use dynamic::FilePool;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::methods::is_infrastructure;

/// Pools by their files, as long as somebody uses them.
#[derive(Debug, Default)]
pub(super) struct Pools(Mutex<HashMap<[u8; 32], Weak<FilePool>>>);

impl Pools {
    /// The pool of these files, without those of what every process serves.
    pub(super) fn of(&self, files: &[Bytes]) -> Arc<FilePool> {
        let key = key(files);
        if let Some(known) = self.0.lock().get(&key).and_then(Weak::upgrade) {
            return known;
        }
        // Without the lock: a large set of files takes a while.
        let new = Arc::new(FilePool::without(files, is_infrastructure));
        let mut pools = self.0.lock();
        if let Some(known) = pools.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        pools.retain(|_, pool| pool.strong_count() > 0);
        pools.insert(key, Arc::downgrade(&new));
        new
    }
}

fn key(files: &[Bytes]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for file in files {
        // Its length too, so that no two lists of files are the same bytes.
        hash.update(file.len().to_be_bytes());
        hash.update(file);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_of_the_same_files_share_a_pool_while_one_is_there() {
        let pools = Pools::default();
        let files = [
            Bytes::from_static(b"\x0a\x01a"),
            Bytes::from_static(b"\x0a\x01b"),
        ];
        let one = pools.of(&files);
        assert!(Arc::ptr_eq(&one, &pools.of(&files)));
        assert!(!Arc::ptr_eq(&one, &pools.of(&files[..1])));
        drop(one);
        assert!(pools.0.lock().values().all(|it| it.strong_count() == 0));
        let _other = pools.of(&files[1..]);
        assert_eq!(pools.0.lock().len(), 1, "what nobody uses goes");
    }

    #[test]
    fn where_a_file_ends_is_part_of_the_key() {
        let split = |at: usize| {
            [
                Bytes::from_static(&b"abcd"[..at]),
                Bytes::from_static(&b"abcd"[at..]),
            ]
        };
        assert_ne!(key(&split(1)), key(&split(2)));
    }
}
