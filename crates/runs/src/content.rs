//! Names of content: `sha256:` and 64 hexadecimal digits.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::Error;

/// What each name begins with.
const PREFIX: &str = "sha256:";
/// How long a name is.
const LENGTH: usize = PREFIX.len() + 64;

/// The name of content.
#[must_use]
pub fn content_id(content: &[u8]) -> String {
    let mut name = String::with_capacity(LENGTH);
    name.push_str(PREFIX);
    for byte in Sha256::digest(content) {
        // Writing to a string does not fail.
        write!(name, "{byte:02x}").ok();
    }
    name
}

/// Content that was read under a name, if it is what the name says.
pub(crate) fn checked(id: &str, content: Vec<u8>) -> Result<Vec<u8>, Error> {
    if content_id(&content) == id {
        return Ok(content);
    }
    Err(Error::Damaged(format!(
        "the content of {id} is not what it was, restore it from a backup"
    )))
}

/// The names that a record mentions. A record of another form that has such a text keeps content longer than
/// needed, and does no other harm.
pub(crate) fn named(record: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = record;
    while let Some(at) = find(rest) {
        let end = at + LENGTH;
        let name = rest.get(at..end).and_then(|name| {
            let digits = &name[PREFIX.len()..];
            let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            digits.iter().all(hex).then_some(name)
        });
        match name {
            Some(name) => {
                found.push(String::from_utf8_lossy(name).into_owned());
                rest = &rest[end..];
            }
            None => rest = &rest[at + PREFIX.len()..],
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn find(text: &[u8]) -> Option<usize> {
    let mut from = 0;
    // The colon is rare enough in a record's text, and found fast.
    while let Some(colon) = text.get(from..)?.iter().position(|byte| *byte == b':') {
        let end = from + colon + 1;
        if text[..end].ends_with(PREFIX.as_bytes()) {
            return Some(end - PREFIX.len());
        }
        from = end;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_sha256_and_are_found_in_records() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(content_id(b""), empty);
        let other = content_id(b"other");
        let record = format!(r#"{{"a":"{other}","b":["{empty}","sha256:e3","{other}"],"c:":1}}"#);
        let mut expected = vec![empty.to_owned(), other];
        expected.sort_unstable();
        assert_eq!(named(record.as_bytes()), expected);
        assert!(named(b"sha256:").is_empty());
        assert!(named(b"").is_empty());
    }

    #[test]
    fn content_that_changed_is_not_given() {
        let id = content_id(b"as it was");
        assert_eq!(checked(&id, b"as it was".to_vec()).unwrap(), b"as it was");
        assert!(matches!(
            checked(&id, b"as it is".to_vec()),
            Err(Error::Damaged(_))
        ));
    }
}
