//! The running tasks of tokio, counted by where they were spawned.

use tokio::runtime;

/// How many tasks run that were spawned at one place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spawned {
    pub(super) file: &'static str,
    pub(super) line: u32,
    pub(super) running: i64,
}

/// tokio tells where a task was spawned only to those who build with `--cfg tokio_unstable`.
pub(super) const TRACKED: bool = cfg!(tokio_unstable);

#[cfg(not(tokio_unstable))]
pub(super) fn spawned() -> Vec<Spawned> {
    Vec::new()
}

#[cfg(not(tokio_unstable))]
pub(super) fn track(_: &mut runtime::Builder) {}

#[cfg(tokio_unstable)]
pub(super) use tracked::{spawned, track};

#[cfg(tokio_unstable)]
mod tracked {
    use std::{
        collections::HashMap,
        panic::Location,
        sync::{
            LazyLock,
            atomic::{AtomicI64, Ordering},
        },
    };

    use parking_lot::RwLock;

    use super::{Spawned, runtime};

    /// There are as many places as the source has.
    static PLACES: LazyLock<RwLock<HashMap<&'static Location<'static>, AtomicI64>>> =
        LazyLock::new(RwLock::default);

    pub(in super::super) fn track(builder: &mut runtime::Builder) {
        builder
            .on_task_spawn(|task| add(task.spawned_at(), 1))
            .on_task_terminate(|task| add(task.spawned_at(), -1));
    }

    fn add(place: &'static Location<'static>, change: i64) {
        if let Some(running) = PLACES.read().get(place) {
            running.fetch_add(change, Ordering::Relaxed);
            return;
        }
        let mut places = PLACES.write();
        let running = places.entry(place).or_default();
        running.fetch_add(change, Ordering::Relaxed);
    }

    pub(in super::super) fn spawned() -> Vec<Spawned> {
        let places = PLACES.read();
        let all = places.iter().map(|(place, running)| Spawned {
            file: place.file(),
            line: place.line(),
            running: running.load(Ordering::Relaxed),
        });
        all.filter(|it| it.running > 0).collect()
    }
}
