//! Keys of the registry's KV store: a folder for each mount, and in it one key for each tool.

/// Where pins stand.
pub(super) const PINNED: &str = "mcp-pins/";
/// Where changed definitions stand.
pub(super) const CHANGED: &str = "mcp-changed/";

/// The key of a mount's tool. That of no name is the folder of the mount.
pub(super) fn key(root: &str, service: &str, tool: &str) -> String {
    format!("{root}{service}/{}", escaped(tool))
}

/// A name of a tool as a part of a key: letters, digits and dashes stay, other bytes become `_XX`.
fn escaped(name: &str) -> String {
    name.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            byte if byte.is_ascii_alphanumeric() || byte == b'-' => out.push(char::from(byte)),
            byte => out.push_str(&format!("_{byte:02X}")),
        }
        out
    })
}

/// The name that a part of a key is of.
pub(super) fn unescaped(part: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = part.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .get(..2)
            .and_then(|code| std::str::from_utf8(code).ok())
            .and_then(|code| u8::from_str_radix(code, 16).ok())
            .filter(|_| *first == b'_');
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_back_from_a_key() {
        for name in ["add", "get_sum", "a.b/c", "é", "", "_5F"] {
            let key = escaped(name);
            assert!(
                key.bytes()
                    .all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it))
            );
            assert_eq!(unescaped(&key), name);
        }
    }
}
