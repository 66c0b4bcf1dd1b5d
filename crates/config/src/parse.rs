//! How values are written: durations, sizes, switches, lists and pairs.

use std::{collections::BTreeMap, time::Duration};

/// Reads a duration: `250ms`, `10s`, `1.5s`, `5m`, `2h`; a bare `0` needs no unit.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 5] = [
        ("us", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (number, unit) = split(text)?;
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
    // Whole numbers of whole units stay exact; the check against infinity is `try_from`'s.
    Duration::try_from_secs_f64(number * seconds).ok()
}

/// Reads a size in bytes: `65536`, `64KiB`, `4MiB`, `1GiB`; `KB` and `MB` are powers of ten.
pub(crate) fn size(text: &str) -> Option<usize> {
    const UNITS: [(&str, u64); 8] = [
        ("", 1),
        ("B", 1),
        ("KB", 1000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("KIB", 1 << 10),
        ("MIB", 1 << 20),
        ("GIB", 1 << 30),
    ];
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let unit = text[digits..].trim().to_uppercase();
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let bytes = text[..digits].parse::<u64>().ok()?.checked_mul(*factor)?;
    usize::try_from(bytes).ok()
}

/// Reads what people write for yes and no.
pub(crate) fn bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Reads a list: `a, b`; empty entries are left out. A comma after a backslash belongs to its entry.
///
/// ```
/// assert_eq!(mesh_config::parse_list(r"a, b\,c,"), ["a", "b,c"]);
/// ```
#[must_use]
pub fn list(text: &str) -> Vec<String> {
    let mut entries = Vec::new();
    let mut entry = String::new();
    for part in text.split(',') {
        if let Some(part) = part.strip_suffix('\\') {
            entry.push_str(part);
            entry.push(',');
            continue;
        }
        entry.push_str(part);
        entries.push(std::mem::take(&mut entry));
    }
    entries.push(entry);
    let entries = entries.iter().map(|entry| entry.trim());
    let entries = entries.filter(|entry| !entry.is_empty());
    entries.map(str::to_owned).collect()
}

/// An entry as [`list`] reads it.
#[must_use]
pub fn list_entry(text: &str) -> String {
    text.replace(',', "\\,")
}

/// Reads pairs: `a=1, b=2`.
#[must_use]
pub fn pairs(text: &str) -> Option<BTreeMap<String, String>> {
    list(text)
        .iter()
        .map(|pair| {
            let (key, value) = pair.split_once('=')?;
            Some((key.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    Some((text[..end].parse().ok()?, text[end..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        let table = [
            ("250ms", Some(Duration::from_millis(250))),
            ("1.5s", Some(Duration::from_millis(1500))),
            ("20 s", Some(Duration::from_secs(20))),
            ("5m", Some(Duration::from_secs(300))),
            ("0", Some(Duration::ZERO)),
            ("20", None),
            ("fast", None),
            ("-1s", None),
            ("9e9s", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(duration(text), expected, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_bytes_unless_they_say_otherwise() {
        let table = [
            ("65536", Some(65536)),
            ("64KiB", Some(65536)),
            ("4 MiB", Some(4 << 20)),
            ("4mb", Some(4_000_000)),
            ("4 MiBs", None),
            ("99999999999GiB", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(size(text), expected, "{text:?}");
        }
    }

    #[test]
    fn pairs_need_an_equals_sign() {
        let map = pairs("a=1, b = x=y,").unwrap();
        assert_eq!((map["a"].as_str(), map["b"].as_str()), ("1", "x=y"));
        assert_eq!(pairs("a"), None);
        assert_eq!(pairs(""), Some(BTreeMap::new()));
    }
}
