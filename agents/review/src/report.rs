//! How a review is written down.

use std::fmt::Write as _;

use agentkit::text::clip;

use crate::check::{Checked, Severity};

/// Most findings that are listed.
const MOST_FINDINGS: usize = 100;

/// The review, but for a model's remarks.
pub(crate) fn report(goal: &str, label: &str, names: &[&str], checked: &Checked) -> String {
    let title = clip(&goal.split_whitespace().collect::<Vec<_>>().join(" "), 200);
    let mut text = format!("# Review: {title}\n\n{label}\n\n");
    let Checked {
        looked_up,
        confirmed,
        claims,
        sourced,
        ..
    } = checked;
    let (errors, warnings) = (
        checked.count(Severity::Error),
        checked.count(Severity::Warning),
    );
    let verdict = match (errors, warnings) {
        (0, 0) => "passes",
        (0, _) => "passes, with warnings",
        _ => "does not pass",
    };
    // Writing into a String does not fail.
    let _ = writeln!(
        text,
        "## Verdict\n\n**{verdict}**: {errors} errors, {warnings} warnings in {}.\n\n\
         - {confirmed} of {looked_up} quotations stand word for word in the lines they name.\n\
         - {sourced} of {claims} statements name their source.\n",
        names.join(" and ")
    );
    text.push_str("## Findings\n\n");
    if checked.findings.is_empty() {
        text.push_str("None.\n");
        return text;
    }
    text.push_str("| severity | where | what |\n|---|---|---|\n");
    let mut findings: Vec<_> = checked.findings.iter().collect();
    findings.sort_by_key(|finding| finding.severity);
    for finding in findings.iter().take(MOST_FINDINGS) {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        let what = finding.what.replace('|', "\\|");
        let _ = writeln!(text, "| {severity} | {} | {what} |", finding.at);
    }
    if let Some(more) = findings
        .len()
        .checked_sub(MOST_FINDINGS)
        .filter(|more| *more > 0)
    {
        let _ = writeln!(text, "\n{more} more are not listed.");
    }
    text
}
