//! JSON objects on one line that tell whether they are whole.
//!
//! The first field is a digest of the rest. It is not there against forgers: who can write the file is root. It is there
//! against torn writes and flipped bits, and FNV-1a sees every change of a single byte, since each of its steps can be
//! turned back. `jq` reads such a line like any other.

const PREFIX: &str = "{\"digest\":\"";
const DIGITS: usize = 16;

/// Seals an object as `serde_json` writes it: one line, not empty, without the line feed.
pub(crate) fn seal(object: &str) -> String {
    let body = object.strip_prefix('{').unwrap_or(object);
    format!("{PREFIX}{:016x}\",{body}\n", fnv1a(body.as_bytes()))
}

/// The object in a sealed line that ends with its line feed; none when anything about it is not as it was written.
pub(crate) fn unseal(line: &[u8]) -> Option<String> {
    let text = str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let rest = text.strip_prefix(PREFIX)?;
    let (digest, rest) = rest.split_at_checked(DIGITS)?;
    let body = rest.strip_prefix("\",")?;
    let is_whole = digest == format!("{:016x}", fnv1a(body.as_bytes())) && !body.contains('\n');
    is_whole.then(|| format!("{{{body}"))
}

fn fnv1a(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x100_0000_01b3;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_truncation_and_every_flipped_bit_is_seen() {
        let object = r#"{"schema":"x","text":"a\nb","n":12}"#;
        let sealed = seal(object);
        assert_eq!(unseal(sealed.as_bytes()).as_deref(), Some(object));
        for length in 0..sealed.len() {
            assert_eq!(unseal(&sealed.as_bytes()[..length]), None, "cut to {length}");
        }
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone().into_bytes();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(&flipped), None, "bit {bit}");
        }
        assert_eq!(unseal(format!("{sealed}{sealed}").as_bytes()), None, "two lines");
    }
}
