//! Comments of proto files, where descriptors have them.

use std::collections::HashMap;

use prost_reflect::{FileDescriptor, MethodDescriptor};

use crate::text::{MAX_DESCRIPTION, clean};

/// The comments of files that have been asked for.
#[derive(Debug, Default)]
pub(super) struct Comments {
    files: HashMap<String, HashMap<Vec<i32>, String>>,
}

impl Comments {
    /// What the file says of the thing with this path; empty where it says nothing.
    pub(super) fn of(&mut self, file: &FileDescriptor, path: &[i32]) -> &str {
        let known = self
            .files
            .entry(file.name().to_owned())
            .or_insert_with(|| read(file));
        known.get(path).map_or("", String::as_str)
    }
}

/// What the proto file says of a method; empty where the descriptors have no comments.
#[must_use]
pub fn method_comment(method: &MethodDescriptor) -> String {
    let file = method.parent_file();
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let mut locations = info.iter().flat_map(|info| &info.location);
    let found = locations.find(|location| location.path == method.path());
    found.map(comment).unwrap_or_default()
}

fn read(file: &FileDescriptor) -> HashMap<Vec<i32>, String> {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let locations = info.iter().flat_map(|info| &info.location);
    let pairs = locations.map(|location| (location.path.clone(), comment(location)));
    pairs.filter(|(_, text)| !text.is_empty()).collect()
}

fn comment(location: &prost_reflect::prost_types::source_code_info::Location) -> String {
    let texts = [location.leading_comments(), location.trailing_comments()];
    let found = texts.into_iter().find(|text| !text.trim().is_empty());
    // The lines of a paragraph are one line.
    let paragraphs = clean(found.unwrap_or_default(), MAX_DESCRIPTION);
    let paragraphs = paragraphs.split("\n\n").map(|text| text.replace('\n', " "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}
