//! How much room there is on the disks that a program writes to.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::{Gauge, MetricsRegistry};

crate::metrics! {
    struct DiskMetrics {
        free: Gauge ["path"] = "mesh_disk_free_bytes": "Room for this program on the disk of a folder that it writes to";
        size: Gauge ["path"] = "mesh_disk_size_bytes": "Size of the disk of a folder that it writes to";
    }
}

/// The folders that are watched. Clones are the same.
#[derive(Clone, Debug)]
pub struct Disks(Arc<Mutex<BTreeMap<String, PathBuf>>>);

impl Disks {
    /// None yet. Registers `mesh_disk_free_bytes` and `mesh_disk_size_bytes`.
    #[must_use]
    pub fn new(registry: &MetricsRegistry) -> Self {
        let metrics = DiskMetrics::new(registry);
        let disks = Self(Arc::default());
        let watched = Arc::clone(&disks.0);
        registry.before_scrape(move || {
            // A disk may be slow to answer: the lock is not held for it.
            let watched = watched.lock().clone();
            let seen: Vec<_> = watched
                .iter()
                .filter_map(|(name, path)| Some((name.as_str(), DiskSpace::of(path)?)))
                .collect();
            let rows = |space: fn(&DiskSpace) -> u64| {
                let gauge = move |bytes: u64| Gauge::at(i64::try_from(bytes).unwrap_or(i64::MAX));
                let rows = seen.iter();
                rows.map(move |(name, seen)| ([*name], gauge(space(seen))))
            };
            metrics.free.replace(rows(|space| space.free));
            metrics.size.replace(rows(|space| space.size));
        });
        disks
    }

    /// Watches the disk of a folder, which need not exist yet. It is named as it is given.
    pub fn watch(&self, folder: &Path) {
        let name = folder.display().to_string();
        self.0.lock().insert(name, folder.to_owned());
    }
}

/// The room of a disk, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct DiskSpace {
    /// What is free for who is not root.
    pub free: u64,
    /// All of it.
    pub size: u64,
}

impl DiskSpace {
    /// Of the disk of a folder, or of the next one above it that exists. `None` where the system does not
    /// tell.
    #[must_use]
    pub fn of(folder: &Path) -> Option<Self> {
        let whole = std::path::absolute(folder).ok()?;
        let there = whole.ancestors().find(|path| path.exists())?;
        let found = rustix::fs::statvfs(there).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Some(Self {
            free: bytes(found.f_bavail),
            size: bytes(found.f_blocks),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_of_a_folder_is_that_of_its_disk_also_before_it_exists() {
        let registry = MetricsRegistry::new();
        let disks = Disks::new(&registry);
        disks.watch(Path::new("/tmp/none such/at all"));
        let series = |name| registry.sample(&format!("{name}{{path=\"/tmp/none such/at all\"}}"));
        let (free, size) = (
            series("mesh_disk_free_bytes"),
            series("mesh_disk_size_bytes"),
        );
        assert!(free > Some(0.0) && free <= size, "{free:?} {size:?}");
    }
}
