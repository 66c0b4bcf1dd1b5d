use flate2::{Compression, write::GzEncoder, write::ZlibEncoder};
use proptest::prelude::*;
use prost::Message as _;
use proto::agentplatform::{TaskRequest, ToolRequest};
use std::io::Write as _;
use tonic::Code;

use super::*;

static TASK: Fields = Fields::TASK_REQUEST;
static TOOL: Fields = Fields::TOOL_REQUEST;

fn task(id: &str) -> TaskRequest {
    TaskRequest {
        task_id: "t-1".into(),
        agent_id: id.into(),
        input: "hello".into(),
        parameters: [("units".to_owned(), "metric".to_owned())].into(),
        tool_ids: vec!["weather-tool".into()],
        session_id: "s-1".into(),
    }
}

fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut frame = vec![flag];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    frame
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn string(field: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![field << 3 | 2];
    prost::encoding::encode_varint(value.len() as u64, &mut bytes);
    bytes.extend(value);
    bytes
}

/// Everything that can be seen of a scan, for comparing two of them.
#[derive(Debug, PartialEq)]
struct Seen {
    result: Result<Progress, ScanError>,
    id: Option<String>,
    session: Option<String>,
    task: Option<String>,
}

fn scan<'a>(mut scanner: Scanner, parts: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let mut result = Ok(Progress::Reading);
    for part in parts {
        result = scanner.feed(part);
        if result.is_err() {
            break;
        }
    }
    if result.is_ok() {
        result = scanner.finish();
    }
    Seen {
        result,
        id: scanner.id().map(str::to_owned),
        session: scanner.session().map(str::to_owned),
        task: scanner.task().map(str::to_owned),
    }
}

fn reason(bytes: &[u8]) -> String {
    let error = scan(Scanner::new(&TASK), [frame(0, bytes).as_slice()])
        .result
        .unwrap_err();
    assert_eq!(error.status().code(), Code::InvalidArgument);
    error.to_string()
}

#[test]
fn id_is_known_as_soon_as_its_field_is_complete() {
    let bytes = frame(0, &task("echo-agent").encode_to_vec());
    let mut scanner = Scanner::new(&TASK);
    let end = bytes.windows(10).position(|w| w == b"echo-agent").unwrap() + 10;
    for byte in &bytes[..end - 1] {
        assert_eq!(scanner.feed(&[*byte]), Ok(Progress::Reading));
    }
    assert_eq!(scanner.feed(&bytes[end - 1..end]), Ok(Progress::Identified));
    assert_eq!(scanner.id(), Some("echo-agent"));
    assert_eq!(scanner.task(), Some("t-1"));
    assert_eq!(scanner.session(), None);
    assert_eq!(scanner.feed(&bytes[end..]), Ok(Progress::Complete));
    assert_eq!(scanner.session(), Some("s-1"));
}

#[test]
fn id_at_the_end_of_a_large_message_is_found() {
    let mut message = string(3, &vec![b'x'; 1 << 20]);
    message.extend(string(2, b"echo-agent"));
    let seen = scan(Scanner::new(&TASK), frame(0, &message).chunks(16_384));
    assert_eq!(seen.result, Ok(Progress::Complete));
    assert_eq!(seen.id.as_deref(), Some("echo-agent"));
}

#[test]
fn tool_requests_have_their_own_field_numbers() {
    let request = ToolRequest {
        tool_id: "weather-tool".into(),
        operation: "get_weather".into(),
        session_id: "s-2".into(),
        ..ToolRequest::default()
    };
    let seen = scan(
        Scanner::new(&TOOL),
        [frame(0, &request.encode_to_vec()).as_slice()],
    );
    assert_eq!(seen.id.as_deref(), Some("weather-tool"));
    assert_eq!(seen.session.as_deref(), Some("s-2"));
    assert_eq!(seen.task, None);
}

#[test]
fn second_and_different_id_is_refused_before_the_message_is_complete() {
    let mut message = string(2, b"echo-agent");
    message.extend(string(2, b"other-agent"));
    let shown = message.len();
    message.extend(string(3, b"and more"));
    let mut scanner = Scanner::new(&TASK);
    let error = scanner.feed(&frame(0, &message)[..5 + shown]).unwrap_err();
    assert_eq!(
        error,
        ScanError::Conflict {
            field: "agent_id",
            first: "echo-agent".into(),
            second: "other-agent".into()
        }
    );
    assert_eq!(error.status().code(), Code::InvalidArgument);
    assert_eq!(scanner.feed(b"x"), Err(error), "an error stays");
}

#[test]
fn same_id_again_is_harmless_and_an_empty_one_afterwards_is_not() {
    let twice = [string(2, b"a"), string(2, b"a")].concat();
    assert_eq!(
        scan(Scanner::new(&TASK), [&*frame(0, &twice)]).result,
        Ok(Progress::Complete)
    );
    let emptied = [string(2, b"a"), string(2, b"")].concat();
    assert!(reason(&emptied).contains("twice"));
    let filled = [string(2, b""), string(2, b"a")].concat();
    assert_eq!(
        scan(Scanner::new(&TASK), [&*frame(0, &filled)])
            .id
            .as_deref(),
        Some("a")
    );
}

#[test]
fn message_without_an_id_is_missing_one() {
    for message in [vec![], string(3, b"hello"), string(2, b"")] {
        let seen = scan(Scanner::new(&TASK), [frame(0, &message).as_slice()]);
        assert_eq!(seen.result, Ok(Progress::Missing));
    }
}

#[test]
fn invalid_bytes_are_told_by_name() {
    assert!(reason(&[0x17]).contains("wire type 7"));
    assert!(reason(&[0x1f]).contains("unknown wire type 7"));
    assert!(reason(&[0x00]).contains("field number 0"));
    assert!(reason(&[0x10, 1]).contains("agent_id has wire type 0"));
    assert!(reason(&[0xff; 11]).contains("longer than 64 bits"));
    assert!(reason(&[0x12, 9, b'a']).contains("past the message's end"));
    assert!(reason(&[0x39, 0]).contains("past the message's end"));
    assert!(reason(&[0x12]).contains("inside a field"));
    assert!(reason(&[0x3b]).contains("never ended"));
    assert!(reason(&[0x3c]).contains("not open"));
    assert!(reason(&[0x3b, 0x44]).contains("not open"));
    assert!(reason(&[0x3b; 101]).contains("deeper than 100"));
    assert!(reason(&string(2, &[0xff])).contains("agent_id is not UTF-8"));
    assert!(reason(&string(2, &[b'a'; 1025])).contains("agent_id has 1025 bytes"));
}

#[test]
fn fields_inside_groups_are_not_captured() {
    let message = [
        vec![0x3b],
        string(2, b"inner"),
        vec![0x3c],
        string(2, b"outer"),
    ]
    .concat();
    let seen = scan(Scanner::new(&TASK), [frame(0, &message).as_slice()]);
    assert_eq!(seen.id.as_deref(), Some("outer"));
}

#[test]
fn size_is_judged_from_the_header() {
    let mut scanner = Scanner::new(&TASK).max_message_bytes(100);
    let error = scanner.feed(&[0, 0, 0, 0, 101]).unwrap_err();
    assert_eq!(
        error,
        ScanError::TooLarge {
            size: 101,
            max: 100
        }
    );
    let status = error.status();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let info = proto::error_info::read(&status).unwrap();
    assert_eq!(info.metadata["key"], "max_message_bytes");
}

#[test]
fn messages_after_the_first_are_metered_too() {
    let mut bytes = frame(0, &string(2, b"a"));
    bytes.extend(frame(0, &[0xff; 50]));
    bytes.extend([0, 0, 0, 0, 101]);
    let seen = scan(Scanner::new(&TASK).max_message_bytes(100), bytes.chunks(1));
    assert_eq!(
        seen.result,
        Err(ScanError::TooLarge {
            size: 101,
            max: 100
        })
    );
    let mut frames = FrameReader::new(100);
    assert_eq!(
        frames.feed(&bytes).map_err(ScanError::from),
        Err(ScanError::TooLarge {
            size: 101,
            max: 100
        })
    );
}

#[test]
fn request_that_ends_early_is_refused() {
    let bytes = frame(0, &task("echo-agent").encode_to_vec());
    for end in [0, 3, 5, 12, bytes.len() - 1] {
        let seen = scan(Scanner::new(&TASK), [&bytes[..end]]);
        assert!(
            matches!(seen.result, Err(ScanError::Malformed { .. })),
            "{end}: {seen:?}"
        );
    }
}

#[test]
fn compressed_message_is_read_in_a_copy() {
    let plain = task("echo-agent").encode_to_vec();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(&plain).unwrap();
    for (encoding, bytes) in [("gzip", gzip(&plain)), ("deflate", zlib.finish().unwrap())] {
        let scanner = Scanner::new(&TASK).encoding(Some(encoding));
        let seen = scan(scanner, frame(1, &bytes).chunks(1));
        assert_eq!(seen.result, Ok(Progress::Complete), "{encoding}");
        assert_eq!(seen.id.as_deref(), Some("echo-agent"));
        assert_eq!(seen.session.as_deref(), Some("s-1"));
    }
}

#[test]
fn id_of_a_compressed_message_is_known_before_its_end() {
    // Stored blocks: what comes out follows what went in.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(&string(2, b"echo-agent")).unwrap();
    encoder.flush().unwrap();
    encoder.write_all(&string(3, &[b'x'; 5000])).unwrap();
    let bytes = frame(1, &encoder.finish().unwrap());
    let mut scanner = Scanner::new(&TASK).encoding(Some("gzip"));
    assert_eq!(scanner.feed(&bytes[..100]), Ok(Progress::Identified));
    assert_eq!(scanner.feed(&bytes[100..]), Ok(Progress::Complete));
}

#[test]
fn bomb_ends_at_the_limit() {
    let bomb = gzip(&string(3, &vec![0; 8 << 20]));
    assert!(bomb.len() < 20_000);
    let scanner = Scanner::new(&TASK)
        .max_message_bytes(100_000)
        .encoding(Some("gzip"));
    let seen = scan(scanner, [frame(1, &bomb).as_slice()]);
    let Err(ScanError::TooLarge { size, max }) = seen.result else {
        panic!("{seen:?}")
    };
    assert_eq!(max, 100_000);
    assert!(size < 200_000, "stopped early: {size}");
}

#[test]
fn encodings_are_checked_only_for_compressed_messages() {
    let plain = task("echo-agent").encode_to_vec();
    let with = |encoding, flag, bytes: &[u8]| {
        scan(
            Scanner::new(&TASK).encoding(encoding),
            [frame(flag, bytes).as_slice()],
        )
        .result
    };
    assert_eq!(with(Some("zstd"), 0, &plain), Ok(Progress::Complete));
    let unknown = with(Some("zstd"), 1, &plain).unwrap_err();
    assert_eq!(
        unknown,
        ScanError::Encoding {
            name: "zstd".into()
        }
    );
    assert_eq!(unknown.status().code(), Code::Unimplemented);
    assert!(
        unknown
            .status()
            .metadata()
            .contains_key("grpc-accept-encoding")
    );
    assert!(matches!(
        with(None, 1, &plain),
        Err(ScanError::Malformed { .. })
    ));
    assert!(matches!(
        with(None, 2, &plain),
        Err(ScanError::Malformed { .. })
    ));
    assert!(matches!(
        with(Some("gzip"), 1, &plain),
        Err(ScanError::Malformed { .. })
    ));
    let more = [gzip(&plain), gzip(&plain)].concat();
    assert!(
        with(Some("gzip"), 1, &more)
            .unwrap_err()
            .to_string()
            .contains("follow the end")
    );
    let cut = gzip(&plain);
    assert!(with(Some("gzip"), 1, &cut[..cut.len() - 4]).is_err());
}

/// A field in wire format: a known string field (captured or not), or one nobody knows.
fn field() -> impl Strategy<Value = (u32, Vec<u8>)> {
    let text = |number: u32| {
        "[a-c]{0,3}".prop_map(move |value| {
            (
                number,
                string(u8::try_from(number).unwrap(), value.as_bytes()),
            )
        })
    };
    let unknown = (
        7_u32..1000,
        prop_oneof![
            any::<u64>().prop_map(|value| (0, {
                let mut bytes = Vec::new();
                prost::encoding::encode_varint(value, &mut bytes);
                bytes
            })),
            any::<u64>().prop_map(|value| (1, value.to_le_bytes().to_vec())),
            any::<u32>().prop_map(|value| (5, value.to_le_bytes().to_vec())),
            prop::collection::vec(any::<u8>(), 0..40)
                .prop_map(|value| (2, string(0, &value)[1..].to_vec())),
        ],
    )
        .prop_map(|(number, (wire_type, value))| {
            let mut bytes = Vec::new();
            prost::encoding::encode_varint(u64::from(number << 3 | wire_type), &mut bytes);
            bytes.extend(&value);
            (number, bytes)
        });
    prop_oneof![
        text(1),
        text(2),
        text(3),
        text(6),
        unknown.clone(),
        unknown.prop_map(|(number, inner)| {
            let mut bytes = Vec::new();
            prost::encoding::encode_varint(u64::from(number << 3 | 3), &mut bytes);
            bytes.extend(inner);
            prost::encoding::encode_varint(u64::from(number << 3 | 4), &mut bytes);
            (number, bytes)
        })
    ]
}

fn cut(bytes: &[u8], at: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut ends: Vec<usize> = at
        .iter()
        .map(|index| index.index(bytes.len() + 1))
        .collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut start = 0;
    ends.into_iter()
        .map(|end| bytes[std::mem::replace(&mut start, end)..end].to_vec())
        .collect()
}

proptest! {
    #[test]
    fn any_split_gives_the_same_and_prost_agrees(
        fields in prop::collection::vec(field(), 0..12),
        at in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        compressed: bool,
    ) {
        let message: Vec<u8> = fields.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
        let bytes = if compressed { frame(1, &gzip(&message)) } else { frame(0, &message) };
        let scanner = || Scanner::new(&TASK).encoding(Some("gzip"));
        let whole = scan(scanner(), [bytes.as_slice()]);
        let split = scan(scanner(), cut(&bytes, &at).iter().map(Vec::as_slice));
        prop_assert_eq!(&whole.result, &split.result);
        let decoded = TaskRequest::decode(message.as_slice()).unwrap();
        match whole.result {
            Ok(_) => {
                prop_assert_eq!(&whole, &split);
                prop_assert_eq!(whole.id.unwrap_or_default(), decoded.agent_id);
                prop_assert_eq!(whole.session.unwrap_or_default(), decoded.session_id);
                prop_assert_eq!(whole.task.unwrap_or_default(), decoded.task_id);
            }
            Err(ScanError::Conflict { .. }) => {
                prop_assert!(fields.iter().filter(|(number, _)| *number == 2).count() > 1);
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn random_bytes_never_panic_and_are_refused_only_when_prost_refuses_them(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        at in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        flag in 0_u8..3,
    ) {
        let framed = frame(flag, &bytes);
        let scanner = || Scanner::new(&TASK).max_message_bytes(1000).encoding(Some("deflate"));
        let whole = scan(scanner(), [framed.as_slice()]);
        let split = scan(scanner(), cut(&framed, &at).iter().map(Vec::as_slice));
        prop_assert_eq!(whole.result.is_ok(), split.result.is_ok());
        if flag == 0 && whole.result.is_err() {
            let conflict = matches!(whole.result, Err(ScanError::Conflict { .. }));
            prop_assert!(conflict || TaskRequest::decode(bytes.as_slice()).is_err());
        }
        drop(scan(scanner(), [bytes.as_slice()]));
    }
}
