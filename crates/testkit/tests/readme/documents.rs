//! The documents of this repository, and the commands in them.

use std::{fs, path::Path};

use mesh_testkit::tools;

/// A file of text.
pub(crate) struct Document {
    /// From the root.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Document {
    pub(crate) fn read(path: &str) -> Self {
        let text = fs::read_to_string(tools::root().join(path));
        let text = text.unwrap_or_else(|error| panic!("{path}: {error}"));
        let path = path.to_owned();
        Self { path, text }
    }

    /// All that are written for people.
    pub(crate) fn all() -> Vec<Self> {
        Self::of(&["", "docs/guide", "docs/adr"])
    }

    /// Those, and the runbooks. Their commands have placeholders and need what they look for.
    pub(crate) fn with_runbooks() -> Vec<Self> {
        Self::of(&["", "docs/guide", "docs/adr", "docs/runbooks"])
    }

    /// All there are.
    pub(crate) fn every() -> Vec<Self> {
        Self::of(&["", "docs", "docs/guide", "docs/adr", "docs/runbooks"])
    }

    fn of(folders: &[&str]) -> Vec<Self> {
        let mut documents = Vec::new();
        for folder in folders {
            let entries = fs::read_dir(tools::root().join(folder)).expect("the folder is there");
            for entry in entries {
                let name = entry.expect("it can be listed").file_name();
                let path = Path::new(folder).join(name);
                if path.extension().is_some_and(|extension| extension == "md") {
                    documents.push(Self::read(path.to_str().expect("plain names")));
                }
            }
        }
        documents
    }

    /// What it sets in the font of code: blocks, and words between backticks.
    pub(crate) fn code(&self) -> impl Iterator<Item = &str> {
        self.text.split('`').skip(1).step_by(2)
    }

    /// The commands in its fenced blocks. One whose quotes are open goes on in the next line.
    pub(crate) fn commands(&self) -> Vec<String> {
        let blocks = self.text.split("```").skip(1).step_by(2);
        let mut commands = Vec::new();
        let mut begun = String::new();
        for line in blocks.flat_map(str::lines) {
            begun.push_str(line);
            if begun.matches('\'').count() % 2 == 1 {
                begun.push('\n');
            } else {
                commands.push(std::mem::take(&mut begun));
            }
        }
        commands
    }
}

/// The words that follow this mark, wherever it stands.
pub(crate) fn after<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = &'a str> {
    let rests = text.split(mark).skip(1);
    rests.filter_map(|rest| rest.split([' ', '\n', ')', '#', ',']).next())
}
