//! How findings are written down.

use agentkit::sources::{Citations, DocHit, Source, code_block, quote};

use crate::search::Findings;

/// The beginning of the notes, up to where a summary goes.
pub(crate) fn head(goal: &str, label: &str, findings: &Findings) -> String {
    let (files, passages) = findings.searched;
    let title =
        agentkit::text::truncate(&goal.split_whitespace().collect::<Vec<_>>().join(" "), 200);
    let mut text = format!("# Notes: {title}\n\n{label}\n\n");
    text.push_str(&format!(
        "_searched {passages} passages of {files} documents_\n\n"
    ));
    for remark in &findings.remarks {
        text.push_str(&format!("_{}_\n\n", remark.replace('\n', " ")));
    }
    text
}

/// The passages with the numbers of their sources, for a model to cite.
pub(crate) fn numbered(findings: &Findings, citations: &mut Citations) -> String {
    let mut text = String::new();
    for hit in &findings.hits {
        let number = citations.number(&hit.passage.source());
        text.push_str(&format!(
            "[{number}] {}\n{}\n\n",
            hit.passage.heading, hit.passage.text
        ));
    }
    for hit in findings.web.iter().flat_map(|found| &found.results) {
        let number = citations.number(&Source::Web(hit.url.clone()));
        text.push_str(&format!("[{number}] {}\n{}\n\n", hit.title, hit.snippet));
    }
    text
}

/// The findings, quoted, and the sources.
pub(crate) fn body(findings: &Findings, citations: &mut Citations) -> String {
    let mut text = "## Findings\n\n".to_owned();
    if findings.hits.is_empty() {
        text.push_str("_nothing was found in the documents_\n\n");
    }
    for hit in &findings.hits {
        text.push_str(&finding(hit, citations));
    }
    if let Some(found) = &findings.web {
        text.push_str(&format!("## Web, by {}\n\n", found.provider));
        for hit in &found.results {
            let number = citations.number(&Source::Web(hit.url.clone()));
            text.push_str(&format!(
                "### {}\n\n{}\n— [{number}]\n\n",
                hit.title,
                quote(&hit.snippet)
            ));
        }
    }
    if !findings.missing.is_empty() {
        let words = findings.missing.join(", ");
        text.push_str(&format!("## Open\n\n_no document mentions: {words}_\n\n"));
    }
    text.push_str(&citations.list());
    text
}

fn finding(hit: &DocHit, citations: &mut Citations) -> String {
    let passage = &hit.passage;
    let number = citations.number(&passage.source());
    let heading = match passage.heading.is_empty() {
        true => &passage.file,
        false => &passage.heading,
    };
    let said = match passage.kind.as_str() {
        "code" => code_block(&passage.text),
        _ => quote(&passage.text),
    };
    let terms = hit.terms.join(", ");
    format!("### {heading}\n\n{said}\n— [{number}] matches {terms}\n\n")
}
