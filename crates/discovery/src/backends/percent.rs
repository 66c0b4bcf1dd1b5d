//! Percent-encoding for what a registry is asked.

/// Any text as one segment of a path, or as a value of a query.
pub(crate) fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            write!(encoded, "%{byte:02X}").ok();
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_a_query_is_encoded() {
        assert_eq!(percent_encoded("a=b&c/ü"), "a%3Db%26c%2F%C3%BC");
    }
}
