//! The parts of a design: excerpts of the notes, and code and tables of the documents.

use agentkit::{
    Toolbox,
    sources::{Document, Source},
};

/// Most code blocks, and most tables, that are asked for beside those of the notes.
const MAX_BESIDES: usize = 5;
/// Words that mark a sentence as a rule.
const RULES: [&str; 15] = [
    "always",
    "at least",
    "at most",
    "by default",
    "cannot",
    "has to",
    "instead",
    "must",
    "never",
    "only",
    "refused",
    "required",
    "unless",
    "until",
    "without",
];

/// An excerpt with its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Excerpt {
    /// The heading above it.
    pub(crate) heading: String,
    /// What it says, verbatim.
    pub(crate) text: String,
    pub(crate) source: Source,
}

/// The excerpts by their use.
#[derive(Debug, Default)]
pub(crate) struct Excerpts {
    /// What the notes quote, in their order.
    pub(crate) findings: Vec<Excerpt>,
    /// Sentences that state a rule.
    pub(crate) rules: Vec<Excerpt>,
    pub(crate) code: Vec<Excerpt>,
    pub(crate) tables: Vec<Excerpt>,
    /// Why something was not looked up.
    pub(crate) remarks: Vec<String>,
}

impl Excerpts {
    /// The excerpts of the notes.
    pub(crate) fn from_notes(notes: &Document) -> Self {
        let mut excerpts = Self::default();
        for quote in &notes.quotes {
            let source = quote.cites.and_then(|number| notes.sources.get(&number));
            let Some(source) = source else {
                continue;
            };
            let excerpt = |text: &str| Excerpt {
                heading: quote.heading.clone(),
                text: text.trim_end().to_owned(),
                source: source.clone(),
            };
            excerpts.findings.push(excerpt(&quote.text));
            if quote.code {
                excerpts.code.push(excerpt(&quote.text));
            } else if quote.text.trim_start().starts_with('|') {
                excerpts.tables.push(excerpt(&quote.text));
            } else {
                let sentences = sentences(&quote.text).into_iter();
                let rules = sentences.filter(|text| is_rule(text));
                excerpts.rules.extend(rules.map(|text| excerpt(&text)));
            }
        }
        excerpts
    }

    /// All that can be cited.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Excerpt> {
        self.findings.iter().chain(&self.code).chain(&self.tables)
    }

    /// Adds code and tables about the goal that the notes do not quote.
    pub(crate) async fn add_from_docs(&mut self, toolbox: &Toolbox, goal: &str) {
        for kind in ["code", "table"] {
            let found = match toolbox.search_docs(goal, kind, MAX_BESIDES).await {
                Ok(found) => found,
                // The notes are a design without them.
                Err(error) => {
                    let remark = format!("no more code was looked for: {error}");
                    return self.remarks.push(remark);
                }
            };
            let all = match kind {
                "code" => &mut self.code,
                _ => &mut self.tables,
            };
            for hit in found.results {
                let source = hit.passage.source();
                if all.iter().all(|excerpt| excerpt.source != source) {
                    all.push(Excerpt {
                        heading: hit.passage.heading,
                        text: hit.passage.text,
                        source,
                    });
                }
            }
        }
    }
}

/// The sentences of a paragraph or the items of a list, each on one line.
fn sentences(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut one = String::new();
    for line in text.lines() {
        let line = line.trim();
        let item = ["- ", "* ", "+ "]
            .iter()
            .find_map(|mark| line.strip_prefix(mark));
        if item.is_some() && !one.is_empty() {
            all.push(std::mem::take(&mut one));
        }
        for word in item.unwrap_or(line).split_whitespace() {
            if !one.is_empty() {
                one.push(' ');
            }
            one.push_str(word);
            // A full stop within a name or a number has no space after it.
            if word.ends_with(['.', '!', '?']) && word.len() > 2 {
                all.push(std::mem::take(&mut one));
            }
        }
    }
    if !one.is_empty() {
        all.push(one);
    }
    all
}

fn is_rule(sentence: &str) -> bool {
    let plain = |c: char| if c.is_alphanumeric() { c } else { ' ' };
    let words: String = sentence.to_lowercase().chars().map(plain).collect();
    let padded = format!(" {words} ");
    RULES
        .iter()
        .any(|rule| padded.contains(&format!(" {rule} ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_become_rules_code_and_tables_with_their_sources() {
        let notes = "# Notes\n\n### Drain\n\n> A router drains. It must finish\n> its calls. Really.\n\n— [1]\n\n\
            ### Start\n\n```\nmake up\n```\n\n— [2]\n\n> | a |\n> |---|\n\n— [1]\n\n> no source must count\n\n\
            ## Sources\n\n- [1] a.md:3-4\n- [2] b.md:7\n";
        let excerpts = Excerpts::from_notes(&Document::parse(notes));
        assert_eq!(excerpts.findings.len(), 3);
        assert_eq!(excerpts.rules.len(), 1);
        assert_eq!(excerpts.rules[0].text, "It must finish its calls.");
        assert_eq!(excerpts.rules[0].source.to_string(), "a.md:3-4");
        assert_eq!(
            (&*excerpts.code[0].text, &*excerpts.code[0].heading),
            ("make up", "Start")
        );
        assert_eq!(excerpts.tables.len(), 1);
    }

    #[test]
    fn sentences_end_at_full_stops_and_items() {
        assert_eq!(
            sentences("- One is v1.2 here.\n  Two\n- Three, e.g. so"),
            ["One is v1.2 here.", "Two", "Three, e.g.", "so"]
        );
    }
}
