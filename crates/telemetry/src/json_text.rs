//! JSON written straight into a buffer, for what is written often.

/// Adds a string. What is no UTF-8 becomes U+FFFD. Control characters are escaped, also those that
/// JSON allows: a terminal would obey them, and other readers take some for the end of a line.
pub fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        escaped(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

/// Adds a number.
pub fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut from = digits.len();
    loop {
        from -= 1;
        digits[from] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[from..]);
}

fn escaped(out: &mut Vec<u8>, text: &str) {
    let mut written = 0;
    for (at, byte) in text.bytes().enumerate() {
        // Most are none of these.
        if !SPECIAL[usize::from(byte)] {
            continue;
        }
        // The first byte of a character, since no other is special.
        let Some(character) = text[at..].chars().next() else {
            break;
        };
        let escape = match character {
            '"' => &b"\\\""[..],
            '\\' => b"\\\\",
            '\n' => b"\\n",
            '\r' => b"\\r",
            '\t' => b"\\t",
            '\u{2028}' | '\u{2029}' => b"",
            character if character.is_control() => b"",
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[written..at]);
        if escape.is_empty() {
            unicode(out, character);
        } else {
            out.extend_from_slice(escape);
        }
        written = at + character.len_utf8();
    }
    out.extend_from_slice(&text.as_bytes()[written..]);
}

/// `\u` and four digits.
fn unicode(out: &mut Vec<u8>, character: char) {
    let value = u32::from(character);
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.push(b"0123456789abcdef"[(value >> shift & 0xf) as usize]);
    }
}

/// Bytes that may begin a character to be escaped.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        special[byte] = match byte as u8 {
            // 0xc2 begins U+0080 to U+00BF, 0xe2 U+2000 to U+2FFF.
            0..0x20 | b'"' | b'\\' | 0x7f | 0xc2 | 0xe2 => true,
            _ => false,
        };
        byte += 1;
    }
    special
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &[u8]) -> String {
        let mut out = Vec::new();
        string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        for (text, expected) in [
            (&b"plain"[..], "\"plain\""),
            (b"a\"b\\c", "\"a\\\"b\\\\c\""),
            (b"\x1b]0;x\x07\r\n", "\"\\u001b]0;x\\u0007\\r\\n\""),
            ("é\u{9b}\u{2028}…".as_bytes(), "\"é\\u009b\\u2028…\""),
            (b"a\xffb", "\"a\u{fffd}b\""),
        ] {
            assert_eq!(written(text), expected);
        }
    }

    proptest! {
        #[test]
        fn every_text_is_read_back(text: String) {
            let written = written(text.as_bytes());
            prop_assert!(!written.contains(char::is_control));
            prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
        }

        #[test]
        fn any_bytes_are_json(bytes: Vec<u8>) {
            let written = written(&bytes);
            prop_assert!(!written.contains(char::is_control));
            let read = serde_json::from_str::<String>(&written).unwrap();
            prop_assert_eq!(read, String::from_utf8_lossy(&bytes).into_owned());
        }

        #[test]
        fn a_number_is_its_digits(value: u64) {
            let mut out = Vec::new();
            number(&mut out, value);
            prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }
}
