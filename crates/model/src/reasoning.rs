//! Removes reasoning that a model writes into its answer, such as `<think>…</think>`.

/// The tags between which reasoning stands.
const TAGS: [(&str, &str); 4] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
];

/// Removes the reasoning from a text that comes in pieces.
#[derive(Debug, Default)]
pub(crate) struct ReasoningFilter {
    /// Text that may be the beginning of a tag.
    held: String,
    /// The tag that ends the reasoning that we are in.
    inside: Option<&'static str>,
    /// The last character that was passed on.
    last: Option<char>,
    /// Whether reasoning was removed, so that the space after it goes too.
    trims: bool,
}

/// A piece of text without its reasoning.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Filtered {
    /// The content in it.
    pub(crate) text: String,
    /// Whether all text before it was reasoning: some templates leave the first tag out.
    pub(crate) discards_previous: bool,
}

enum TagMatch {
    Open(&'static str, usize),
    Close(usize),
    Perhaps,
    Text,
}

impl ReasoningFilter {
    /// Takes the next piece.
    pub(crate) fn push(&mut self, piece: &str) -> Filtered {
        let all = std::mem::take(&mut self.held) + piece;
        let mut passed = Filtered::default();
        let mut rest = all.as_str();
        while !rest.is_empty() {
            let Some(start) = rest.find('<') else {
                self.pass(rest, &mut passed);
                break;
            };
            self.pass(&rest[..start], &mut passed);
            rest = &rest[start..];
            let skipped = match (find(rest), self.inside) {
                (TagMatch::Perhaps, _) => {
                    rest.clone_into(&mut self.held);
                    break;
                }
                (TagMatch::Close(length), Some(close))
                    if rest[..length].eq_ignore_ascii_case(close) =>
                {
                    self.end_thought();
                    length
                }
                // A tag in backquotes is quoted.
                (TagMatch::Open(..) | TagMatch::Close(_), None) if self.last == Some('`') => 0,
                (TagMatch::Open(close, length), None) => {
                    self.inside = Some(close);
                    length
                }
                (TagMatch::Close(length), None) => {
                    passed = Filtered {
                        discards_previous: true,
                        ..Filtered::default()
                    };
                    self.last = None;
                    self.end_thought();
                    length
                }
                _ => 0,
            };
            if skipped == 0 {
                self.pass("<", &mut passed);
            }
            rest = &rest[skipped.max(1)..];
        }
        passed
    }

    /// The text that was held back, at the end. Reasoning without an end tag stays reasoning.
    pub(crate) fn finish(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        let mut passed = Filtered::default();
        self.pass(&held, &mut passed);
        passed.text
    }

    fn end_thought(&mut self) {
        self.inside = None;
        self.trims = self.last.is_none_or(char::is_whitespace);
    }

    fn pass(&mut self, text: &str, passed: &mut Filtered) {
        if self.inside.is_some() {
            return;
        }
        let text = match self.trims {
            true => text.trim_start(),
            false => text,
        };
        if let Some(last) = text.chars().next_back() {
            self.trims = false;
            self.last = Some(last);
            passed.text.push_str(text);
        }
    }
}

/// The tag that a text begins with; the text begins with `<`.
fn find(text: &str) -> TagMatch {
    let starts = |tag: &str| {
        let start = text.get(..tag.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(tag))
    };
    let may_start = |tag: &str| {
        let start = tag.get(..text.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(text))
    };
    for (open, close) in TAGS {
        if starts(open) {
            return TagMatch::Open(close, open.len());
        }
        if starts(close) {
            return TagMatch::Close(close.len());
        }
    }
    match TAGS
        .iter()
        .any(|(open, close)| may_start(open) || may_start(close))
    {
        true => TagMatch::Perhaps,
        false => TagMatch::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str, size: usize) -> String {
        let mut reasoning = ReasoningFilter::default();
        let mut content = String::new();
        let letters: Vec<char> = text.chars().collect();
        for piece in letters.chunks(size) {
            let passed = reasoning.push(&piece.iter().collect::<String>());
            if passed.discards_previous {
                content.clear();
            }
            content.push_str(&passed.text);
        }
        content + &reasoning.finish()
    }

    #[test]
    fn reasoning_is_no_content_however_the_text_is_cut() {
        let table = [
            ("<think>hm < 3</think>\n\nYes.", "Yes."),
            ("<THINK>hm</Think> Yes.", "Yes."),
            ("Yes. <think>or no?</think>Sure.", "Yes. Sure."),
            ("<thinking>a</thinking><think>b</think>c", "c"),
            ("<think>never closed: </thin", ""),
            ("no first tag</think>\nYes.", "Yes."),
            ("a < b, <b>bold</b> and <thi", "a < b, <b>bold</b> and <thi"),
            (
                "The tag `<think>` begins a thought.",
                "The tag `<think>` begins a thought.",
            ),
            ("<think>a <think> b</think>ä", "ä"),
            ("größe", "größe"),
        ];
        for (text, expected) in table {
            for size in [1, 2, 3, 7, 100] {
                assert_eq!(content(text, size), expected, "{text} in pieces of {size}");
            }
        }
    }
}
