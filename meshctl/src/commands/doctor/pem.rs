//! When certificates end.

use std::time::{Duration, SystemTime};

use base64::{
    alphabet::STANDARD,
    engine::{DecodePaddingMode, Engine as _, GeneralPurpose, GeneralPurposeConfig},
};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// The tags of ASN.1 (X.690) that matter here.
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The ends of all certificates of a PEM file.
pub(super) fn ends(pem: &str) -> Vec<SystemTime> {
    let bodies = pem.split(BEGIN).skip(1);
    let bodies = bodies.filter_map(|rest| rest.split_once(END));
    bodies.filter_map(|(body, _)| end(&decode(body)?)).collect()
}

/// The end of a certificate in DER: `notAfter` of RFC 5280, section 4.1.
pub(super) fn end(der: &[u8]) -> Option<SystemTime> {
    let (_, certificate, _) = element(der)?;
    let (_, mut rest, _) = element(certificate)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (tag, validity, _) = element(rest)?;
    if tag != SEQUENCE {
        return None;
    }
    let (_, _, not_after) = element(validity)?;
    let (tag, text, _) = element(not_after)?;
    time(tag, std::str::from_utf8(text).ok()?)
}

/// The tag and content of the first element, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.len() > 4 {
            return None;
        }
        length = digits
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        rest = after;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &str) -> Option<SystemTime> {
    let text = text.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match tag {
        GENERALIZED_TIME => (text.get(..4)?.parse::<i64>().ok()?, text.get(4..)?),
        UTC_TIME => {
            let year: i64 = text.get(..2)?.parse().ok()?;
            (
                if year < 50 { 2000 + year } else { 1900 + year },
                text.get(2..)?,
            )
        }
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let days = calendar::days_from_civil(year, part(0)?, part(2)?);
    let seconds = days * 86_400 + part(4)? * 3600 + part(6)? * 60 + part(8)?;
    let seconds = u64::try_from(seconds).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// The bytes of a body in base64, wrapped into lines; its padding may be missing.
fn decode(body: &str) -> Option<Vec<u8>> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let text: String = body.split_ascii_whitespace().collect();
    GeneralPurpose::new(&STANDARD, config).decode(text).ok()
}

#[cfg(test)]
mod tests {
    use testkit::Certificate;

    use super::*;

    #[test]
    fn a_certificate_ends_when_it_says() {
        let pem = String::from_utf8(Certificate::for_host("localhost").pem()).unwrap();
        let ends = ends(&format!("{pem}\n{pem}"));
        assert_eq!(ends.len(), 2);
        let left = ends[0].duration_since(SystemTime::now()).unwrap();
        assert!((86_300..=86_400).contains(&left.as_secs()), "{left:?}");
    }

    #[test]
    fn times_of_both_forms_are_read() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(time(UTC_TIME, "700101000000Z"), at(0));
        assert_eq!(time(UTC_TIME, "240229120000Z"), at(1_709_208_000));
        assert_eq!(time(GENERALIZED_TIME, "20500101000000Z"), at(2_524_608_000));
        for text in ["", "Z", "2402291200Z", "20240229120000", "24022912000éZ"] {
            assert_eq!(time(UTC_TIME, text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for der in [
            &[][..],
            &[0x30],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0x80],
        ] {
            assert_eq!(end(der), None, "{der:?}");
        }
        assert!(ends("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----").is_empty());
    }
}
