//! Tools by what they are about: BM25 over names, descriptions and parameters.

mod words;

use std::{collections::HashMap, sync::Arc};

use serde_json::{Map, Value};

use crate::{JsonText, MeshTool, ToolResult};
use words::words;

/// Term saturation and length normalization, as Robertson and Zaragoza, "The Probabilistic Relevance
/// Framework: BM25 and Beyond" (2009), recommend them.
const K1: f32 = 1.2;
const B: f32 = 0.75;
/// What a word in a name counts, and one in a title.
const NAME: f32 = 4.0;
const TITLE: f32 = 2.0;
/// What a word counts that only begins as the query's does.
const PREFIX: f32 = 0.5;
/// Words of a query that count.
const MAX_WORDS: usize = 32;
/// Words of a tool that count.
const MAX_TOOL_WORDS: usize = 2_000;
/// Tools that one search answers with, by default and at most.
const LIMIT: (usize, usize) = (10, 50);

/// A tool's place in the list, and how much a word counts there.
type Place = (u32, f32);

/// The words of a list of tools.
#[derive(Debug, Default)]
pub struct SearchIndex {
    /// Sorted, each with the tools that have it and how much it counts there.
    words: Vec<(Box<str>, Vec<Place>)>,
    /// How many words each tool has.
    lengths: Vec<f32>,
    average: f32,
}

impl SearchIndex {
    /// The index of tools. What it finds are places in this list.
    #[must_use]
    pub fn new(tools: &[Arc<MeshTool>]) -> Self {
        let mut found: HashMap<String, Vec<Place>> = HashMap::new();
        let mut lengths = Vec::with_capacity(tools.len());
        for (number, tool) in (0u32..).zip(tools) {
            let counts = counts(tool);
            lengths.push(counts.values().sum());
            for (word, count) in counts {
                found.entry(word).or_default().push((number, count));
            }
        }
        let mut words: Vec<_> = found
            .into_iter()
            .map(|(word, tools)| (word.into_boxed_str(), tools))
            .collect();
        words.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let average = lengths.iter().sum::<f32>() / (lengths.len().max(1) as f32);
        Self {
            words,
            lengths,
            average: average.max(1.0),
        }
    }

    /// The tools that match a query, the best first; all of them, in their order, for a query without
    /// words.
    #[must_use]
    pub fn search(&self, query: &str, limit: usize, allowed: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut asked: Vec<String> = words(query).take(MAX_WORDS).collect();
        if asked.is_empty() {
            let all = 0..self.lengths.len();
            return all.filter(|place| allowed(*place)).take(limit).collect();
        }
        asked.sort_unstable();
        asked.dedup();
        let mut scores = vec![0.0f32; self.lengths.len()];
        for word in &asked {
            self.score(word, &mut scores);
        }
        let mut found: Vec<(usize, f32)> = scores
            .into_iter()
            .enumerate()
            .filter(|(place, score)| *score > 0.0 && allowed(*place))
            .collect();
        found.sort_by(|(one, a), (other, b)| b.total_cmp(a).then(one.cmp(other)));
        found.truncate(limit);
        found.into_iter().map(|(place, _)| place).collect()
    }

    /// Adds what one word of a query counts.
    fn score(&self, word: &str, scores: &mut [f32]) {
        let start = self.words.partition_point(|(known, _)| &**known < word);
        let beginning = self.words[start..]
            .iter()
            .take_while(|(known, _)| known.starts_with(word));
        let count = self.lengths.len() as f32;
        for (known, tools) in beginning {
            let is_whole = &**known == word;
            if !is_whole && word.chars().count() < 3 {
                break;
            }
            let having = tools.len() as f32;
            let rarity = (1.0 + (count - having + 0.5) / (having + 0.5)).ln();
            let weight = if is_whole { rarity } else { rarity * PREFIX };
            for (place, times) in tools {
                let place = *place as usize;
                let length = self.lengths[place] / self.average;
                let score = times * (K1 + 1.0) / (times + K1 * (1.0 - B + B * length));
                scores[place] += weight * score;
            }
        }
    }
}

/// How much each word counts for a tool.
fn counts(tool: &MeshTool) -> HashMap<String, f32> {
    let mut counts: HashMap<String, f32> = HashMap::new();
    let mut add = |text: &str, weight: f32| {
        for word in words(text).take(MAX_TOOL_WORDS) {
            *counts.entry(word).or_default() += weight;
        }
    };
    add(&tool.name, NAME);
    add(&tool.public_id, 1.0);
    add(&tool.title, TITLE);
    add(&tool.description, 1.0);
    properties(&tool.input_schema(), 0, &mut |name, about| {
        add(name, 1.0);
        add(about, 0.5);
    });
    counts
}

/// The names of properties and their descriptions, those within them too.
fn properties(schema: &Value, depth: usize, add: &mut impl FnMut(&str, &str)) {
    if depth > 4 {
        return;
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        add(name, property["description"].as_str().unwrap_or_default());
        properties(property, depth + 1, add);
        properties(&property["items"], depth + 1, add);
    }
}

/// `search_tools`: the entries of the tools that match, as `tools/list` has them.
#[must_use]
pub fn search_tools(
    index: &SearchIndex,
    tools: &[Arc<MeshTool>],
    arguments: &Map<String, Value>,
    allowed: impl Fn(&MeshTool) -> bool,
) -> ToolResult {
    let query = match arguments.get("query") {
        Some(Value::String(query)) => query.as_str(),
        None | Some(Value::Null) => "",
        Some(_) => {
            return ToolResult::error("INVALID_ARGUMENT: query is no text: give words to look for");
        }
    };
    let limit = match arguments.get("limit") {
        None | Some(Value::Null) => LIMIT.0,
        Some(limit) => match limit.as_u64().and_then(|limit| usize::try_from(limit).ok()) {
            Some(limit) if (1..=LIMIT.1).contains(&limit) => limit,
            _ => {
                let text = format!(
                    "INVALID_ARGUMENT: limit: give a whole number from 1 to {}",
                    LIMIT.1
                );
                return ToolResult::error(text);
            }
        },
    };
    let allowed = |place: usize| tools.get(place).is_some_and(|tool| allowed(tool));
    let found = index.search(query, limit, allowed);
    let mut json = String::from("{\"tools\":[");
    for (number, tool) in found
        .iter()
        .filter_map(|place| tools.get(*place))
        .enumerate()
    {
        if number > 0 {
            json.push(',');
        }
        json.push_str(&String::from_utf8_lossy(&tool.json));
    }
    json.push_str("]}");
    ToolResult::structured(JsonText::written(json))
}

#[cfg(test)]
mod tests;
