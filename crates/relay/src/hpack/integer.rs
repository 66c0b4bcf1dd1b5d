//! Integers with a prefix (RFC 7541, section 5.1).

use super::Error;

/// Reads an integer whose first byte has `prefix` bits for it, and moves past it.
pub(super) fn read(bytes: &mut &[u8], prefix: u32) -> Result<usize, Error> {
    let (first, mut rest) = bytes.split_first().ok_or(Error::Truncated)?;
    let mask = (1usize << prefix) - 1;
    let mut value = usize::from(*first) & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let (byte, tail) = rest.split_first().ok_or(Error::Truncated)?;
            rest = tail;
            // Nothing that is read this way is near 2^28: an attacker's integer ends here.
            if shift > 21 {
                return Err(Error::Integer);
            }
            value += usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *bytes = rest;
    Ok(value)
}

/// Writes an integer behind the `flags` of its first byte.
pub(super) fn write(out: &mut Vec<u8>, flags: u8, prefix: u32, mut value: usize) {
    let mask = (1usize << prefix) - 1;
    if value < mask {
        out.push(flags | value as u8);
        return;
    }
    out.push(flags | mask as u8);
    value -= mask;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_standard_are_read_and_written() {
        for (value, prefix, wire) in [
            (10, 5, &[0x0a][..]),
            (1337, 5, &[0x1f, 0x9a, 0x0a]),
            (42, 8, &[0x2a]),
        ] {
            let mut out = Vec::new();
            write(&mut out, 0, prefix, value);
            assert_eq!(out, wire);
            assert_eq!(read(&mut &out[..], prefix), Ok(value));
        }
    }

    #[test]
    fn what_is_endless_or_cut_is_refused() {
        assert_eq!(
            read(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..], 7),
            Err(Error::Integer)
        );
        assert_eq!(read(&mut &[0xff, 0x80][..], 7), Err(Error::Truncated));
        assert_eq!(read(&mut &[][..], 7), Err(Error::Truncated));
    }
}
