//! Ids that are made here.

/// A UUID of version 7: it begins with the time, so that what is made together is stored together.
#[must_use]
pub fn new_id() -> String {
    let random: u128 = rand::random();
    uuid(u128::from(crate::clock::now()) << 80 | random >> 48)
}

/// A UUID that is made from a text: the same for the same, such as a child's run from its key.
#[must_use]
pub fn id_of(text: &str) -> String {
    let digest = crate::content_id(text.as_bytes());
    let digits = digest.strip_prefix("sha256:").unwrap_or(&digest);
    let bits = u128::from_str_radix(digits.get(..32).unwrap_or("0"), 16).unwrap_or(0);
    // Version 8: made in a way of one's own.
    versioned(bits, 8)
}

fn uuid(bits: u128) -> String {
    versioned(bits, 7)
}

fn versioned(bits: u128, version: u128) -> String {
    let bits = bits & !(0xf << 76) | version << 76;
    let bits = bits & !(0b11 << 62) | 0b10 << 62;
    let hex = format!("{bits:032x}");
    let (a, b, c, d, e) = (
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    );
    format!("{a}-{b}-{c}-{d}-{e}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_that_grow_or_are_made_from_a_text() {
        let ids: Vec<String> = (0..3)
            .map(|_| {
                std::thread::sleep(std::time::Duration::from_millis(2));
                new_id()
            })
            .collect();
        assert!(ids.is_sorted(), "{ids:?}");
        assert_eq!((ids[0].len(), &ids[0][14..15]), (36, "7"));
        assert!("89ab".contains(&ids[0][19..20]));
        assert_eq!(id_of("a"), id_of("a"));
        assert_ne!(id_of("a"), id_of("b"));
        assert_eq!(&id_of("a")[14..15], "8");
    }
}
