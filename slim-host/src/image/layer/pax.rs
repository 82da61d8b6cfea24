//! PAX extended header records (POSIX.1-2001 pax, "Extended Header"), byte exact.
//!
//! Keys and values are bytes: attribute names and values, paths and link targets come from a hostile image and
//! need not be UTF-8. Readers delimit values by length, so newlines and NULs in attribute values survive.
//! The crate's own `append_pax_extensions` wants `&str` keys, hence this encoder.

use crate::rootfs::Timestamp;

/// Key prefix of extended attributes, as GNU tar, libarchive and Go's archive/tar write and read them.
pub(super) const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// The largest extended header that Go's archive/tar takes (`maxSpecialFileSize`, since the fix of
/// CVE-2022-2879 in Go 1.18.7 and 1.19.2).
pub(super) const MAX_BYTES: usize = 1 << 20;

/// Appends one record `LENGTH KEY=VALUE\n` whose length counts itself.
pub(super) fn push_record(out: &mut Vec<u8>, key: &[&[u8]], value: &[u8]) {
    let key_len: usize = key.iter().map(|part| part.len()).sum();
    // The blank, the equals sign and the newline.
    let rest = key_len + value.len() + 3;
    let mut len = rest + decimal_digits(rest);
    // One more digit can carry the sum over a power of ten once, never twice.
    if rest + decimal_digits(len) != len {
        len = rest + decimal_digits(len);
    }
    out.reserve(len);
    out.extend_from_slice(len.to_string().as_bytes());
    out.push(b' ');
    key.iter().for_each(|part| out.extend_from_slice(part));
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// `time` as a PAX decimal: seconds with as many fraction digits as needed, `-` for times before 1970.
///
/// -0.5 s is stored as `-1 s + 500,000,000 ns`; PAX wants the signed decimal `-0.5`.
pub(super) fn decimal_time(time: Timestamp) -> String {
    let nanos = i128::from(time.secs) * 1_000_000_000 + i128::from(time.nanos);
    let sign = if nanos < 0 { "-" } else { "" };
    let (secs, fraction) = (nanos.unsigned_abs() / 1_000_000_000, nanos.unsigned_abs() % 1_000_000_000);
    if fraction == 0 {
        return format!("{sign}{secs}");
    }
    let text = format!("{sign}{secs}.{fraction:09}");
    text.trim_end_matches('0').to_owned()
}

fn decimal_digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &[u8]) -> String {
        let mut out = Vec::new();
        push_record(&mut out, &[key.as_bytes()], value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lengths_count_themselves() {
        assert_eq!(record("a", b"b"), "6 a=b\n");
        // Around the change from one length digit to two, and from two to three.
        assert_eq!(record("a", b"bcde"), "9 a=bcde\n");
        assert_eq!(record("a", b"bcdef"), "11 a=bcdef\n");
        for size in 0..2000 {
            let text = record("key", "v".repeat(size).as_bytes());
            let (len, _) = text.split_once(' ').unwrap();
            assert_eq!(len.parse::<usize>().unwrap(), text.len(), "value of {size} bytes");
        }
    }

    #[test]
    fn times_are_signed_decimals() {
        for (secs, nanos, text) in [
            (0, 0, "0"),
            (1, 500_000_000, "1.5"),
            (1, 1, "1.000000001"),
            (1 << 33, 0, "8589934592"),
            (-1, 0, "-1"),
            (-1, 500_000_000, "-0.5"),
            (-2, 999_999_999, "-1.000000001"),
            (i64::MIN, 0, "-9223372036854775808"),
            (i64::MAX, 999_999_999, "9223372036854775807.999999999"),
        ] {
            assert_eq!(decimal_time(Timestamp { secs, nanos }), text);
        }
    }
}
