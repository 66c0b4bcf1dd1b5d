//! Splits a file into passages: paragraphs, lists, tables and code blocks, short enough to be quoted.

use agentkit::sources::Passage;

/// Longest passage, lines and bytes; a longer one is split.
const MAX_LINES: usize = 40;
const MAX_BYTES: usize = 3000;

/// The passages of a file in order. `markdown` says whether it has headings and code blocks.
pub(crate) fn split(file: &str, text: &str, markdown: bool) -> Vec<Passage> {
    let mut cutter = Cutter {
        file,
        headings: Vec::new(),
        block: Vec::new(),
        first: 1,
        code: false,
        passages: Vec::new(),
    };
    let mut fence: Option<&str> = None;
    for (index, line) in text.lines().enumerate() {
        let (number, trimmed) = (index + 1, line.trim());
        if let Some(mark) = fence {
            if trimmed.starts_with(mark) && trimmed.chars().all(|c| mark.contains(c)) {
                cutter.end();
                fence = None;
            } else {
                cutter.add(number, line, true);
            }
        } else if markdown && let Some(mark) = fence_of(trimmed) {
            cutter.end();
            fence = Some(mark);
        } else if markdown && let Some((level, title)) = heading(trimmed) {
            cutter.end();
            cutter.headings.retain(|(above, _)| *above < level);
            cutter.headings.push((level, title.to_owned()));
        } else if trimmed.is_empty() {
            cutter.end();
        } else {
            cutter.add(number, line, false);
        }
    }
    cutter.end();
    cutter.passages
}

struct Cutter<'a> {
    file: &'a str,
    headings: Vec<(usize, String)>,
    block: Vec<&'a str>,
    first: usize,
    code: bool,
    passages: Vec<Passage>,
}

impl<'a> Cutter<'a> {
    fn add(&mut self, number: usize, line: &'a str, code: bool) {
        let bytes: usize = self.block.iter().map(|line| line.len() + 1).sum();
        if self.block.len() >= MAX_LINES || bytes + line.len() > MAX_BYTES {
            self.end();
        }
        if self.block.is_empty() {
            self.first = number;
            self.code = code;
        }
        self.block.push(line);
    }

    fn end(&mut self) {
        let block = std::mem::take(&mut self.block);
        if block.iter().all(|line| line.trim().is_empty()) {
            return;
        }
        let titles = self.headings.iter().map(|(_, title)| title.as_str());
        let titles: Vec<_> = titles.collect();
        self.passages.push(Passage {
            file: self.file.to_owned(),
            line: self.first,
            end_line: self.first + block.len() - 1,
            heading: titles.join(" › "),
            kind: kind(&block, self.code).to_owned(),
            text: block.join("\n"),
        });
    }
}

fn kind(block: &[&str], code: bool) -> &'static str {
    let first = block.first().map_or("", |line| line.trim());
    let item = |mark: &str| first.starts_with(mark);
    let numbered = first
        .split_once(". ")
        .is_some_and(|(number, _)| number.parse::<u16>().is_ok());
    match () {
        () if code => "code",
        () if item("|") => "table",
        () if item("- ") || item("* ") || item("+ ") || numbered => "list",
        () => "text",
    }
}

/// The backquotes or tildes that open a code block.
fn fence_of(line: &str) -> Option<&str> {
    let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = line.len() - line.trim_start_matches(mark).len();
    // Backquotes further on make it code within a line.
    let inline = mark == '`' && line[length..].contains('`');
    (length >= 3 && !inline).then(|| &line[..length])
}

/// Level and title of a heading, which has a space after its hashes.
fn heading(line: &str) -> Option<(usize, &str)> {
    let level = line.len() - line.trim_start_matches('#').len();
    let title = line[level..].strip_prefix(' ')?;
    ((1..=6).contains(&level)).then(|| (level, title.trim().trim_end_matches('#').trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<(usize, usize, String, String, String)> {
        let passages = split("a.md", text, true).into_iter();
        passages
            .map(|p| (p.line, p.end_line, p.kind, p.heading, p.text))
            .collect()
    }

    #[test]
    fn passages_know_their_lines_headings_and_kind() {
        let text = "# Top\nintro\nmore\n\n## Two\n\n```sh\n# no heading\n\nmake up\n```\n- a\n- b\n\n\
            # Next\n| a |\n|---|\n\n1. one\n";
        let row = |line, end, kind: &str, heading: &str, text: &str| {
            (
                line,
                end,
                kind.to_owned(),
                heading.to_owned(),
                text.to_owned(),
            )
        };
        assert_eq!(
            cut(text),
            [
                row(2, 3, "text", "Top", "intro\nmore"),
                row(8, 10, "code", "Top › Two", "# no heading\n\nmake up"),
                row(12, 13, "list", "Top › Two", "- a\n- b"),
                row(16, 17, "table", "Next", "| a |\n|---|"),
                row(19, 19, "list", "Next", "1. one"),
            ]
        );
    }

    #[test]
    fn every_passage_is_what_stands_on_its_lines() {
        let text: String = (0..200).map(|n| format!("line {n} ```\n")).collect();
        for markdown in [true, false] {
            let lines: Vec<_> = text.lines().collect();
            let passages = split("a.txt", &text, markdown);
            assert!(passages.len() >= 5);
            for passage in passages {
                let there = lines[passage.line - 1..passage.end_line].join("\n");
                assert_eq!(passage.text, there);
            }
        }
    }

    #[test]
    fn an_unended_fence_ends_with_the_file() {
        assert_eq!(cut("~~~\nx\n").len(), 1);
        assert!(cut("#hash\n")[0].4.contains("#hash"));
        assert!(cut("").is_empty());
    }
}
