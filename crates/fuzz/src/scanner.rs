//! The id in a request's first message, read from bytes as they come.

use router::scanner::{Fields, Progress, ScanError, Scanner};

/// Messages above it are refused.
const MAX: u64 = 1 << 16;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let message = b"\x0a\x02t1\x12\x0aecho-agent\x1a\x05hello\x32\x02s1";
    let plain = [&[0, 0, 0, 0, message.len() as u8], &message[..]].concat();
    let twice = [&plain[..], &plain[..]].concat();
    let two_ids = b"\x00\x00\x00\x00\x06\x12\x01a\x12\x01b".to_vec();
    let compressed = [&[1], &plain[1..]].concat();
    vec![
        plain,
        twice,
        two_ids,
        compressed,
        b"\x00\xff\xff\xff\xff".to_vec(),
    ]
}

/// The first byte says how the rest is split.
pub(crate) fn run(data: &[u8]) {
    let Some((piece, bytes)) = data.split_first() else {
        return;
    };
    for fields in [&Fields::TASK_REQUEST, &Fields::TOOL_REQUEST] {
        let whole = scan(fields, bytes, bytes.len().max(1));
        let split = scan(fields, bytes, usize::from(*piece).max(1));
        assert_eq!(whole, split, "{bytes:x?} in pieces of {piece}");
    }
}

/// What is known at the end: the id and the session, or why there is none.
fn scan(
    fields: &'static Fields,
    bytes: &[u8],
    piece: usize,
) -> Result<(Progress, Option<String>, Option<String>), String> {
    let mut scanner = Scanner::new(fields)
        .max_message_bytes(MAX)
        .encoding(Some("gzip"));
    let told = |error: ScanError| error.to_string();
    for piece in bytes.chunks(piece) {
        scanner.feed(piece).map_err(told)?;
    }
    let progress = scanner.finish().map_err(told)?;
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Ok((progress, owned(scanner.id()), owned(scanner.session())))
}
