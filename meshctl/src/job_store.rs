//! Where a mesh of our own keeps its jobs and runs of workflows, and what they leave.

use std::{collections::BTreeMap, path::Path};

/// The variable of each store, its folder beside those of runs of the pipeline, none of which has a name with
/// a dot in front, and the variables that name another store.
const STORES: [(&str, &str, &[&str]); 2] = [
    ("JOBS_PATH", ".jobs", &["REDIS_URL", "REDIS_HOST"]),
    (
        "WORKFLOWS_PATH",
        ".workflows",
        &["DATABASE_URL", "POSTGRES_HOST"],
    ),
];

/// Keeps jobs and runs on this machine's disk, unless the environment says where they are.
pub(crate) fn keep(environment: &mut BTreeMap<String, String>) {
    for (name, folder, elsewhere) in STORES {
        let mut said = elsewhere.iter().chain([&name]);
        if said.all(|name| set(environment, name).is_none()) {
            let path = Path::new(files(environment)).join(folder);
            environment.insert(name.to_owned(), path.display().to_string());
        }
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
        let kept_as = |pairs: &[(&str, &str)], name: &str| {
            let pairs = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            let mut environment: BTreeMap<_, _> = pairs.collect();
            keep(&mut environment);
            environment.remove(name)
        };
        let kept = |pairs: &[(&str, &str)]| kept_as(pairs, "JOBS_PATH");
        assert_eq!(kept(&[]).unwrap(), "out/.jobs");
        assert_eq!(
            kept(&[("OUT_DIR", "/a"), ("REDIS_URL", "")]).unwrap(),
            "/a/.jobs"
        );
        assert_eq!(kept(&[("JOBS_PATH", "b")]).unwrap(), "b");
        assert_eq!(kept(&[("REDIS_HOST", "c")]), None);
        let runs = |pairs: &[(&str, &str)]| kept_as(pairs, "WORKFLOWS_PATH");
        assert_eq!(runs(&[("REDIS_HOST", "c")]).unwrap(), "out/.workflows");
        assert_eq!(runs(&[("DATABASE_URL", "postgresql://h/d")]), None);
    }
}
