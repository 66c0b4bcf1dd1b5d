//! A cache of answers, in bounded memory.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_128;

use crate::stream::Completion;

/// Answers by request. The oldest is dropped first.
#[derive(Debug)]
pub(crate) struct Cache {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    answers: HashMap<u128, (Arc<Completion>, usize)>,
    order: VecDeque<u128>,
    bytes: usize,
}

impl Cache {
    /// A cache of at most `limit` bytes of answers.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            state: Mutex::default(),
        }
    }

    pub(crate) fn key(body: &[u8]) -> u128 {
        xxh3_128(body)
    }

    pub(crate) fn get(&self, key: u128) -> Option<Arc<Completion>> {
        let state = self.state.lock();
        state.answers.get(&key).map(|(answer, _)| answer.clone())
    }

    pub(crate) fn put(&self, key: u128, answer: Arc<Completion>) {
        let bytes = answer.bytes();
        if bytes > self.limit {
            return;
        }
        let mut state = self.state.lock();
        if state.answers.insert(key, (answer, bytes)).is_none() {
            state.order.push_back(key);
            state.bytes += bytes;
        }
        while state.bytes > self.limit {
            let Some(oldest) = state.order.pop_front() else {
                break;
            };
            if let Some((_, bytes)) = state.answers.remove(&oldest) {
                state.bytes -= bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(size: usize) -> Arc<Completion> {
        Arc::new(Completion {
            content: "x".repeat(size),
            ..Completion::default()
        })
    }

    #[test]
    fn the_oldest_answer_goes_when_the_memory_is_full() {
        let one = answer(100);
        let cache = Cache::new(2 * one.bytes());
        for key in 0..3 {
            cache.put(key, answer(100));
        }
        assert!(cache.get(0).is_none() && cache.get(1).is_some() && cache.get(2).is_some());
        cache.put(3, answer(10_000));
        assert!(cache.get(3).is_none() && cache.get(2).is_some());
        Cache::new(0).put(1, answer(1));
    }
}
