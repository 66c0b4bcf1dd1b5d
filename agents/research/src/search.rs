//! What the tools find for a goal.

use std::collections::BTreeMap;

use agentkit::{
    TaskError, ToolError, Toolbox,
    sources::{DocHit, WebSearchResults},
    text::truncate,
};

const DOCS: &str = "docs-tool";
const WEB: &str = "web-tool";
/// Most parts of a goal that are searched for on their own.
const MAX_PARTS: usize = 6;
/// Most results of one query.
const PER_PART: usize = 8;
/// Most passages in the notes.
const MAX_HITS: usize = 14;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Passages of documents, best first.
    pub(crate) hits: Vec<DocHit>,
    /// How many files and passages were searched.
    pub(crate) searched: (usize, usize),
    /// Words of the goal that no document has.
    pub(crate) missing: Vec<String>,
    pub(crate) web: Option<WebSearchResults>,
    /// What could not be searched, and why.
    pub(crate) remarks: Vec<String>,
}

/// The queries for a goal: the whole goal, then its parts between arrows, commas, semicolons and
/// `then`.
fn subqueries(goal: &str) -> Vec<String> {
    let separated = goal.replace("->", ";").replace(" then ", ";");
    let parts = separated
        .split(['→', ';', ',', '\n', '?', '!'])
        .map(str::trim);
    let parts = parts.filter(|part| !part.is_empty() && *part != goal.trim());
    let all = std::iter::once(goal.trim()).chain(parts);
    all.take(MAX_PARTS + 1).map(str::to_owned).collect()
}

/// Searches the documents for the goal and its parts, and the web for the goal, with the tools that
/// the task names.
/// It fails when the tool for documents does not answer; other failures become remarks.
pub(crate) async fn search(toolbox: &Toolbox, goal: &str) -> Result<Findings, TaskError> {
    let mut findings = Findings::default();
    if toolbox.contains(DOCS) {
        docs(toolbox, goal, &mut findings).await?;
    } else {
        let remark = "documents were not searched: docs-tool is not among the tools";
        findings.remarks.push(remark.to_owned());
    }
    if toolbox.contains(WEB) {
        web(toolbox, goal, &mut findings).await;
    }
    Ok(findings)
}

async fn docs(toolbox: &Toolbox, goal: &str, findings: &mut Findings) -> Result<(), TaskError> {
    // By place: a passage that is found twice is kept once, with its better score.
    let mut best: BTreeMap<(String, usize), DocHit> = BTreeMap::new();
    for (number, part) in subqueries(goal).into_iter().enumerate() {
        let found = match toolbox.search_docs(&part, "", PER_PART).await {
            Ok(found) => found,
            Err(error @ (ToolError::Unavailable { .. } | ToolError::Malformed { .. })) => {
                return Err(TaskError::Unavailable(error.to_string()));
            }
            // Without documents the run goes on: the notes say so.
            Err(error) => {
                let remark = format!("documents were not searched: {error}");
                findings.remarks.push(remark);
                break;
            }
        };
        if number == 0 {
            findings.searched = (found.files, found.passages);
            findings.missing = found.missing_terms;
        }
        for hit in found.results {
            let place = (hit.passage.file.clone(), hit.passage.line);
            let known = best.get(&place).map_or(0.0, |known| known.score);
            if hit.score > known {
                best.insert(place, hit);
            }
        }
    }
    findings.hits = best.into_values().collect();
    findings.hits.sort_by(|a, b| b.score.total_cmp(&a.score));
    findings.hits.truncate(MAX_HITS);
    Ok(())
}

async fn web(toolbox: &Toolbox, goal: &str, findings: &mut Findings) {
    let query = truncate(goal, 200);
    let found = toolbox.call_json(WEB, "web_search", [("query", query)]);
    match found.await {
        Ok(found) => findings.web = Some(found),
        Err(error) => findings
            .remarks
            .push(format!("the web was not searched: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_searched_whole_and_in_its_parts() {
        assert_eq!(
            subqueries("Research -> code -> review"),
            ["Research -> code -> review", "Research", "code", "review"]
        );
        assert_eq!(
            subqueries(" how do routers drain? "),
            ["how do routers drain?", "how do routers drain"]
        );
        assert_eq!(subqueries("scale echo"), ["scale echo"]);
        assert_eq!(subqueries(&"a,".repeat(99)).len(), MAX_PARTS + 1);
    }
}
