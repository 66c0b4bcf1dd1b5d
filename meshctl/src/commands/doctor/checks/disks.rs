//! No disk is full.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
};

use telemetry::DiskSpace;

use super::super::{
    check::Check,
    finding::{Finding, some},
    program::Program,
    scene::Scene,
};

pub(super) const CHECK: Check = Check {
    code: "disks",
    about: "the disks of files, jobs and access logs have room",
    run: |scene| Box::pin(async { look(scene) }),
};

/// The share of a disk that should be free, and that has to be.
const LOW: f64 = 0.1;
const FULL: f64 = 0.02;

/// The room of one disk, in bytes.
#[derive(Clone, Copy, Debug)]
struct Room {
    free: f64,
    size: f64,
}

fn look(scene: &Scene) -> Finding {
    let mut disks: BTreeMap<String, Room> = BTreeMap::new();
    for program in &scene.programs {
        let told = told(program);
        if told.is_empty() && is_here(program.member.host()) {
            disks.extend(paths(program).iter().filter_map(|it| seen(it)));
        }
        let name = |path: &str| format!("{path} of {}", program.name());
        disks.extend(told.into_iter().map(|(path, room)| (name(&path), room)));
    }
    for name in ["OUT_DIR", "JOBS_PATH"] {
        let path = scene.environment.get(name).filter(|it| !it.is_empty());
        disks.extend(path.and_then(|path| seen(Path::new(path))));
    }
    if disks.is_empty() {
        return Finding::not_used("no program that is known writes files");
    }
    let share = |room: &Room| room.free / room.size;
    let below = |limit: f64| -> Vec<String> {
        let low = disks.iter().filter(|(_, room)| share(room) < limit);
        low.map(|(name, room)| format!("{name} has {:.1} % free", share(room) * 100.0))
            .collect()
    };
    let todo = "make room there, or choose another folder";
    match (below(FULL), below(LOW)) {
        (full, _) if !full.is_empty() => Finding::wrong(some(&full), todo),
        (_, low) if !low.is_empty() => Finding::warning(some(&low), todo),
        _ => Finding::well(format!("{} folders have room", disks.len())),
    }
}

/// What a program says of its disks.
fn told(program: &Program) -> BTreeMap<String, Room> {
    let Ok(metrics) = &program.metrics else {
        return BTreeMap::new();
    };
    let sizes = metrics.of("mesh_disk_size_bytes");
    let room = |size: &crate::exposition::Sample| {
        let path = size.label("path");
        let mut free = metrics.of("mesh_disk_free_bytes");
        let free = free.find(|it| it.label("path") == path)?.value;
        let size = size.value;
        (size > 0.0).then(|| (path.to_owned(), Room { free, size }))
    };
    sizes.filter_map(room).collect()
}

/// The folders that a program writes to, by its keys.
fn paths(program: &Program) -> Vec<PathBuf> {
    let keys = ["out_dir", "jobs_path", "access_log", "registry_cache"];
    let paths = keys.iter().filter_map(|key| program.key(key));
    paths
        .filter(|path| !matches!(*path, "stdout" | "stderr"))
        .map(PathBuf::from)
        .collect()
}

/// The room at a path on this machine, at the folder above it that there is.
fn seen(path: &Path) -> Option<(String, Room)> {
    let disk = DiskSpace::of(path)?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share of a disk needs no exact bytes"
    )]
    let room = Room {
        free: disk.free as f64,
        size: disk.size as f64,
    };
    (room.size > 0.0).then(|| (path.display().to_string(), room))
}

fn is_here(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
