//! HPACK's Huffman code (RFC 7541, appendix B), for decoding only: nothing we send is compressed.
//!
//! The code is canonical — codes of one length are consecutive, in the order of their symbols — so
//! that its lengths are all of the table that has to be written down.

use super::Error;

/// The end-of-string symbol, which no string may contain.
const EOS: usize = 256;
const SHORTEST: usize = 5;
const LONGEST: usize = 30;
/// Codes of at most so many bits are decoded by one look-up.
const FAST: usize = 10;

/// Bits of the code of each symbol; the last is [`EOS`].
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// Symbols in the order of their codes.
const SYMBOLS: [u16; 257] = symbols();
/// For each length, the first code, left-aligned in 32 bits, that is longer.
const LIMITS: [u32; LONGEST + 1] = limits();
/// For each length, what turns a code into an index of `SYMBOLS`.
const OFFSETS: [i32; LONGEST + 1] = offsets();
/// By the next `FAST` bits: symbol << 8 | length, or 0 for longer codes.
static LOOKUP: [u16; 1 << FAST] = lookup();

const fn symbols() -> [u16; 257] {
    let mut out = [0; 257];
    let (mut at, mut length) = (0, SHORTEST);
    while length <= LONGEST {
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == length {
                out[at] = symbol as u16;
                at += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    out
}

const fn count(length: usize) -> u32 {
    let (mut n, mut symbol) = (0, 0);
    while symbol < 257 {
        if LENGTHS[symbol] as usize == length {
            n += 1;
        }
        symbol += 1;
    }
    n
}

const fn limits() -> [u32; LONGEST + 1] {
    let mut out = [0; LONGEST + 1];
    let (mut next, mut length) = (0u64, SHORTEST);
    while length <= LONGEST {
        next += (count(length) as u64) << (32 - length);
        // The code is complete: the limit of the longest is 2^32, one more than fits.
        out[length] = if next > u32::MAX as u64 {
            u32::MAX
        } else {
            next as u32
        };
        length += 1;
    }
    out
}

const fn offsets() -> [i32; LONGEST + 1] {
    let mut out = [0; LONGEST + 1];
    let (mut first, mut index, mut length) = (0i64, 0i64, SHORTEST);
    while length <= LONGEST {
        out[length] = (index - first) as i32;
        index += count(length) as i64;
        first = (first + count(length) as i64) << 1;
        length += 1;
    }
    out
}

const fn lookup() -> [u16; 1 << FAST] {
    let mut out = [0; 1 << FAST];
    let mut bits = 0;
    while bits < 1 << FAST {
        let window = (bits as u32) << (32 - FAST);
        let mut length = SHORTEST;
        while length <= FAST {
            if window < LIMITS[length] {
                let index = (window >> (32 - length)) as i32 + OFFSETS[length];
                out[bits] = SYMBOLS[index as usize] << 8 | length as u16;
                break;
            }
            length += 1;
        }
        bits += 1;
    }
    out
}

/// Appends what `source` encodes to `out`.
pub(super) fn decode(source: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let mut window: u64 = 0;
    let mut held: usize = 0;
    let mut bytes = source.iter();
    loop {
        while held <= 56 {
            let Some(byte) = bytes.next() else { break };
            window |= u64::from(*byte) << (56 - held);
            held += 8;
        }
        let head = (window >> 32) as u32;
        let found = LOOKUP[(head >> (32 - FAST)) as usize];
        let (symbol, length) = if found != 0 {
            (usize::from(found >> 8), usize::from(found & 0xff))
        } else {
            long(head)
        };
        if length > held {
            break;
        }
        if symbol == EOS {
            return Err(Error::Huffman);
        }
        out.push(symbol as u8);
        window <<= length;
        held -= length;
    }
    // What is left is padding: fewer than eight bits, all of them 1.
    let padding = (window >> 56) as u8;
    if held >= 8 || padding != !(0xff_u8.checked_shr(held as u32).unwrap_or(0)) {
        return Err(Error::Huffman);
    }
    Ok(())
}

/// A code that is longer than the look-up's bits.
fn long(head: u32) -> (usize, usize) {
    let length = (FAST + 1..LONGEST)
        .find(|length| head < LIMITS[*length])
        .unwrap_or(LONGEST);
    let index = (head >> (32 - length)) as i32 + OFFSETS[length];
    (usize::from(SYMBOLS[index as usize]), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code itself, made bit by bit from the canonical order.
    fn encode(text: &[u8]) -> Vec<u8> {
        let mut bits: Vec<bool> = Vec::new();
        for byte in text {
            let length = usize::from(LENGTHS[usize::from(*byte)]);
            let index = SYMBOLS.iter().position(|s| *s == u16::from(*byte)).unwrap();
            let code = index as i32 - OFFSETS[length];
            bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
        }
        while !bits.len().is_multiple_of(8) {
            bits.push(true);
        }
        bits.chunks(8)
            .map(|b| b.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit)))
            .collect()
    }

    fn decoded(source: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        decode(source, &mut out).map(|()| out)
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        let examples: [(&[u8], &str); 4] = [
            (
                &[
                    0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
                ],
                "www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (
                &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf],
                "custom-value",
            ),
            (&[0x64, 0x02], "302"),
        ];
        for (bytes, text) in examples {
            assert_eq!(decoded(bytes).unwrap(), text.as_bytes());
            assert_eq!(encode(text.as_bytes()), bytes);
        }
    }

    #[test]
    fn every_byte_survives() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decoded(&encode(&all)).unwrap(), all);
        for byte in 0..=255 {
            assert_eq!(decoded(&encode(&[byte])).unwrap(), [byte]);
        }
    }

    #[test]
    fn wrong_padding_and_the_end_symbol_are_refused() {
        assert!(
            decoded(&[0x64, 0x02, 0xff]).is_err(),
            "eight bits of padding"
        );
        assert!(decoded(&[0x00]).is_err(), "padding of zeros");
        assert!(
            decoded(&[0xff, 0xff, 0xff, 0xff]).is_err(),
            "the end symbol"
        );
        assert!(decoded(&[]).unwrap().is_empty());
    }
}
