//! Where a mesh of our own keeps its jobs, and what they leave.

use std::{collections::BTreeMap, path::Path};

/// Beside the folders of runs, none of which has a name with a dot in front.
const FOLDER: &str = ".jobs";

/// Keeps jobs on this machine's disk, unless the environment says where they are.
pub(crate) fn keep(environment: &mut BTreeMap<String, String>) {
    let said = ["REDIS_URL", "REDIS_HOST", "JOBS_PATH"];
    if said.iter().all(|name| set(environment, name).is_none()) {
        let path = Path::new(files(environment)).join(FOLDER);
        environment.insert("JOBS_PATH".to_owned(), path.display().to_string());
    }
}

/// The directory with the files of runs.
pub(crate) fn files(environment: &BTreeMap<String, String>) -> &str {
    set(environment, "OUT_DIR").unwrap_or("out")
}

/// A variable that is not empty: an empty one counts as none.
fn set<'a>(environment: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    let value = environment.get(name).map(String::as_str);
    value.filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_kept_on_disk_unless_the_environment_says_where() {
        let kept = |pairs: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            let mut environment: BTreeMap<_, _> = pairs.collect();
            keep(&mut environment);
            environment.remove("JOBS_PATH")
        };
        assert_eq!(kept(&[]).unwrap(), "out/.jobs");
        assert_eq!(
            kept(&[("OUT_DIR", "/a"), ("REDIS_URL", "")]).unwrap(),
            "/a/.jobs"
        );
        assert_eq!(kept(&[("JOBS_PATH", "b")]).unwrap(), "b");
        assert_eq!(kept(&[("REDIS_HOST", "c")]), None);
    }
}
