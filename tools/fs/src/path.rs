//! Valid names of runs, and of files within them.

/// Longest path, bytes.
const MAX_PATH: usize = 512;
/// Deepest path, components.
const MAX_DEPTH: usize = 8;
/// Longest component, bytes: the limit of common file systems, less the suffix of temporary names.
const MAX_COMPONENT: usize = 200;

/// A checked relative path: components that are plain names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path(Vec<String>);

/// A checked run id, which is a directory's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunId(String);

/// Why a name is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidPath {
    #[error("path {given:?} {problem}: give a relative path such as notes.md or drafts/one.md")]
    Path {
        given: String,
        problem: &'static str,
    },
    #[error(
        "session_id {0:?} is no run id: give 1 to 64 letters, digits, dashes, underscores or dots, \
         the first no dot"
    )]
    Run(String),
}

impl Path {
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidPath> {
        let bad = |problem| {
            Err(InvalidPath::Path {
                given: agentkit::text::shorten(text),
                problem,
            })
        };
        match text {
            "" => return bad("is empty"),
            _ if text.len() > MAX_PATH => return bad("is longer than 512 bytes"),
            _ if text.starts_with('/') => return bad("is absolute"),
            _ if text.chars().any(char::is_control) => return bad("contains a control character"),
            _ if text.split('/').count() > MAX_DEPTH => return bad("is deeper than 8 directories"),
            _ => {}
        }
        for part in text.split('/') {
            match part {
                ".." => return bad("leads upwards"),
                "" | "." => return bad("has an empty component"),
                part if part.starts_with('.') => return bad("names a hidden file"),
                part if part.len() > MAX_COMPONENT => return bad("has a name over 200 bytes"),
                _ => {}
            }
        }
        Ok(Self(text.split('/').map(str::to_owned).collect()))
    }

    /// The directories on the way, and the file's own name.
    pub(crate) fn split(&self) -> (&[String], &str) {
        match self.0.split_last() {
            Some((name, directories)) => (directories, name),
            None => (&[], ""),
        }
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

impl RunId {
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidPath> {
        let first = !text.is_empty() && !text.starts_with('.');
        let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        match first && text.len() <= 64 && text.chars().all(rest) {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidPath::Run(agentkit::text::shorten(text))),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_paths_are_taken() {
        for good in ["notes.md", "a/b/c.txt", "ä b.md", "a..b", "a\\b"] {
            assert_eq!(Path::parse(good).unwrap().to_string(), good);
        }
        let long = "x".repeat(513);
        let wide = "x".repeat(201);
        for (bad, problem) in [
            ("", "empty"),
            ("..", "upwards"),
            ("a/../../b", "upwards"),
            ("/etc/passwd", "absolute"),
            ("a//b", "empty component"),
            ("./a", "empty component"),
            ("a/", "empty component"),
            (".ssh/id", "hidden"),
            ("a\0b", "control"),
            ("a\nb", "control"),
            ("a/b/c/d/e/f/g/h/i", "deeper"),
            (&long, "512"),
            (&wide, "200"),
        ] {
            let error = Path::parse(bad).unwrap_err().to_string();
            assert!(error.contains(problem), "{bad:?}: {error}");
        }
    }

    #[test]
    fn a_run_id_is_a_plain_name() {
        for good in ["run-1a2b3c4d", "7", "A.b_c-d"] {
            assert!(RunId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "..", ".", "a/b", "a b", "ä", "a\0", &"x".repeat(65)] {
            assert!(RunId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
