use super::*;

fn pairs(block: &Block) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    block
        .fields()
        .map(|f| (text(f.name), text(f.value)))
        .collect()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |b: u8| (b as char).to_digit(16).unwrap() as u8;
    digits
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

/// RFC 7541, appendices C.3 and C.4: the same three requests, plain and Huffman coded.
#[test]
fn the_requests_of_the_standard_are_decoded() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let coded = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for blocks in [plain, coded] {
        let mut decoder = Decoder::new(4096);
        let mut block = Block::new();
        let expected: [&[(&str, &str)]; 3] = [
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "www.example.com"),
            ],
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/"),
                (":authority", "www.example.com"),
                ("cache-control", "no-cache"),
            ],
            &[
                (":method", "GET"),
                (":scheme", "https"),
                (":path", "/index.html"),
                (":authority", "www.example.com"),
                ("custom-key", "custom-value"),
            ],
        ];
        for (bytes, expected) in blocks.iter().zip(expected) {
            decoder.decode(&hex(bytes), 1 << 16, &mut block).unwrap();
            let got = pairs(&block);
            let got: Vec<_> = got.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(got, expected);
        }
    }
}

/// RFC 7541, appendix C.5: a table of 256 bytes from which entries fall.
#[test]
fn old_entries_fall_out_of_a_small_table() {
    let mut decoder = Decoder::new(256);
    let mut block = Block::new();
    let first = "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 \
                 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 \
                 6c65 2e63 6f6d";
    decoder.decode(&hex(first), 1 << 16, &mut block).unwrap();
    decoder
        .decode(&hex("4803 3330 37c1 c0bf"), 1 << 16, &mut block)
        .unwrap();
    let got = pairs(&block);
    assert_eq!(got[0], (":status".into(), "307".into()));
    assert_eq!(got[1], ("cache-control".into(), "private".into()));
    assert_eq!(
        got[3],
        ("location".into(), "https://www.example.com".into())
    );
    assert_eq!(
        decoder.table.tokens(),
        [Token::Status, Token::Other, Token::Other, Token::Other]
    );
}

#[test]
fn what_is_written_again_decodes_to_the_same_fields() {
    let mut decoder = Decoder::new(4096);
    let mut block = Block::new();
    let bytes = hex("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff 1001 78 03 616263");
    decoder.decode(&bytes, 1 << 16, &mut block).unwrap();
    let again: Vec<u8> = block.fields().flat_map(|f| f.wire.to_vec()).collect();
    let mut other = Block::new();
    Decoder::new(0).decode(&again, 1 << 16, &mut other).unwrap();
    assert_eq!(pairs(&block), pairs(&other));
    assert_eq!(
        other.fields().last().unwrap().wire[0],
        0x10,
        "never indexed stays so"
    );
}

#[test]
fn a_list_over_its_limit_is_cut_and_the_table_still_follows() {
    let mut decoder = Decoder::new(4096);
    let mut block = Block::new();
    // `a: b`, kept, with a limit that holds no field.
    decoder
        .decode(&[0x40, 1, b'a', 1, b'b'], 10, &mut block)
        .unwrap();
    assert!(block.is_truncated());
    assert_eq!(block.fields().count(), 0);
    decoder.decode(&[0xbe], 1000, &mut block).unwrap();
    assert_eq!(pairs(&block), [("a".into(), "b".into())]);
}

#[test]
fn broken_blocks_are_refused() {
    let bad: [(&[u8], Error); 6] = [
        (&[0x80], Error::Index),
        (&[0xbe], Error::Index),
        (&[0x40, 1, b'a'], Error::Truncated),
        (&[0x40, 5, b'a'], Error::Truncated),
        (&[0x3f, 0xe1, 0x3f], Error::TableSize),
        (&[0x82, 0x20], Error::TableSize),
    ];
    for (bytes, error) in bad {
        let outcome = Decoder::new(4096).decode(bytes, 1 << 16, &mut Block::new());
        assert_eq!(outcome, Err(error), "{bytes:x?}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(blocks in proptest::collection::vec(proptest::collection::vec(0u8.., 0..200), 1..8)) {
        let mut decoder = Decoder::new(512);
        let mut block = Block::new();
        for bytes in blocks {
            let _ended = decoder.decode(&bytes, 300, &mut block);
        }
    }
}

#[test]
fn spaces_around_values_are_taken_off_and_count_in_the_table() {
    let mut decoder = Decoder::new(100);
    let mut block = Block::new();
    let mut field = vec![0x40, 1, b'a', 21, b'x'];
    field.extend([b' '; 20]);
    decoder.decode(&field, 1000, &mut block).unwrap();
    assert_eq!(block.named(b"a").unwrap().value, b"x");
    decoder.decode(&[0xbe], 1000, &mut block).unwrap();
    assert_eq!(block.named(b"a").unwrap().value, b"x");
    // Two have no room: to the peer each is of 54 bytes.
    decoder.decode(&field, 1000, &mut block).unwrap();
    assert_eq!(decoder.decode(&[0xbf], 1000, &mut block), Err(Error::Index));
}
