//! The table of reasons: its words, its page of the guide, and that no code has words of its own.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use mesh_proto::error_info::Reason;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

#[test]
fn words_are_upper_snake_case_in_order_and_lead_back_to_their_reason() {
    let words: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert!(words.is_sorted(), "{words:?}");
    assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len());
    for reason in Reason::ALL {
        let word = reason.as_str();
        assert!(word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'));
        assert_eq!(Reason::parse(word), Some(*reason));
        assert!(reason.about().ends_with('.'), "{word}");
    }
    assert_eq!(Reason::parse("NO_SUCH_REASON"), None);
}

#[test]
fn the_guide_lists_every_reason_as_the_table_says_it() {
    let row = |reason: &Reason| format!("| `{reason}` | {} |\n", reason.about());
    let table: String = Reason::ALL.iter().map(row).collect();
    let expected = format!("| reason | meaning |\n|---|---|\n{table}");
    let page = fs::read_to_string(root().join("docs/guide/errors.md")).unwrap();
    assert!(
        page.contains(&expected),
        "the table of docs/guide/errors.md has to be:\n\n{expected}"
    );
}

/// Files that say one of the words for another purpose: the names of gRPC's codes.
const CODE_NAMES: [&str; 2] = ["crates/telemetry/src/rpc.rs", "meshctl/src/failure.rs"];

#[test]
fn no_code_says_a_reason_as_a_string() {
    let mut found = Vec::new();
    sources(&root(), &mut |path, text| {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for reason in Reason::ALL {
            if code.contains(&format!("\"{reason}\"")) {
                found.push(format!("{}: \"{reason}\"", path.display()));
            }
        }
    });
    found.retain(|line| !CODE_NAMES.iter().any(|file| line.starts_with(file)));
    assert!(found.is_empty(), "use error_info::Reason: {found:#?}");
}

/// Every Rust file of the workspace that is no test's, with its path from the root.
fn sources(folder: &Path, each: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        let skipped = [
            "target",
            "tests",
            "tests.rs",
            "examples",
            "fuzz",
            "reason.rs",
        ];
        if skipped.contains(&&*name) || name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            sources(&path, each);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            each(path.strip_prefix(root()).unwrap(), &text);
        }
    }
}
