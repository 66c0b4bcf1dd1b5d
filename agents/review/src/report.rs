//! The layout of a review.

use crate::check::{CheckResults, Severity};

const MAX_FINDINGS: usize = 100;

/// The review, without its title and a model's remarks.
pub(crate) fn report(names: &[&str], results: &CheckResults) -> String {
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
         - {} of {} quotations stand word for word in the lines they name.\n\
         - {} of {} statements name their source.\n\n## Findings\n\n",
        names.join(" and "),
        results.confirmed,
        results.looked_up,
        results.sourced,
        results.claims,
    );
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
    let more = findings.len().saturating_sub(MAX_FINDINGS);
    if more > 0 {
        text.push_str(&format!("\n{more} more are not listed.\n"));
    }
    text
}
