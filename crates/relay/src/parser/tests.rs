use proptest::prelude::*;

use super::*;
use crate::frame;

/// A step that owns its bytes; DATA is joined, since it comes in any pieces.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Event(Event<'static>),
    Data(u32, Vec<u8>),
    Fields(Vec<(Vec<u8>, Vec<u8>)>),
    ConnectionError(ErrorCode),
}

fn read(pieces: &[&[u8]]) -> Vec<Seen> {
    let mut parser = Parser::new(true, 4096, 16_384, 1 << 14);
    let mut seen = Vec::new();
    for mut piece in pieces.iter().copied() {
        loop {
            match parser.next_event(&mut piece) {
                Ok(None) => break,
                Ok(Some(Event::Data { stream, bytes, .. })) => match seen.last_mut() {
                    Some(Seen::Data(_, all)) => all.extend_from_slice(bytes),
                    _ => seen.push(Seen::Data(stream, bytes.to_vec())),
                },
                Ok(Some(step)) => {
                    seen.push(Seen::Event(own(step)));
                    if matches!(step, Event::Headers { .. }) {
                        let fields = parser.block().fields();
                        let fields = fields
                            .map(|f| (f.name.to_vec(), f.value.to_vec()))
                            .collect();
                        seen.push(Seen::Fields(fields));
                    }
                }
                Err(error) => {
                    seen.push(Seen::ConnectionError(error.code));
                    return seen;
                }
            }
        }
    }
    seen
}

fn own(step: Event<'_>) -> Event<'static> {
    match step {
        Event::Preface => Event::Preface,
        Event::Headers {
            stream,
            end_stream,
            depends_on,
        } => Event::Headers {
            stream,
            end_stream,
            depends_on,
        },
        Event::DataBegin {
            stream,
            length,
            padding,
            end_stream,
        } => Event::DataBegin {
            stream,
            length,
            padding,
            end_stream,
        },
        Event::Data { .. } => unreachable!("DATA is seen apart"),
        Event::DataEnd { stream, end_stream } => Event::DataEnd { stream, end_stream },
        Event::Reset { stream, code } => Event::Reset { stream, code },
        Event::Settings(settings) => Event::Settings(settings),
        Event::SettingsAck => Event::SettingsAck,
        Event::Ping(bytes) => Event::Ping(bytes),
        Event::Pong => Event::Pong,
        Event::Unknown => Event::Unknown,
        Event::GoAway { last, code } => Event::GoAway { last, code },
        Event::WindowUpdate { stream, credit } => Event::WindowUpdate { stream, credit },
        Event::Priority { stream, valid } => Event::Priority { stream, valid },
    }
}

fn session() -> Vec<u8> {
    let mut out = PREFACE.to_vec();
    frame::settings(&mut out, &Settings::default().to_wire());
    frame::settings_ack(&mut out);
    frame::headers(
        &mut out,
        1,
        &[0x82, 0x86, 0x84, 0x00, 1, b'a', 1, b'b'],
        false,
        3,
    );
    frame::head(&mut out, 8, 0, flag::PADDED, 1);
    out.extend_from_slice(&[2, b'h', b'e', b'l', b'l', b'o', 0, 0]);
    frame::head(&mut out, 3, 0, flag::END_STREAM, 1);
    out.extend_from_slice(b"end");
    frame::window_update(&mut out, 0, 5);
    frame::reset(&mut out, 1, ErrorCode::Cancel);
    frame::pong(&mut out, [7; 8]);
    frame::head(&mut out, 3, 200, 0xff, 9);
    out.extend_from_slice(b"???");
    frame::go_away(&mut out, 1, ErrorCode::NoError, "bye");
    out
}

#[test]
fn a_session_is_told_step_by_step() {
    let seen = read(&[&session()]);
    let kinds: Vec<Seen> = seen.into_iter().skip(3).collect();
    assert_eq!(
        kinds[..6],
        [
            Seen::Event(Event::Headers {
                stream: 1,
                end_stream: false,
                depends_on: None
            }),
            Seen::Fields(vec![
                (b":method".to_vec(), b"GET".to_vec()),
                (b":scheme".to_vec(), b"http".to_vec()),
                (b":path".to_vec(), b"/".to_vec()),
                (b"a".to_vec(), b"b".to_vec()),
            ]),
            Seen::Event(Event::DataBegin {
                stream: 1,
                length: 8,
                padding: 3,
                end_stream: false
            }),
            Seen::Data(1, b"hello".to_vec()),
            Seen::Event(Event::DataEnd {
                stream: 1,
                end_stream: false
            }),
            Seen::Event(Event::DataBegin {
                stream: 1,
                length: 3,
                padding: 0,
                end_stream: true
            }),
        ]
    );
}

type Build = Box<dyn Fn(&mut Vec<u8>)>;

#[test]
fn frames_that_break_the_rules_end_the_connection() {
    let mut start = PREFACE.to_vec();
    frame::settings(&mut start, &[]);
    let with = |build: &dyn Fn(&mut Vec<u8>)| {
        let mut out = start.clone();
        build(&mut out);
        read(&[&out]).last().cloned()
    };
    let head = |kind: u8, length: usize, flags: u8, stream: u32| {
        move |out: &mut Vec<u8>| {
            frame::head(out, length, kind, flags, stream);
            out.extend(std::iter::repeat_n(0, length));
        }
    };
    let cases: Vec<(Build, ErrorCode)> = vec![
        (Box::new(head(0, 1, 0, 0)), ErrorCode::ProtocolError),
        (Box::new(head(1, 1, 4, 0)), ErrorCode::ProtocolError),
        (Box::new(head(4, 5, 0, 0)), ErrorCode::FrameSizeError),
        (Box::new(head(4, 6, 1, 0)), ErrorCode::FrameSizeError),
        (Box::new(head(4, 0, 0, 1)), ErrorCode::ProtocolError),
        (Box::new(head(6, 7, 0, 0)), ErrorCode::FrameSizeError),
        (Box::new(head(3, 3, 0, 1)), ErrorCode::FrameSizeError),
        (Box::new(head(8, 3, 0, 0)), ErrorCode::FrameSizeError),
        (Box::new(head(9, 0, 4, 1)), ErrorCode::ProtocolError),
        (Box::new(head(5, 4, 4, 1)), ErrorCode::ProtocolError),
        (Box::new(head(0, 16_385, 0, 1)), ErrorCode::FrameSizeError),
        (
            Box::new(|out| frame::headers(out, 1, &[0x80], true, 100)),
            ErrorCode::CompressionError,
        ),
        (
            Box::new(|out| {
                frame::head(out, 1, 0, flag::PADDED, 1);
                out.push(9);
            }),
            ErrorCode::ProtocolError,
        ),
        (
            Box::new(|out| {
                frame::head(out, 1, 1, 0, 1);
                out.push(0x82);
                frame::pong(out, [0; 8]);
            }),
            ErrorCode::ProtocolError,
        ),
    ];
    for (number, (build, code)) in cases.iter().enumerate() {
        assert_eq!(
            with(build),
            Some(Seen::ConnectionError(*code)),
            "case {number}"
        );
    }
    let strangers: [(&[u8], ErrorCode); 7] = [
        (b"CONNECT a:1 HTTP/1.1\r\n", ErrorCode::Http11Required),
        (b"INVALID CONNECTION PREFACE\r\n", ErrorCode::ProtocolError),
        (b"GET / HTTP/1.1\r\n", ErrorCode::Http11Required),
        (b"POST / HTTP/1.1\r\n", ErrorCode::Http11Required),
        (b"PUT / HTTP/1.1\r\n", ErrorCode::Http11Required),
        (&[0x16, 3, 1, 2, 0], ErrorCode::InadequateSecurity),
        (&[0, 0, 0, 4, 0], ErrorCode::ProtocolError),
    ];
    for (first, code) in strangers {
        assert_eq!(read(&[first]), [Seen::ConnectionError(code)], "{first:?}");
        let bytes: Vec<&[u8]> = first.chunks(1).collect();
        assert_eq!(read(&bytes), [Seen::ConnectionError(code)], "{first:?}");
    }
}

#[test]
fn a_block_without_end_is_stopped() {
    let mut out = PREFACE.to_vec();
    frame::settings(&mut out, &[]);
    frame::head(&mut out, 1, 1, 0, 1);
    out.push(0x82);
    for _ in 0..300 {
        frame::head(&mut out, 16_000, 9, 0, 1);
        out.extend(std::iter::repeat_n(0x82, 16_000));
    }
    assert_eq!(
        read(&[&out]).last(),
        Some(&Seen::ConnectionError(ErrorCode::EnhanceYourCalm))
    );
}

proptest! {
    #[test]
    fn any_split_tells_the_same(cuts in prop::collection::vec(1usize..40, 1..60)) {
        let bytes = session();
        let (mut pieces, mut rest) = (Vec::new(), &bytes[..]);
        for cut in cuts {
            let (piece, tail) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = tail;
        }
        pieces.push(rest);
        prop_assert_eq!(read(&pieces), read(&[&bytes]));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(0u8.., 0..400)) {
        let mut all = PREFACE.to_vec();
        frame::settings(&mut all, &[]);
        all.extend_from_slice(&bytes);
        read(&[&all]);
    }
}

#[test]
fn what_is_not_complete_is_told_and_what_was_large_is_given_back() {
    let mut wire = PREFACE.to_vec();
    frame::settings(&mut wire, &[]);
    let mut block = vec![0x82, 0x86, 0x84, 0x00, 1, b'a', 0x7f];
    block.extend([0xb1, 0xe9, 0x01]);
    block.extend([b'x'; 30_000]);
    frame::headers(&mut wire, 1, &block, true, 1 << 14);
    let mut parser = Parser::new(true, 4096, 1 << 14, 1 << 16);
    let read = |parser: &mut Parser, mut input: &[u8]| {
        while parser.next_event(&mut input).unwrap().is_some() {}
        parser.held()
    };
    let (most, rest) = wire.split_at(wire.len() - 10);
    assert!(read(&mut parser, most) > 29_000);
    assert_eq!(read(&mut parser, rest), 0);
    let block = parser.take_block();
    assert_eq!(block.named(b"a").unwrap().value.len(), 30_000);
    assert!(block.memory() > 30_000);
    parser.restore(block);
    assert_eq!(parser.block().memory(), 0);
}

/// Header blocks, each on a stream of its own.
fn streams(blocks: &[&[u8]]) -> Vec<u8> {
    let mut wire = PREFACE.to_vec();
    frame::settings(&mut wire, &[]);
    for (at, block) in blocks.iter().enumerate() {
        frame::headers(&mut wire, 2 * at as u32 + 1, block, true, 1 << 14);
    }
    wire
}

/// The fields of each block, as they would be written, and how often the parser had to decode.
fn blocks(wire: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let mut parser = Parser::new(true, 4096, 1 << 14, 1 << 16);
    let (mut input, mut seen) = (wire, Vec::new());
    while let Ok(Some(step)) = parser.next_event(&mut input) {
        if matches!(step, Event::Headers { .. }) {
            seen.push(parser.block().wire().to_vec());
        }
    }
    (seen, parser.block_cache.decoded())
}

#[test]
fn a_block_that_is_repeated_is_not_decoded_again() {
    let post: &[u8] = &[0x83, 0x86];
    let get: &[u8] = &[0x82, 0x86];
    let (seen, decoded) = blocks(&streams(&[post, get, post, get, post]));
    assert_eq!(decoded, 2);
    assert_eq!(seen, [post, get, post, get, post]);
    // Not for ever: what was not repeated for a while makes room.
    let others: Vec<Vec<u8>> = (0..9).map(|n| vec![0x82, 0x88 + n]).collect();
    let mut wires = vec![post];
    wires.extend(others.iter().map(Vec::as_slice));
    wires.push(post);
    let all: Vec<Vec<u8>> = wires.iter().map(|wire| wire.to_vec()).collect();
    assert_eq!(blocks(&streams(&wires)), (all, 11));
}

#[test]
fn blocks_that_are_many_and_large_are_not_kept() {
    let mut parser = Parser::new(true, 4096, 1 << 14, 1 << 16);
    let large = |n: u8| {
        let mut block = vec![0x00, 1, b'a', 0x7f, 0xf9, 0x0e];
        block.extend([b'0' + n; 2040]);
        block
    };
    let larges: Vec<Vec<u8>> = (0..5).map(large).collect();
    let larges: Vec<&[u8]> = larges.iter().map(Vec::as_slice).collect();
    let wire = streams(&larges);
    let mut input = &wire[..];
    while let Some(step) = parser.next_event(&mut input).unwrap() {
        if matches!(step, Event::Headers { .. }) {
            let block = parser.take_block();
            assert_eq!(block.named(b"a").unwrap().value.len(), 2040);
            parser.restore(block);
            assert!(parser.block_cache.memory() <= 8192);
        }
    }
}

#[test]
fn the_same_bytes_say_something_else_once_the_table_has_changed() {
    let a: &[u8] = &[0x40, 1, b'a', 1, b'1'];
    let b: &[u8] = &[0x40, 1, b'b', 1, b'2'];
    let newest: &[u8] = &[0xbe];
    let (seen, decoded) = blocks(&streams(&[a, newest, newest, b, newest, newest]));
    let (of_a, of_b) = (&seen[0], &seen[3]);
    assert_ne!(of_a, of_b);
    assert!(seen[..3].iter().all(|it| it == of_a) && seen[3..].iter().all(|it| it == of_b));
    assert_eq!(decoded, 4);
    // What is put into the table is put there each time.
    let second: &[u8] = &[0xbf];
    assert_eq!(
        blocks(&streams(&[a, a, second])).0,
        [of_a.clone(), of_a.clone(), of_a.clone()]
    );
    // A table of nothing: there is no newest field any more.
    let emptied: &[u8] = &[0x20, 0x82];
    assert_eq!(blocks(&streams(&[a, newest, emptied, newest])).0.len(), 3);
}

#[test]
fn a_block_is_checked_as_what_it_is_asked_for() {
    let wire = streams(&[&[0x83, 0x86, 0x84], &[0x83, 0x86, 0x84]]);
    let mut parser = Parser::new(true, 4096, 1 << 14, 1 << 16);
    let mut input = &wire[..];
    while let Some(step) = parser.next_event(&mut input).unwrap() {
        if matches!(step, Event::Headers { .. }) {
            assert!(parser.check_block(message::MessageKind::Request).is_some());
            assert!(parser.check_block(message::MessageKind::Trailers).is_none());
            assert!(parser.check_block(message::MessageKind::Request).is_some());
        }
    }
}

proptest! {
    #[test]
    fn what_is_remembered_is_what_would_be_decoded(chosen in prop::collection::vec(0..9_usize, 0..60)) {
        const WIRES: [&[u8]; 9] = [
            &[0x83, 0x86, 0x84],
            &[0x82, 0x86, 0x84],
            &[0x40, 1, b'a', 1, b'1'],
            &[0x40, 1, b'a', 1, b'2'],
            &[0x83, 0xbe],
            &[0x83, 0xbf],
            &[0x83, 0x00, 1, b'c', 1, b'3'],
            &[0x3f, 0x21, 0x83],
            &[0x20, 0x3f, 0xe1, 0x1f, 0x84],
        ];
        let wires: Vec<&[u8]> = chosen.iter().map(|at| WIRES[*at]).collect();
        let mut decoder = Decoder::new(4096);
        let decoded = wires.iter().map_while(|wire| {
            let mut block = Block::new();
            decoder.decode(wire, 1 << 16, &mut block).ok()?;
            Some(block.wire().to_vec())
        });
        prop_assert_eq!(blocks(&streams(&wires)).0, decoded.collect::<Vec<_>>());
    }
}
