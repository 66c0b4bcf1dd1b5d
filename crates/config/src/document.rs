//! The documents that are made of the table: an example file, and tables in Markdown.

use std::fmt::Write as _;

use crate::{Key, Type, parse};

/// A file that sets each of these keys to its default, under what it does. Lines of keys that are
/// `off` are comments.
#[must_use]
pub fn example<'a>(keys: impl Iterator<Item = &'a Key>, off: impl Fn(&Key) -> bool) -> String {
    let mut out = String::new();
    for key in keys {
        let off = if off(key) { "# " } else { "" };
        let about = wrapped(&format!("{} [{}]", key.about(), key.value()));
        let name = key.name;
        // Writing to a string does not fail.
        write!(out, "\n{about}{off}{name} = {}\n", toml(key)).ok();
    }
    out
}

/// A table in Markdown with one row for each key. A star marks those that each called service may
/// have its own value for.
#[must_use]
pub fn table<'a>(keys: impl Iterator<Item = &'a Key>) -> String {
    let mut out = String::from("| key | what it does | value | default |\n|---|---|---|---|\n");
    for key in keys {
        let env = key
            .env
            .map_or_else(String::new, |env| format!(" (`{env}`)"));
        let (name, about, value) = (key.name, key.about(), key.value());
        let (about, value) = (about.replace('|', "\\|"), value.replace('|', "\\|"));
        let default = match &*key.default.text() {
            "" => String::new(),
            text => format!("`{text}`"),
        };
        let star = if key.per_service { "\\*" } else { "" };
        writeln!(
            out,
            "| `{name}`{star}{env} | {about} | {value} | {default} |"
        )
        .ok();
    }
    out
}

/// The default as TOML.
fn toml(key: &Key) -> String {
    let text = key.default.text();
    match key.kind {
        Type::Bool => parse::bool(&text).unwrap_or_default().to_string(),
        Type::Integer(..) | Type::Number(..) if !text.is_empty() => text.into_owned(),
        _ => format!("{text:?}"),
    }
}

/// Comment lines of at most 110 columns.
fn wrapped(text: &str) -> String {
    let (mut out, mut column) = (String::from("#"), 1);
    for word in text.split(' ') {
        if column + 1 + word.len() > 110 {
            out.push_str("\n#");
            column = 1;
        }
        out.push(' ');
        out.push_str(word);
        column += 1 + word.len();
    }
    out.push('\n');
    out
}
