//! What is allowed with tags.

use crate::{Error, NewVersion, TagTarget, tag_history::TagHistory};

/// The owner of what everybody sees.
pub(crate) const GLOBAL: &str = "_global_";
/// The kind of a version that is made on top of another.
const PATCH: &str = "patch_set";

/// The version that a tag names.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Parent {
    /// Its number, if there is the tag.
    pub(crate) seq: Option<u64>,
    /// How many patches are between it and its base.
    pub(crate) depth: u32,
}

/// The version that a new one is built on, and how many patches are then between it and its base.
pub(crate) fn parent(
    owner: &str,
    tag: &str,
    new: &NewVersion,
    parent: Parent,
) -> Result<(Option<u64>, u32), Error> {
    if let Some(after) = new.after
        && parent.seq.unwrap_or(0) != after
    {
        return Err(Error::Conflict(format!(
            "{tag:?} names the version {} and not {after}: read it again",
            parent.seq.unwrap_or(0)
        )));
    }
    match (new.kind == PATCH, parent.seq) {
        (false, _) => Ok((None, 0)),
        (true, Some(seq)) => Ok((Some(seq), parent.depth + 1)),
        (true, None) => Err(unknown_tag(owner, tag)),
    }
}

/// Where an undo or a redo leads.
pub(crate) fn target(
    history: &TagHistory,
    to: TagTarget,
    tag: &str,
) -> Result<(u64, &'static str), Error> {
    let (seq, why) = match to {
        TagTarget::Version(seq) => (Some(seq), "set"),
        TagTarget::Undo => (history.before(), "undo"),
        TagTarget::Redo => (history.after(), "redo"),
    };
    let seq = seq.ok_or_else(|| Error::Conflict(format!("{tag:?} has nothing to {why}")))?;
    Ok((seq, why))
}

/// What an unknown tag is answered with.
pub(crate) fn unknown_tag(owner: &str, tag: &str) -> Error {
    Error::NotFound(format!("{owner} has no workflow {tag:?}"))
}

/// What an unknown version is answered with.
pub(crate) fn unknown_version(tag: &str, seq: u64) -> Error {
    Error::NotFound(format!("{tag:?} has no version {seq}"))
}

/// What an unknown artifact is answered with.
pub(crate) fn unknown_artifact(id: &str) -> Error {
    Error::NotFound(format!("there is no artifact {id}"))
}

/// The tag and the owner that a page begins after.
pub(crate) fn position(cursor: &str) -> (String, String) {
    match cursor.split_once('\n') {
        Some((tag, owner)) => (tag.to_owned(), owner.to_owned()),
        // After all of that name.
        None => (format!("{cursor}\u{1}"), String::new()),
    }
}
