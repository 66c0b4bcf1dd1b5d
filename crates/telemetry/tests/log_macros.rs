//! No effect may stand inside a log macro: its arguments are not evaluated when the level is off, so
//! that `info!(signal = wait().await)` waits at `info` and does not at `error`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};

/// The macros of `tracing` whose arguments may never be evaluated.
fn is_log_macro(name: &Ident) -> bool {
    let name = name.to_string();
    let levels = ["trace", "debug", "info", "warn", "error"];
    let is_span = name
        .strip_suffix("_span")
        .is_some_and(|level| levels.contains(&level));
    levels.contains(&&*name) || is_span || ["event", "span", "enabled"].contains(&&*name)
}

/// What is wrong within macros of a file, each with the line of the macro's name.
fn faults(file: TokenStream, found: &mut Vec<(usize, &'static str)>) {
    let tokens: Vec<TokenTree> = file.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else {
            continue;
        };
        let name = match &tokens[..at] {
            [.., TokenTree::Ident(name), TokenTree::Punct(bang)] if bang.as_char() == '!' => {
                Some(name)
            }
            _ => None,
        };
        match name.filter(|name| is_log_macro(name)) {
            Some(name) => {
                let line = name.span().start().line;
                effects(group.stream(), &mut |what| found.push((line, what)));
            }
            None => faults(group.stream(), found),
        }
    }
}

/// Effects that can be told from the tokens of arguments alone.
fn effects(arguments: TokenStream, found: &mut impl FnMut(&'static str)) {
    let tokens: Vec<TokenTree> = arguments.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| &tokens[at]);
        let after_dot = matches!(before, Some(TokenTree::Punct(dot)) if dot.as_char() == '.');
        match token {
            TokenTree::Ident(word) if *word == "await" && after_dot => found(".await"),
            TokenTree::Ident(word) if *word == "mut" => {
                if matches!(before, Some(TokenTree::Punct(and)) if and.as_char() == '&') {
                    found("&mut");
                }
            }
            // `?value` before an expression asks for its Debug form; behind one it returns.
            TokenTree::Punct(mark) if mark.as_char() == '?' => {
                let returns = match before {
                    Some(TokenTree::Ident(_) | TokenTree::Literal(_)) => true,
                    Some(TokenTree::Group(group)) => group.delimiter() != Delimiter::Brace,
                    Some(TokenTree::Punct(mark)) => mark.as_char() == '?',
                    None => false,
                };
                if returns {
                    found("?");
                }
            }
            // Assignments are effects too; `=` alone names a field.
            TokenTree::Punct(mark) if "+-*/|&^".contains(mark.as_char()) => {
                let next = tokens.get(at + 1);
                if mark.spacing() == proc_macro2::Spacing::Joint
                    && matches!(next, Some(TokenTree::Punct(eq)) if eq.as_char() == '=')
                {
                    found("an assignment");
                }
            }
            TokenTree::Group(group) => effects(group.stream(), found),
            _ => {}
        }
    }
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, files);
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
}

fn faults_of(text: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    faults(text.parse().unwrap(), &mut found);
    found
}

#[test]
fn log_macros_hold_no_effects() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 100, "the sources of the project are read");
    let mut wrong = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        for (line, what) in faults_of(&text) {
            wrong.push(format!("{}:{line}: {what}", path.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "effects in log macros, which a level that is off leaves out:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn effects_are_told_from_fields() {
    for (text, expected) in [
        (
            "info!(signal = signals.next().await, \"leaving\");",
            vec![".await"],
        ),
        (
            "fn f() { tracing::warn!(n = queue.pop(&mut rng)); }",
            vec!["&mut"],
        ),
        ("debug!(name, \"{}\", read(path)?);", vec!["?"]),
        ("error!({ count += 1; count });", vec!["an assignment"]),
        (
            "info_span!(\"a\", x = f(g(h?.await)));",
            vec!["?", ".await"],
        ),
        ("info!(?queues, error = ?error, x = %y, \"said?\");", vec![]),
        ("println!(\"{}\", f(&mut x)?);", vec![]),
        ("let warn = f(&mut x)?; warn(&mut y)?;", vec![]),
        ("info!(\n  a = b == c && d <= e,\n)", vec![]),
    ] {
        let found: Vec<_> = faults_of(text).into_iter().map(|(_, what)| what).collect();
        assert_eq!(found, expected, "{text}");
    }
}
