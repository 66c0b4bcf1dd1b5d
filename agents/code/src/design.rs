//! The layout of a design.

use agentkit::{
    sources::{Citations, code_block, quote, remarks},
    text::{distinct_terms, terms},
};

use crate::gather::{Excerpt, Excerpts};

/// Most rules that are listed.
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
    section(
        &mut text,
        "Rules to keep",
        excerpts.rules.iter().take(MAX_RULES),
        citations,
        quote,
    );
    section(
        &mut text,
        "Interfaces and examples",
        excerpts.code.iter(),
        citations,
        code_block,
    );
    section(
        &mut text,
        "Settings and facts",
        excerpts.tables.iter(),
        citations,
        quote,
    );
    let said: String = excerpts
        .all()
        .map(|excerpt| format!("{} {}\n", excerpt.heading, excerpt.text))
        .collect();
    let said = terms(&said);
    let mut open = distinct_terms(goal);
    open.retain(|term| !said.contains(term));
    if !open.is_empty() {
        text.push_str(&format!(
            "## Not covered\n\n_no source speaks of: {}_\n\n",
            open.join(", ")
        ));
    }
    text.push_str(&citations.list());
    text
}

/// The parts of the design: what the sources stand under, in the order of their weight.
fn outline(text: &mut String, excerpts: &Excerpts, citations: &mut Citations) {
    text.push_str("## Outline\n\n");
    let mut parts: Vec<(&str, Vec<usize>)> = Vec::new();
    for excerpt in &excerpts.findings {
        let number = citations.number(&excerpt.source);
        match parts
            .iter_mut()
            .find(|(heading, _)| *heading == excerpt.heading)
        {
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
        text.push_str(&format!(
            "{}. {heading} [{}]\n",
            index + 1,
            numbers.join(", ")
        ));
    }
    text.push('\n');
}

fn section<'a>(
    text: &mut String,
    title: &str,
    excerpts: impl Iterator<Item = &'a Excerpt>,
    citations: &mut Citations,
    shown: fn(&str) -> String,
) {
    let mut excerpts = excerpts.peekable();
    if excerpts.peek().is_none() {
        return;
    }
    text.push_str(&format!("## {title}\n\n"));
    for excerpt in excerpts {
        let number = citations.number(&excerpt.source);
        let under = match excerpt.heading.is_empty() {
            true => String::new(),
            false => format!(" under {}", excerpt.heading.replace(['[', ']'], "")),
        };
        text.push_str(&format!(
            "{}\n— [{number}]{under}\n\n",
            shown(&excerpt.text)
        ));
    }
}
