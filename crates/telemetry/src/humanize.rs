//! What parsers say of input that will not do, in words for people who do not write Rust.

use std::borrow::Cow;

/// The words of serde and of the standard library's number parsers, said plainly: `invalid type:
/// integer `5`, expected a string` becomes `has to be a string, not the number 5`. Other text stays
/// as it is, line by line.
#[must_use]
pub fn humanize(said: &str) -> Cow<'_, str> {
    let lines: Vec<Cow<'_, str>> = said.split('\n').map(line).collect();
    match lines.iter().any(|line| matches!(line, Cow::Owned(_))) {
        true => Cow::Owned(lines.join("\n")),
        false => Cow::Borrowed(said),
    }
}

fn line(said: &str) -> Cow<'_, str> {
    // Whoever wraps an error puts words before it.
    for start in ["invalid type: ", "invalid value: ", "invalid length "] {
        if let Some((before, rest)) = said.split_once(start)
            && let Some((given, wanted)) = rest.rsplit_once(", expected ")
        {
            let (wanted, place) = apart(wanted);
            let (wanted, given) = (wanted_as(wanted), given_as(start, given));
            return Cow::Owned(format!("{before}has to be {wanted}, not {given}{place}"));
        }
    }
    for (start, kind) in [
        ("unknown variant `", "is none of the choices"),
        ("unknown field `", "is not known"),
    ] {
        if let Some((before, rest)) = said.split_once(start)
            && let Some((name, rest)) = rest.split_once('`')
        {
            let choices = rest.strip_prefix(", expected ").map(choices);
            let choices = choices.map_or_else(String::new, |them| format!(", use {them}"));
            return Cow::Owned(format!("{before}{name:?} {kind}{choices}"));
        }
    }
    for (start, kind) in [
        ("missing field `", "is missing"),
        ("duplicate field `", "is given twice"),
    ] {
        if let Some((before, rest)) = said.split_once(start)
            && let Some((name, rest)) = rest.split_once('`')
        {
            return Cow::Owned(format!("{before}{name:?} {kind}{rest}"));
        }
    }
    for (theirs, ours) in FIXED {
        if let Some((before, after)) = said.split_once(theirs) {
            return Cow::Owned(format!("{before}{ours}{after}"));
        }
    }
    Cow::Borrowed(said)
}

/// Texts of parsers that have no parts.
const FIXED: &[(&str, &str)] = &[
    ("invalid digit found in string", "has to be a whole number"),
    (
        "cannot parse integer from empty string",
        "has to be a whole number",
    ),
    ("number too large to fit in target type", "is too large"),
    ("number too small to fit in target type", "is too small"),
    ("invalid float literal", "has to be a number"),
    ("cannot parse float from empty string", "has to be a number"),
    (
        "provided string was not `true` or `false`",
        "has to be true or false",
    ),
    ("expected integer value", "has to be a whole number"),
    ("float value out of range", "is too large or too small"),
    ("number out of range", "a number is too large or too small"),
    ("EOF while parsing a", "ends within a"),
    ("EOF while parsing an", "ends within an"),
    ("recursion limit exceeded", "is nested too deeply"),
];

/// The place in the text, which some parsers put at the end.
fn apart(text: &str) -> (&str, &str) {
    text.find(" at line ")
        .map_or((text, ""), |at| text.split_at(at))
}

/// What a parser expected.
fn wanted_as(wanted: &str) -> Cow<'_, str> {
    Cow::Borrowed(match wanted {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" | "a 32-bit unsigned integer or decimal string" => {
            "a whole number from 0 to 4294967295"
        }
        "u64" | "u128" | "usize" | "a 64-bit unsigned integer or decimal string" => {
            "a whole number that is not negative"
        }
        "i8" => "a whole number from -128 to 127",
        "i16" => "a whole number from -32768 to 32767",
        "i32" | "a 32-bit signed integer" => "a whole number from -2147483648 to 2147483647",
        "i64" | "i128" | "isize" | "a 64-bit signed integer or decimal string" => "a whole number",
        "f32" | "f64" | "a 64-bit floating point value" | "a 32-bit floating point value" => {
            "a number"
        }
        "a boolean" | "bool" => "true or false",
        "a borrowed string" | "str" | "string" => "a string",
        "a sequence" | "a list" => "an array",
        "a map" | "an empty map" | "map" => "an object",
        "unit" => "null",
        "string or map" => "a string or an object",
        "a string or integer" => "a string or a whole number",
        "option" => "a value or null",
        "a base64-encoded string" => "a string in base64",
        "a rfc3339 timestamp string" => "a time such as \"2026-01-02T03:04:05Z\"",
        "a duration string" => "a duration such as \"1.5s\"",
        // With the names of types in the program, which say nothing to others.
        other if other.starts_with("struct ") || other.starts_with("internally tagged ") => {
            "an object"
        }
        other if other.starts_with("tuple ") || other.starts_with("an array of ") => "an array",
        other if other.contains("variant") || other.starts_with("enum ") => "one of the choices",
        other => other,
    })
}

/// What a parser was given.
fn given_as(start: &str, given: &str) -> String {
    if start == "invalid length " {
        return format!("one of {given}");
    }
    let quoted = |word: &str| Some(given.strip_prefix(word)?.trim_matches('`'));
    if let Some(number) = quoted("integer ").or_else(|| quoted("floating point ")) {
        return format!("the number {number}");
    }
    if let Some(value) = quoted("boolean ") {
        return value.to_owned();
    }
    if let Some(text) = given.strip_prefix("string ") {
        return format!("the string {text}");
    }
    if let Some(text) = quoted("character ") {
        return format!("the character {text:?}");
    }
    let named = match given {
        "map" | "struct" => "an object",
        "sequence" | "tuple" => "an array",
        "null" | "unit value" | "Option value" => "null",
        "byte array" => "bytes",
        "enum" => "one of the choices",
        other if other.contains("variant") => "a word",
        other if other.contains("struct") => "an object",
        other => other,
    };
    named.to_owned()
}

/// The names that a parser lists: one, `a` or `b`, one of `a`, `b`.
fn choices(listed: &str) -> String {
    let (listed, place) = apart(listed);
    format!("{}{place}", listed.replace('`', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_parsers_say_becomes_plain_words() {
        for (theirs, ours) in [
            (
                "invalid type: integer `5`, expected a string",
                "has to be a string, not the number 5",
            ),
            (
                "invalid type: string \"a, expected b\", expected u64 at line 1 column 7",
                "has to be a whole number that is not negative, not the string \"a, expected b\" at line 1 column 7",
            ),
            (
                "invalid value: integer `300`, expected u8",
                "has to be a whole number from 0 to 255, not the number 300",
            ),
            (
                "invalid type: floating point `1.5`, expected i32",
                "has to be a whole number from -2147483648 to 2147483647, not the number 1.5",
            ),
            (
                "invalid type: null, expected struct TaskRequest",
                "has to be an object, not null",
            ),
            (
                "invalid type: boolean `true`, expected a sequence",
                "has to be an array, not true",
            ),
            (
                "invalid type: unit variant, expected newtype variant",
                "has to be one of the choices, not a word",
            ),
            (
                "invalid length 1, expected an array of length 2",
                "has to be an array, not one of 1",
            ),
            (
                "unknown variant `fly`, expected `once` or `all`",
                "\"fly\" is none of the choices, use once or all",
            ),
            (
                "unknown field `evry`, expected one of `cron`, `every`",
                "\"evry\" is not known, use one of cron, every",
            ),
            (
                "the line: missing field `kind` at line 3",
                "the line: \"kind\" is missing at line 3",
            ),
            (
                "TOML parse error at line 2\n  |\n2 | priority = \"x\"\n  |    ^\ninvalid type: string \"x\", expected u8\n",
                "TOML parse error at line 2\n  |\n2 | priority = \"x\"\n  |    ^\nhas to be a whole number from 0 to 255, not the string \"x\"\n",
            ),
            ("invalid digit found in string", "has to be a whole number"),
            (
                "EOF while parsing an object at line 1 column 1",
                "ends within an object at line 1 column 1",
            ),
            ("give 1 to 5", "give 1 to 5"),
        ] {
            assert_eq!(humanize(theirs), ours);
        }
        assert!(matches!(humanize("a\nb"), Cow::Borrowed(_)));
    }
}
