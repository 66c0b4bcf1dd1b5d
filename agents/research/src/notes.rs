//! The layout of the notes.

use agentkit::sources::{Citations, DocHit, Source, code_block, quote, remarks};

use crate::search::Findings;

/// What stands before a summary.
pub(crate) fn head(findings: &Findings) -> String {
    let (files, passages) = findings.searched;
    format!("_searched {passages} passages of {files} documents_\n\n") + &remarks(&findings.remarks)
}

/// The passages with the numbers of their sources, for a model to cite.
pub(crate) fn numbered(findings: &Findings, citations: &mut Citations) -> String {
    let mut text = String::new();
    for DocHit { passage, .. } in &findings.hits {
        let item = citations.item(&passage.source(), &passage.heading, &passage.text);
        text.push_str(&item);
    }
    for hit in findings.web.iter().flat_map(|found| &found.results) {
        let source = Source::Web(hit.url.clone());
        text.push_str(&citations.item(&source, &hit.title, &hit.snippet));
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
