//! Links by which a person decides on an approval without a name in a header: signed, for one approval
//! and one person, until a time.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What a link allows: this person decides on this approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalLink {
    /// The approval's key.
    pub approval: String,
    /// Who decides.
    pub person: String,
    /// Until when, Unix milliseconds.
    pub until: u64,
}

/// Why a token is worth nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It is not what this secret signed for this approval.
    #[error("the link is not valid")]
    Invalid,
    /// Its time is over.
    #[error("the link has expired")]
    Expired,
}

/// The token of a link: hexadecimal, to be sent as the query's `token`. HMAC-SHA256, RFC 2104.
#[must_use]
pub fn sign(secret: &str, link: &ApprovalLink) -> String {
    let person = hex(link.person.as_bytes());
    let tag = mac(secret, link).finalize().into_bytes();
    format!("{:x}.{person}.{}", link.until, hex(&tag))
}

/// What a token allows for this approval.
///
/// # Errors
/// [`LinkError`].
pub fn verify(
    secret: &str,
    approval: &str,
    token: &str,
    now: u64,
) -> Result<ApprovalLink, LinkError> {
    let mut parts = token.split('.');
    let (Some(until), Some(person), Some(tag), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(LinkError::Invalid);
    };
    let until = u64::from_str_radix(until, 16).map_err(|_| LinkError::Invalid)?;
    let person = unhex(person).and_then(|bytes| String::from_utf8(bytes).ok());
    let link = ApprovalLink {
        approval: approval.to_owned(),
        person: person.ok_or(LinkError::Invalid)?,
        until,
    };
    let tag = unhex(tag).ok_or(LinkError::Invalid)?;
    // In constant time.
    let signed = mac(secret, &link).verify_slice(&tag);
    signed.map_err(|_| LinkError::Invalid)?;
    match now < link.until {
        true => Ok(link),
        false => Err(LinkError::Expired),
    }
}

/// Lengths go first, so that no two links have one text.
fn mac(secret: &str, link: &ApprovalLink) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .expect("HMAC takes secrets of any length");
    for part in ["mesh approval 1", &link.approval, &link.person] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part.as_bytes());
    }
    mac.update(&link.until.to_be_bytes());
    mac
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let digits = text.as_bytes().chunks_exact(2);
    let bytes = digits.map(|two| {
        let two = std::str::from_utf8(two).ok()?;
        u8::from_str_radix(two, 16).ok()
    });
    bytes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> ApprovalLink {
        ApprovalLink {
            approval: "run.node.0".to_owned(),
            person: "Łukasz".to_owned(),
            until: 1_000,
        }
    }

    #[test]
    fn a_token_allows_what_it_was_signed_for_until_its_time() {
        let token = sign("s", &link());
        assert_eq!(verify("s", "run.node.0", &token, 999), Ok(link()));
        assert_eq!(
            verify("s", "run.node.0", &token, 1_000),
            Err(LinkError::Expired)
        );
        for (secret, approval) in [("t", "run.node.0"), ("s", "run.node.1"), ("", "run.node.0")] {
            assert_eq!(
                verify(secret, approval, &token, 999),
                Err(LinkError::Invalid)
            );
        }
    }

    #[test]
    fn a_changed_token_allows_nothing() {
        let token = sign("s", &link());
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(
                verify("s", "run.node.0", &changed, 0),
                Err(LinkError::Invalid),
                "{changed}"
            );
        }
        for token in ["", ".", "..", "...", "x.y.z", "3e8..", "3e8.é.00"] {
            assert_eq!(
                verify("s", "run.node.0", token, 0),
                Err(LinkError::Invalid),
                "{token}"
            );
        }
        let shorter = &token[..token.len() - 2];
        assert_eq!(
            verify("s", "run.node.0", shorter, 0),
            Err(LinkError::Invalid)
        );
    }
}
