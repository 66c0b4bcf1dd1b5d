//! How a design is laid out.

use agentkit::{
    sources::{Citations, code_block, quote},
    text::{distinct_terms, terms, truncate},
};

use crate::gather::{Excerpt, Excerpts};

/// Most rules that are listed.
const MOST_RULES: usize = 20;

/// The beginning of the design, up to where a sketch goes.
pub(crate) fn head(goal: &str, label: &str, pieces: &Excerpts) -> String {
    let title = truncate(&goal.split_whitespace().collect::<Vec<_>>().join(" "), 200);
    let count = pieces.findings.len();
    let mut text =
        format!("# Design: {title}\n\n{label}\n\n_drawn from {count} findings of the notes_\n\n");
    for remark in &pieces.remarks {
        text.push_str(&format!("_{}_\n\n", remark.replace('\n', " ")));
    }
    text
}

/// The pieces with the numbers of their sources, for a model to cite.
pub(crate) fn numbered(pieces: &Excerpts, citations: &mut Citations) -> String {
    let mut text = String::new();
    let all = pieces
        .findings
        .iter()
        .chain(&pieces.code)
        .chain(&pieces.tables);
    let mut told = Vec::new();
    for piece in all {
        if !told.contains(&piece.source) {
            told.push(piece.source.clone());
            let number = citations.number(&piece.source);
            text.push_str(&format!("[{number}] {}\n{}\n\n", piece.heading, piece.text));
        }
    }
    text
}

/// The sections, and the sources.
pub(crate) fn body(goal: &str, pieces: &Excerpts, citations: &mut Citations) -> String {
    let mut text = String::new();
    outline(&mut text, pieces, citations);
    section(
        &mut text,
        "Rules to keep",
        pieces.rules.iter().take(MOST_RULES),
        citations,
        quote,
    );
    section(
        &mut text,
        "Interfaces and examples",
        pieces.code.iter(),
        citations,
        code_block,
    );
    section(
        &mut text,
        "Settings and facts",
        pieces.tables.iter(),
        citations,
        quote,
    );
    let all = pieces
        .findings
        .iter()
        .chain(&pieces.code)
        .chain(&pieces.tables);
    let said: String = all
        .map(|piece| format!("{} {}\n", piece.heading, piece.text))
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
fn outline(text: &mut String, pieces: &Excerpts, citations: &mut Citations) {
    text.push_str("## Outline\n\n");
    let mut parts: Vec<(&str, Vec<usize>)> = Vec::new();
    for piece in &pieces.findings {
        let number = citations.number(&piece.source);
        match parts
            .iter_mut()
            .find(|(heading, _)| *heading == piece.heading)
        {
            Some((_, numbers)) if numbers.contains(&number) => {}
            Some((_, numbers)) => numbers.push(number),
            None => parts.push((&piece.heading, vec![number])),
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
    pieces: impl Iterator<Item = &'a Excerpt>,
    citations: &mut Citations,
    shown: fn(&str) -> String,
) {
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return;
    }
    text.push_str(&format!("## {title}\n\n"));
    for piece in pieces {
        let number = citations.number(&piece.source);
        let under = match piece.heading.is_empty() {
            true => String::new(),
            false => format!(" under {}", piece.heading.replace(['[', ']'], "")),
        };
        text.push_str(&format!("{}\n— [{number}]{under}\n\n", shown(&piece.text)));
    }
}
