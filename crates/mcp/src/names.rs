//! Names of tools: unique, short, and the same on every replica.

use std::collections::{HashMap, HashSet};

use sha2::{Digest as _, Sha256};

/// Characters of the hash that an abbreviated name ends in.
const HASH: usize = 6;
/// Digits of the hash.
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Gives tools their names.
///
/// ```
/// let names = mesh_mcp::names::ToolNames::new(12).assign([
///     ("shop/a.Cart/Add", "Cart_Add"),
///     ("shop/a.Catalog/Search", "Catalog_Search"),
/// ]);
/// assert_eq!(names["shop/a.Cart/Add"], "Cart_Add");
/// assert_eq!(names["shop/a.Catalog/Search"].len(), 12);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ToolNames {
    max: usize,
}

impl ToolNames {
    /// Names of at most `max` characters, but no fewer than 8.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            max: max.max(HASH + 2),
        }
    }

    /// The names of these tools, each given as its full name, which is unique, and the name that it
    /// wants. A wanted name that is too long, has other characters than `[a-zA-Z0-9_-]`, or is wanted
    /// by several tools is cut and ends in a hash of the full name. So a name depends on the set of the
    /// tools, and not on their order.
    #[must_use]
    pub fn assign<'a>(
        self,
        tools: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> HashMap<String, String> {
        let mut tools: Vec<(&str, &str)> = tools.into_iter().collect();
        tools.sort_unstable();
        tools.dedup_by_key(|(full, _)| *full);
        let mut wanted: HashMap<&str, usize> = HashMap::with_capacity(tools.len());
        for (_, name) in &tools {
            *wanted.entry(*name).or_default() += 1;
        }
        let fits = |name: &str| is_valid(name, self.max) && wanted.get(name) == Some(&1);
        let mut taken: HashSet<String> = HashSet::with_capacity(tools.len());
        let mut names = HashMap::with_capacity(tools.len());
        for (full, name) in tools.iter().filter(|(_, name)| fits(name)) {
            taken.insert((*name).to_owned());
            names.insert((*full).to_owned(), (*name).to_owned());
        }
        for (full, name) in tools.iter().filter(|(_, name)| !fits(name)) {
            // Two hashes that are the same, or a hash that somebody has as a name, are next to impossible.
            let short = (0..).map(|round| self.abbreviated(full, name, round));
            let mut free = short.filter(|name| !taken.contains(name));
            if let Some(name) = free.next() {
                taken.insert(name.clone());
                names.insert((*full).to_owned(), name);
            }
        }
        names
    }

    fn abbreviated(self, full: &str, name: &str, round: u32) -> String {
        let plain = |c: char| if is_plain(c) { c } else { '_' };
        let mut text: String = name.chars().take(self.max - HASH - 1).map(plain).collect();
        text.push('_');
        let mut hash = Sha256::new();
        hash.update(full.as_bytes());
        if round > 0 {
            hash.update(round.to_be_bytes());
        }
        let digits = hash.finalize();
        let digits = digits
            .iter()
            .take(HASH)
            .map(|byte| DIGITS[usize::from(byte % 32)]);
        text.extend(digits.map(char::from));
        text
    }
}

/// Whether it can be the name of a tool with at most `max` characters.
#[must_use]
pub fn is_valid(name: &str, max: usize) -> bool {
    (1..=max).contains(&name.len()) && name.chars().all(is_plain)
}

const fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_keeps_its_name_and_the_rest_ends_in_a_hash() {
        let long = "x".repeat(80);
        let tools = [
            ("a", "echo-agent"),
            ("b", "same"),
            ("c", "same"),
            ("d", long.as_str()),
            ("e", "my.shop__Cart_Add"),
            ("f", "weiß"),
            ("g", ""),
        ];
        let names = ToolNames::new(50).assign(tools);
        assert_eq!(names.len(), tools.len());
        assert_eq!(names["a"], "echo-agent");
        let unique: HashSet<_> = names.values().collect();
        assert_eq!(unique.len(), tools.len());
        for name in names.values() {
            assert!(is_valid(name, 50), "{name}");
        }
        assert!(names["b"].starts_with("same_") && names["b"].len() == 11);
        assert_eq!(names["d"].len(), 50);
        assert!(names["e"].starts_with("my_shop__Cart_Add_"));
        let reversed = ToolNames::new(50).assign(tools.into_iter().rev());
        assert_eq!(names, reversed);
    }

    #[test]
    fn a_name_that_is_taken_by_chance_is_left_to_who_has_it() {
        let first = ToolNames::new(50).assign([("a", "x y")]);
        let taken = first["a"].clone();
        let names = ToolNames::new(50).assign([("a", "x y"), ("b", taken.as_str())]);
        assert_eq!(names["b"], taken);
        assert_ne!(names["a"], taken);
    }
}
