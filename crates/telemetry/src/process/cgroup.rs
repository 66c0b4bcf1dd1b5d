//! The limits of a cgroup, of version 1 and 2.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What a cgroup allows; `None` for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Limits {
    pub(super) cores: Option<f64>,
    pub(super) memory: Option<u64>,
}

/// The limits of the process whose `/proc/self/cgroup` this is. A container may see its own cgroup as
/// the root, whatever the file says: both places are looked at, and every group between.
pub(super) fn limits(root: &Path, own: &str) -> Limits {
    let mut limits = Limits::default();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let folders = |controller: &str| {
            let folder = root.join(controller);
            // Controllers that share a hierarchy share its folder, with or without links to it.
            if folder.exists() {
                folder
            } else {
                root.join(controllers)
            }
        };
        if controllers.is_empty() {
            for folder in groups(root, path) {
                limits.narrow(read(&folder, "cpu.max").and_then(|max| cores(&max)), None);
                limits.narrow(
                    None,
                    read(&folder, "memory.max").and_then(|max| bytes(&max)),
                );
            }
        }
        for controller in controllers.split(',') {
            for folder in groups(&folders(controller), path) {
                if controller == "cpu" {
                    let quota = read(&folder, "cpu.cfs_quota_us");
                    let period = read(&folder, "cpu.cfs_period_us");
                    let both = quota.zip(period);
                    let cores =
                        both.and_then(|(quota, period)| cores(&format!("{quota} {period}")));
                    limits.narrow(cores, None);
                } else if controller == "memory" {
                    let limit = read(&folder, "memory.limit_in_bytes");
                    limits.narrow(None, limit.and_then(|limit| bytes(&limit)));
                }
            }
        }
    }
    limits
}

impl Limits {
    fn narrow(&mut self, cores: Option<f64>, memory: Option<u64>) {
        self.cores = self.cores.into_iter().chain(cores).reduce(f64::min);
        self.memory = self.memory.into_iter().chain(memory).min();
    }
}

/// The folders of a group and of those above it, the root among them.
fn groups(root: &Path, path: &str) -> Vec<PathBuf> {
    let whole = root.join(path.trim_start_matches('/'));
    let above = whole.ancestors();
    above
        .take_while(|folder| folder.starts_with(root))
        .map(Path::to_owned)
        .collect()
}

fn read(folder: &Path, file: &str) -> Option<String> {
    fs::read_to_string(folder.join(file)).ok()
}

/// A quota and its period in microseconds. None is `max` in version 2 and negative in version 1.
fn cores(text: &str) -> Option<f64> {
    let mut numbers = text.split_whitespace();
    let quota: f64 = numbers.next()?.parse().ok()?;
    let period: f64 = numbers.next()?.parse().ok()?;
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

/// Version 2 writes no limit as `max`, version 1 as nearly all that a number can be.
fn bytes(text: &str) -> Option<u64> {
    let bytes: u64 = text.trim().parse().ok()?;
    (bytes < 1 << 60).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn tree(files: &[(&str, &str)]) -> TempDir {
        let root = TempDir::with_prefix("cgroup-").unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_narrowest_limit_of_a_group_and_those_above_it_holds() {
        let two = tree(&[
            ("a/cpu.max", "150000 100000\n"),
            ("a/memory.max", "max\n"),
            ("a/b/cpu.max", "max 100000\n"),
            ("a/b/memory.max", "1048576\n"),
        ]);
        let expected = Limits {
            cores: Some(1.5),
            memory: Some(1 << 20),
        };
        assert_eq!(limits(two.path(), "0::/a/b\n"), expected);
        assert_eq!(limits(two.path(), "0::/\n"), Limits::default());
        // As a container sees it, whose root is its own group.
        let contained = tree(&[("cpu.max", "50000 100000\n"), ("memory.max", "1000\n")]);
        let expected = Limits {
            cores: Some(0.5),
            memory: Some(1000),
        };
        assert_eq!(limits(contained.path(), "0::/docker/x\n"), expected);
        assert_eq!(limits(contained.path(), "0::/\n"), expected);
    }

    #[test]
    fn version_1_has_a_hierarchy_for_each_controller() {
        let one = tree(&[
            ("cpu,cpuacct/docker/x/cpu.cfs_quota_us", "200000\n"),
            ("cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000\n"),
            ("cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/docker/x/memory.limit_in_bytes", "5000\n"),
        ]);
        let own = "12:cpu,cpuacct:/docker/x\n3:memory:/docker/x\n1:name=systemd:/docker/x\n0::/\n";
        let expected = Limits {
            cores: Some(2.0),
            memory: Some(5000),
        };
        assert_eq!(limits(one.path(), own), expected);
        let own = "12:cpu,cpuacct:/other\n3:memory:/other\n";
        assert_eq!(limits(one.path(), own), Limits::default());
    }
}
