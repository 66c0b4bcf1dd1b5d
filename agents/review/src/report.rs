//! The layout of a review.

use crate::check::{CheckResults, Severity};

/// Most findings that are listed.
const MAX_FINDINGS: usize = 100;

/// The review, without its title and a model's remarks.
pub(crate) fn report(names: &[&str], results: &CheckResults) -> String {
    let CheckResults {
        looked_up,
        confirmed,
        claims,
        sourced,
        ..
    } = results;
    let (errors, warnings) = (
        results.count(Severity::Error),
        results.count(Severity::Warning),
    );
    let verdict = match (errors, warnings) {
        (0, 0) => "passes",
        (0, _) => "passes, with warnings",
        _ => "does not pass",
    };
    let mut text = format!(
        "## Verdict\n\n**{verdict}**: {errors} errors, {warnings} warnings in {}.\n\n\
         - {confirmed} of {looked_up} quotations stand word for word in the lines they name.\n\
         - {sourced} of {claims} statements name their source.\n\n",
        names.join(" and ")
    );
    text.push_str("## Findings\n\n");
    if results.findings.is_empty() {
        text.push_str("None.\n");
        return text;
    }
    text.push_str("| severity | where | what |\n|---|---|---|\n");
    let mut findings: Vec<_> = results.findings.iter().collect();
    findings.sort_by_key(|finding| finding.severity);
    for finding in findings.iter().take(MAX_FINDINGS) {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        let what = finding.what.replace('|', "\\|");
        text.push_str(&format!("| {severity} | {} | {what} |\n", finding.at));
    }
    if let Some(more) = findings
        .len()
        .checked_sub(MAX_FINDINGS)
        .filter(|more| *more > 0)
    {
        text.push_str(&format!("\n{more} more are not listed.\n"));
    }
    text
}
