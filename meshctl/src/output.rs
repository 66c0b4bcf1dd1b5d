//! Writing to the terminal: answers to standard output, remarks to standard error, colour only
//! where a person sees it.

use std::io::{self, IsTerminal as _, Write as _};

use serde_json::Value;

/// How a piece of text stands out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Style {
    Strong,
    Good,
    Bad,
    Quiet,
}

/// Where and how a command answers.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
    colour: bool,
    colour_remarks: bool,
}

impl Output {
    /// Colour is for terminals, and for those who have not set `NO_COLOR` (<https://no-color.org>).
    pub(crate) fn new(json: bool) -> Self {
        let environment = service::config::environment();
        let wanted = environment.get("NO_COLOR").is_none_or(String::is_empty)
            && environment.get("TERM").is_none_or(|term| term != "dumb");
        Self {
            json,
            colour: wanted && io::stdout().is_terminal(),
            colour_remarks: wanted && io::stderr().is_terminal(),
        }
    }

    /// A line of the answer.
    pub(crate) fn line(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}")?;
        stdout.flush()
    }

    /// A line of the answer that a program reads.
    pub(crate) fn value(&self, value: &Value) -> io::Result<()> {
        self.line(&value.to_string())
    }

    /// A line that is not part of the answer. Nobody listening is no reason to fail.
    pub(crate) fn remark(&self, text: &str) {
        writeln!(io::stderr().lock(), "{text}").ok();
    }

    /// Whether a person reads the answer.
    pub(crate) fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Whether a person sees progress.
    pub(crate) fn shows_progress(&self) -> bool {
        io::stderr().is_terminal()
    }

    /// Shows progress on a terminal, in place of what was shown before; an empty text clears it.
    pub(crate) fn progress(&self, text: &str) {
        let mut stderr = io::stderr().lock();
        if stderr.is_terminal() {
            write!(stderr, "\r{text}\x1b[K")
                .and_then(|()| stderr.flush())
                .ok();
        }
    }

    /// Text for [`Self::line`].
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        painted(self.colour, style, text)
    }

    /// Text for [`Self::remark`].
    pub(crate) fn paint_remark(&self, style: Style, text: &str) -> String {
        painted(self.colour_remarks, style, text)
    }

    /// Names and their values, a line each; nothing for an empty value.
    pub(crate) fn facts(&self, facts: &[(&str, String)]) -> io::Result<()> {
        for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
            // Further lines are indented like the first.
            let value = value.replace('\n', "\n          ");
            self.line(&format!("{name:<9} {value}"))?;
        }
        Ok(())
    }

    /// Rows under a heading, in columns; nothing when there are no rows.
    pub(crate) fn table<const N: usize>(
        &self,
        heading: [&str; N],
        rows: &[[String; N]],
    ) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let widths = widths(&heading, rows);
        self.line(&self.paint(Style::Strong, &columns(&heading, &widths)))?;
        rows.iter().try_for_each(|row| {
            let cells = row.each_ref().map(String::as_str);
            self.line(&columns(&cells, &widths))
        })
    }
}

fn painted(colour: bool, style: Style, text: &str) -> String {
    let code = match style {
        Style::Strong => "1",
        Style::Good => "32",
        Style::Bad => "1;31",
        Style::Quiet => "2",
    };
    if colour {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

fn widths<const N: usize>(heading: &[&str; N], rows: &[[String; N]]) -> [usize; N] {
    let mut widths = heading.map(|text| text.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
}

fn columns<const N: usize>(cells: &[&str; N], widths: &[usize; N]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        line += &format!("{cell:<width$}  ");
    }
    line.truncate(line.trim_end().len());
    line
}

/// A field's text, for people.
pub(crate) fn text(value: &Value, field: &str) -> String {
    plain(value[field].as_str().unwrap_or_default())
}

/// Text that does not steer the terminal, whatever other programs wrote.
pub(crate) fn plain(text: &str) -> String {
    let steers = |c: char| c != '\n' && !::mcp::text::is_visible(c);
    text.trim_end().replace(steers, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["ä".to_owned(), "x".to_owned()],
            ["long".to_owned(), String::new()],
        ];
        let widths = widths(&["ID", "WHAT"], &rows);
        assert_eq!(widths, [4, 4]);
        assert_eq!(columns(&["ä", "x"], &widths), "ä     x");
        assert_eq!(columns(&["long", ""], &widths), "long");
    }

    #[test]
    fn text_is_plain_without_a_terminal() {
        assert_eq!(painted(false, Style::Bad, "x"), "x");
        assert_eq!(painted(true, Style::Bad, "x"), "\x1b[1;31mx\x1b[0m");
    }

    #[test]
    fn what_others_wrote_does_not_steer_the_terminal() {
        assert_eq!(plain("\x1b]0;title\x07 a\nb\n"), " ]0;title  a\nb");
    }
}
