//! The search: BM25 over the terms of texts and headings, after S. Robertson and H. Zaragoza,
//! "The Probabilistic Relevance Framework: BM25 and Beyond", 2009.

use std::collections::{BTreeMap, HashMap};

use agentkit::{
    sources::{DocHit, Passage},
    text::{distinct_terms, terms},
};

/// BM25's usual parameters: saturation by repeated terms, and correction for the length of a passage.
const K1: f64 = 1.2;
const B: f64 = 0.75;
/// The weight of a code block beside prose: a command repeats a question more often than it answers it.
const CODE: f64 = 0.75;

/// An inverted index of passages.
#[derive(Debug, Default)]
pub(crate) struct Index {
    passages: Vec<Passage>,
    /// Per term, the passages that have it and how often.
    postings: HashMap<String, Vec<(usize, f64)>>,
    /// Terms of each passage.
    lengths: Vec<f64>,
    mean_length: f64,
}

impl Index {
    pub(crate) fn new(passages: Vec<Passage>) -> Self {
        let mut index = Self::default();
        for (number, passage) in passages.iter().enumerate() {
            let mut counts: HashMap<String, f64> = HashMap::new();
            // A heading says what all beneath it is about.
            let terms = [terms(&passage.text), terms(&passage.heading)].concat();
            index.lengths.push(count(terms.len()));
            for term in terms {
                *counts.entry(term).or_default() += 1.0;
            }
            for (term, count) in counts {
                let postings = index.postings.entry(term).or_default();
                postings.push((number, count));
            }
        }
        let sum: f64 = index.lengths.iter().sum();
        // 1 without terms: nothing is divided by 0.
        index.mean_length = Some(sum / count(passages.len()))
            .filter(|mean| *mean > 0.0)
            .unwrap_or(1.0);
        index.passages = passages;
        index
    }

    pub(crate) fn len(&self) -> usize {
        self.passages.len()
    }

    /// The best `limit` passages for a query, best first; of one `kind` where that is given.
    pub(crate) fn search(&self, query: &str, kind: Option<&str>, limit: usize) -> Vec<DocHit> {
        let mut scores: BTreeMap<usize, (f64, Vec<String>)> = BTreeMap::new();
        for term in distinct_terms(query) {
            let postings = self.postings.get(&term).map_or(&[][..], Vec::as_slice);
            let (all, having) = (count(self.passages.len()), count(postings.len()));
            let idf = ((all - having + 0.5) / (having + 0.5)).ln_1p();
            for (number, frequency) in postings {
                let length = self.lengths[*number] / self.mean_length;
                let held_back = K1 * (1.0 - B + B * length);
                let score = idf * frequency * (K1 + 1.0) / (frequency + held_back);
                let entry = scores.entry(*number).or_default();
                entry.0 += score;
                entry.1.push(term.clone());
            }
        }
        let hits = scores.into_iter().map(|(number, (score, terms))| {
            let passage = self.passages[number].clone();
            let is_code = kind.is_none() && passage.kind == "code";
            let weight = if is_code { CODE } else { 1.0 };
            let score = (score * weight * 1000.0).round() / 1000.0;
            DocHit {
                passage,
                score,
                terms,
            }
        });
        let wanted = |hit: &DocHit| kind.is_none_or(|kind| hit.passage.kind == kind);
        let mut hits: Vec<DocHit> = hits.filter(wanted).collect();
        // Stable: passages with equal scores stay in the order of their files and lines.
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        hits.truncate(limit);
        hits
    }

    /// The query's terms that no passage has.
    pub(crate) fn missing(&self, query: &str) -> Vec<String> {
        let mut terms = distinct_terms(query);
        terms.retain(|term| !self.postings.contains_key(term));
        terms
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let text = "# Draining\nA router drains: it leaves the registry, then finishes its calls.\n\n\
            Calls are finished within a timeout.\n\n# Retries\nA call is tried again on another \
            instance.\n\n```\nmake up\n```\n";
        Index::new(crate::split::split("a.md", text, true))
    }

    #[test]
    fn the_passage_that_is_about_the_query_comes_first() {
        let index = index();
        let lines = |query| -> Vec<usize> {
            let hits = index.search(query, None, 9).into_iter();
            hits.map(|hit| hit.passage.line).collect()
        };
        assert_eq!(lines("how do routers drain"), [2]);
        assert_eq!(lines("draining timeout"), [4, 2]);
        assert_eq!(lines("the retries"), [10, 7]);
        assert!(lines("kubernetes").is_empty());
        assert_eq!(index.missing("router kubernetes"), ["kubernete"]);
    }

    #[test]
    fn prose_comes_before_a_command_that_repeats_the_question() {
        let text = "# Examples\n\n```\nask 'how does a router drain'\n```\n\n# Stopping\n\nA router \
            drains on SIGTERM: it leaves the registry, then finishes the calls that it has.\n";
        let index = Index::new(crate::split::split("a.md", text, true));
        let hits = index.search("How does a router drain?", None, 9);
        let kinds: Vec<_> = hits.iter().map(|hit| hit.passage.kind.as_str()).collect();
        assert_eq!(kinds, ["text", "code"]);
    }

    #[test]
    fn hits_are_limited_filtered_and_say_what_they_match() {
        let index = index();
        let code = index.search("make retries", Some("code"), 9);
        assert_eq!(code.len(), 1);
        assert_eq!(code[0].passage.text, "make up");
        assert_eq!(code[0].terms, ["make", "retry"]);
        assert_eq!(index.search("call", None, 1).len(), 1);
        assert!(Index::new(Vec::new()).search("call", None, 1).is_empty());
    }
}
