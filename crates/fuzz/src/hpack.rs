//! Header blocks, by our decoder and by that of `h2`.

use h2::Reason;
use mesh_relay::{
    frame::{self, PREFACE},
    hpack::{Block, Decoder},
};

/// A request's pseudo headers, without which `h2` shows nothing: POST, http, `/`, `a`.
const HEAD: [u8; 6] = [0x83, 0x86, 0x84, 0x41, 1, b'a'];
/// Larger than any block that is tried, decoded: neither side leaves a field out.
const LIST: u32 = 1 << 24;
/// A block is one frame.
const MOST: usize = 16_000;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let indexed = b"\x40\x05x-one\x03abc\xbe\xbe\x0f\x2f\x03def".to_vec();
    // `no-cache` in Huffman's code, and a table that is made smaller.
    let coded = b"\x58\x86\xa8\xeb\x10\x64\x9c\xbf\xbe".to_vec();
    let sized = b"\x00\x02te\x08trailers\x10\x01a\x7f\x01\x00".to_vec();
    vec![indexed, coded, sized, Vec::new()]
}

/// Two blocks of one connection: the second refers to what the first put into the table.
pub(crate) fn run(data: &[u8]) {
    let data = &data[..data.len().min(MOST)];
    let (first, second) = data.split_at(data.len() / 2);
    let blocks = [first, second].map(|rest| [&HEAD[..], rest].concat());
    let mut decoder = Decoder::new(4096);
    let mut ours = Vec::new();
    for bytes in &blocks {
        let mut block = Block::new();
        let decoded = decoder.decode(bytes, LIST as usize, &mut block);
        ours.push(decoded.is_ok().then(|| fields(&block)));
        if decoded.is_err() {
            break;
        }
    }
    let theirs = by_h2(&blocks);
    for (number, theirs) in theirs.into_iter().enumerate() {
        let Some(ours) = ours.get(number) else { return };
        match theirs {
            // `h2` has more to say against a request than that its block cannot be decoded.
            Ok(theirs) => assert_eq!(ours.as_ref(), Some(&theirs), "{blocks:x?}"),
            Err(Some(Reason::COMPRESSION_ERROR)) => assert_eq!(*ours, None, "{blocks:x?}"),
            Err(_) => {}
        }
    }
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Sorted, since `h2` keeps those of one name together; without pseudo headers.
fn fields(block: &Block) -> Fields {
    let plain = block.fields().filter(|field| !field.name.starts_with(b":"));
    let mut fields: Fields = plain
        .map(|field| (field.name.to_vec(), field.value.to_vec()))
        .collect();
    fields.sort();
    fields
}

/// What `h2` makes of the blocks, as the requests of streams 1 and 3; up to its first complaint.
fn by_h2(blocks: &[Vec<u8>]) -> Vec<Result<Fields, Option<Reason>>> {
    let mut bytes = PREFACE.to_vec();
    frame::settings(&mut bytes, &[]);
    for (number, block) in (0u32..).zip(blocks) {
        frame::headers(&mut bytes, 2 * number + 1, block, true, 1 << 14);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(async {
        let stream = tokio::io::join(&bytes[..], tokio::io::sink());
        let mut builder = h2::server::Builder::new();
        builder.max_header_list_size(LIST);
        let served = builder.handshake::<_, bytes::Bytes>(stream).await;
        let mut connection = served.expect("preface and SETTINGS are well");
        let mut seen = Vec::new();
        while let Some(accepted) = connection.accept().await {
            match accepted {
                Ok((request, _)) => {
                    let headers = request.headers().iter();
                    let mut fields: Fields = headers
                        .map(|(name, value)| (name.as_str().into(), value.as_bytes().into()))
                        .collect();
                    fields.sort();
                    seen.push(Ok(fields));
                }
                Err(error) => {
                    seen.push(Err(error.reason()));
                    break;
                }
            }
        }
        seen
    })
}
