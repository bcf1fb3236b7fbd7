//! Crockford's base 32: no letter that looks like a digit, no shell metacharacter.

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Characters for `bytes` bytes.
pub(super) const fn length(bytes: usize) -> usize {
    (bytes * 8).div_ceil(5)
}

/// Encodes in lower case; the last character carries zero bits at its end.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(length(bytes.len()));
    let (mut held, mut bits) = (0_u32, 0);
    for byte in bytes {
        held = held << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[(held >> bits & 31) as usize]));
        }
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[(held << (5 - bits) & 31) as usize]));
    }
    text
}

/// Decodes exactly `N` bytes, in either case; `o`, `i` and `l` are read as the digits that they look like.
/// The position (from 0) of the first character that is none, or of the last one if its spare bits are not zero.
pub(super) fn decode<const N: usize>(text: &str) -> Result<[u8; N], usize> {
    let mut bytes = [0; N];
    let mut filled = bytes.iter_mut();
    let (mut held, mut bits) = (0_u32, 0);
    for (at, character) in text.bytes().enumerate() {
        held = held << 5 | value(character).ok_or(at)?;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            *filled.next().ok_or(at)? = (held >> bits & 0xff) as u8;
        }
    }
    let complete = filled.next().is_none() && held & ((1 << bits) - 1) == 0;
    if complete { Ok(bytes) } else { Err(text.len().saturating_sub(1)) }
}

fn value(character: u8) -> Option<u32> {
    let character = match character.to_ascii_lowercase() {
        b'o' => b'0',
        b'i' | b'l' => b'1',
        other => other,
    };
    ALPHABET.iter().position(|known| *known == character).map(|at| at as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_back() {
        assert_eq!(encode(b"hello"), "d1jprv3f");
        assert_eq!(decode::<5>("DIJPRV3F"), Ok(*b"hello"));
        assert_eq!((length(16), length(32), encode(&[0xff; 16]).len()), (26, 52, 26));
        assert_eq!(decode::<16>(&encode(&[0xff; 16])), Ok([0xff; 16]));
    }

    #[test]
    fn what_is_no_encoding_is_refused_where_it_is() {
        assert_eq!(decode::<5>("d1jp!v3f"), Err(4));
        assert_eq!(decode::<5>("d1jprv3"), Err(6), "too short");
        assert_eq!(decode::<5>("d1jprv3f00"), Err(9), "too long");
        assert_eq!(decode::<1>("zz"), Err(1), "spare bits set");
        assert_eq!(decode::<2>("é0"), Err(0));
    }
}
