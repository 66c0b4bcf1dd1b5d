//! What is made of the tables in the source: `config/example.toml`, `docs/guide/keys.md`, the guide's
//! tables between `<!-- keys NAME … -->` and `<!-- /keys -->`, and those of metrics and policies.
//! `make keys` writes them anew.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

use balance::POLICIES;
use programs::PROGRAMS;
use service::{Group, Key, Spec, config};

use crate::metrics;

/// The variable with which the documents are written rather than compared.
const WRITE: &str = "WRITE_KEYS";
const OPEN: &str = "<!-- keys ";
const CLOSE: &str = "<!-- /keys -->";

fn specs() -> impl Iterator<Item = &'static Spec> {
    PROGRAMS.iter().map(|(spec, _)| spec)
}

/// Every group once, those that more programs have first.
fn groups() -> Vec<(Group, Vec<&'static str>)> {
    let mut groups: Vec<(Group, Vec<&'static str>)> = Vec::new();
    for spec in specs() {
        for group in spec.groups() {
            match groups.iter_mut().find(|(it, _)| it.title == group.title) {
                Some((_, programs)) => programs.push(spec.program),
                None => groups.push((group, vec![spec.program])),
            }
        }
    }
    groups.sort_by_key(|(_, programs)| std::cmp::Reverse(programs.len()));
    groups
}

fn who(programs: &[&str]) -> String {
    if programs.len() == PROGRAMS.len() {
        return "every program".to_owned();
    }
    let most = programs.len() * 2 > PROGRAMS.len();
    let others = specs().map(|spec| spec.program);
    let others: Vec<_> = others.filter(|it| !programs.contains(it)).collect();
    match most {
        true => format!("every program but {}", listed(&others)),
        false => listed(programs),
    }
}

fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("`{one}`"),
        [first @ .., last] => {
            let first: Vec<_> = first.iter().map(|name| format!("`{name}`")).collect();
            format!("{} and `{last}`", first.join(", "))
        }
    }
}

fn example() -> String {
    let mut out = String::from(
        "# The keys with their defaults: start a program with --config FILE, or MESH_CONFIG. A key's name in upper\n\
         # case is its variable, with dashes it is its flag (--drain-timeout 20s). Flags win over variables, and those\n\
         # over this file. Keys that not every program has are comments: a program refuses those it does not obey.\n",
    );
    for (group, programs) in groups() {
        let all = programs.len() == PROGRAMS.len();
        let who = who(&programs).replace('`', "");
        write!(out, "\n# --- {}: {who} ---\n", group.title).ok();
        out += &config::example(group.keys.iter(), |key| !all || key.name == "port");
    }
    out
}

fn page() -> String {
    let mut out = String::from(
        "# Keys\n\nEvery key of every program, by the part of a program that obeys it. This page is made of the tables in the \
         source by\n`make keys`. A key's name in upper case is its variable, with dashes it is its flag. A program refuses a \
         key of the file or\nof the command line that it does not obey, and ignores its variable.\n\nDurations are written \
         as `250ms`, `10s`, `5m` or `2h`, sizes as `65536`, `64KiB` or `4MiB`. Keys that each called service may\nhave its \
         own value for, while the program runs, are marked with *: see\n[configuration](configuration.md#settings-of-each-service-while-it-runs).\n",
    );
    for (group, programs) in groups() {
        write!(
            out,
            "\n## {}\n\nObeyed by {}.\n\n",
            group.title,
            who(&programs)
        )
        .ok();
        out += &config::table(group.keys.iter());
    }
    out
}

/// The page with its tables made anew.
fn filled(page: &str, keys: &BTreeMap<&str, Key>) -> String {
    let (mut out, mut rest) = (String::new(), page);
    while let Some(at) = rest.find(OPEN) {
        let (before, after) = rest.split_at(at);
        let end = after.find("-->").expect("a comment that ends");
        let names = after[OPEN.len()..end].split_whitespace();
        let rows = names.map(|name| {
            let key = keys.get(name);
            key.unwrap_or_else(|| panic!("the guide asks for {name}, which is no key"))
        });
        out += before;
        out += &after[..end + "-->".len()];
        write!(out, "\n{}", config::table(rows)).ok();
        rest = &after[after.find(CLOSE).expect("the end of a table")..];
        out += CLOSE;
        rest = &rest[CLOSE.len()..];
    }
    out + rest
}

/// The page with what stands between `<!-- MARK -->` and `<!-- /MARK -->` made anew.
fn with_table(page: &str, mark: &str, table: &str) -> Option<String> {
    let (open, close) = (format!("<!-- {mark} -->"), format!("<!-- /{mark} -->"));
    let (before, rest) = page.split_once(&open)?;
    let (_, after) = rest.split_once(&close).expect("the end of a table");
    Some(format!("{before}{open}\n{table}{close}{after}"))
}

fn policies() -> String {
    let mut out = "| policy | also called | picks |\n|---|---|---|\n".to_owned();
    for policy in POLICIES {
        let aliases: Vec<_> = policy.aliases.iter().map(|it| format!("`{it}`")).collect();
        let (name, about) = (policy.name, policy.about);
        out += &format!("| `{name}` | {} | {about} |\n", aliases.join(", "));
    }
    out
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[tokio::test]
async fn the_documents_are_those_of_the_tables() {
    let keys: BTreeMap<&str, Key> = groups()
        .iter()
        .flat_map(|(group, _)| group.keys)
        .map(|key| (key.name, *key))
        .collect();
    let mut documents = vec![
        (root().join("config/example.toml"), example()),
        (root().join("docs/guide/keys.md"), page()),
    ];
    let tables = [
        ("metrics", metrics::table().await),
        ("policies", policies()),
    ];
    let guide = fs::read_dir(root().join("docs/guide")).unwrap();
    for path in guide.map(|file| file.unwrap().path()) {
        if path.file_name().is_none_or(|name| name != "keys.md") {
            let text = fs::read_to_string(&path).unwrap();
            let mut text = filled(&text, &keys);
            for (mark, table) in &tables {
                text = with_table(&text, mark, table).unwrap_or(text);
            }
            documents.push((path, text));
        }
    }
    let write = config::environment().contains_key(WRITE);
    let mut stale = Vec::new();
    for (path, expected) in documents {
        if fs::read_to_string(&path).unwrap_or_default() == expected {
            continue;
        }
        match write {
            true => fs::write(&path, expected).unwrap(),
            false => stale.push(path),
        }
    }
    assert!(
        stale.is_empty(),
        "not as the tables say: {stale:?}; run `make keys`"
    );
}

#[test]
fn the_example_file_loads_in_every_program_and_changes_nothing() {
    for spec in specs() {
        let path = root().join("config/example.toml");
        let config = spec.loader().file(path).load().unwrap();
        for key in spec.all_keys() {
            let mut rows = config.rows();
            let (_, value, _) = rows.find(|(name, ..)| *name == key.name).unwrap();
            assert_eq!(
                value,
                key.default.text(),
                "{} of {}",
                key.name,
                spec.program
            );
        }
    }
}

#[test]
fn a_key_is_defined_once_and_says_what_it_does() {
    let mut named: BTreeMap<&str, &str> = BTreeMap::new();
    for (group, _) in groups() {
        for key in group.keys {
            let before = named.insert(key.name, group.title);
            assert_eq!(before, None, "{} is in {} too", key.name, group.title);
            let about = key.about();
            assert!(about.ends_with('.'), "{}: {about}", key.name);
            for sentence in about.split(". ") {
                let words = sentence.split_whitespace().count();
                assert!(words <= 25, "{}: {words} words: {sentence}", key.name);
            }
            let zero = key.kind.accepts("0");
            let counts = matches!(
                key.kind,
                config::Type::Integer(..)
                    | config::Type::Number(..)
                    | config::Type::Duration(_)
                    | config::Type::Size(_)
            );
            let port = key.is_port();
            assert!(
                !(zero && counts) || port || !key.zero.is_empty(),
                "{}: what does 0 mean?",
                key.name
            );
        }
    }
}
