//! The layout of a design.

use agentkit::{
    sources::{Citations, code_block, quote, remarks},
    text::missing_terms,
};

use crate::gather::{Excerpt, Excerpts};

const MAX_RULES: usize = 20;

/// What stands before a sketch.
pub(crate) fn head(excerpts: &Excerpts) -> String {
    let count = excerpts.findings.len();
    format!("_drawn from {count} findings of the notes_\n\n") + &remarks(&excerpts.remarks)
}

/// The excerpts with the numbers of their sources, for a model to cite.
pub(crate) fn numbered(excerpts: &Excerpts, citations: &mut Citations) -> String {
    let mut text = String::new();
    let mut known = Vec::new();
    for excerpt in excerpts.all() {
        if !known.contains(&&excerpt.source) {
            known.push(&excerpt.source);
            text.push_str(&citations.item(&excerpt.source, &excerpt.heading, &excerpt.text));
        }
    }
    text
}

/// The sections, and the sources.
pub(crate) fn body(goal: &str, excerpts: &Excerpts, citations: &mut Citations) -> String {
    let mut text = String::new();
    outline(&mut text, excerpts, citations);
    let rules = &excerpts.rules[..excerpts.rules.len().min(MAX_RULES)];
    let mut add = |title: &str, excerpts: &[Excerpt], shown: fn(&str) -> String| {
        section(&mut text, title, excerpts, citations, shown);
    };
    add("Rules to keep", rules, quote);
    add("Interfaces and examples", &excerpts.code, code_block);
    add("Settings and facts", &excerpts.tables, quote);
    let said = excerpts
        .all()
        .flat_map(|excerpt| [&*excerpt.heading, &*excerpt.text]);
    let open = missing_terms(goal, said);
    if !open.is_empty() {
        let open = open.join(", ");
        text.push_str(&format!(
            "## Not covered\n\n_no source speaks of: {open}_\n\n"
        ));
    }
    text.push_str(&citations.list());
    text
}

/// The parts of the design: the headings of the sources, in the order of the findings.
fn outline(text: &mut String, excerpts: &Excerpts, citations: &mut Citations) {
    text.push_str("## Outline\n\n");
    let mut parts: Vec<(&str, Vec<usize>)> = Vec::new();
    for excerpt in &excerpts.findings {
        let number = citations.number(&excerpt.source);
        let mut known = parts.iter_mut();
        match known.find(|(heading, _)| *heading == excerpt.heading) {
            Some((_, numbers)) if numbers.contains(&number) => {}
            Some((_, numbers)) => numbers.push(number),
            None => parts.push((&excerpt.heading, vec![number])),
        }
    }
    if parts.is_empty() {
        text.push_str("_the notes quote nothing to build on_\n");
    }
    for (index, (heading, numbers)) in parts.iter().enumerate() {
        let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
        let (number, numbers) = (index + 1, numbers.join(", "));
        text.push_str(&format!("{number}. {heading} [{numbers}]\n"));
    }
    text.push('\n');
}

fn section(
    text: &mut String,
    title: &str,
    excerpts: &[Excerpt],
    citations: &mut Citations,
    shown: fn(&str) -> String,
) {
    if excerpts.is_empty() {
        return;
    }
    text.push_str(&format!("## {title}\n\n"));
    for excerpt in excerpts {
        let number = citations.number(&excerpt.source);
        let under = match excerpt.heading.is_empty() {
            true => String::new(),
            false => format!(" under {}", excerpt.heading.replace(['[', ']'], "")),
        };
        let shown = shown(&excerpt.text);
        text.push_str(&format!("{shown}\n— [{number}]{under}\n\n"));
    }
}
