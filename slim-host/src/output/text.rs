//! Numbers as people read them. One style everywhere: decimal units as `docker images` has them, thousands with
//! commas, durations with the two units that matter.

use std::time::Duration;

/// `1214` as `1,214`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes with a decimal unit and one digit behind the point: `187.3 MB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().si().to_string()
}

/// A duration in milliseconds, seconds (one digit behind the point unless whole), minutes or hours.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.is_zero() => "0 s".into(),
        0 => format!("{} ms", duration.as_millis().max(1)),
        1..60 if duration.subsec_millis() < 100 => format!("{seconds} s"),
        1..60 => format!("{seconds}.{} s", duration.subsec_millis() / 100),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600.. => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// `text` cut in its middle to at most `width` characters.
#[must_use]
pub fn elide(text: &str, width: usize) -> String {
    const GAP: &str = "...";
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(GAP.len());
    let head: String = text.chars().take(kept / 2).collect();
    let tail: String = text.chars().skip(length - (kept - kept / 2)).collect();
    head + GAP + &tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (123_456, "123,456"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(count(number), text);
        }
        for (bytes, text) in [(0, "0 B"), (999, "999 B"), (12_400_000, "12.4 MB"), (1_000_000_000, "1.0 GB")]
        {
            assert_eq!(size(bytes), text);
        }
        for (millis, text) in [
            (0, "0 s"),
            (7, "7 ms"),
            (1000, "1 s"),
            (12_340, "12.3 s"),
            (59_999, "59.9 s"),
            (61_000, "1 min 1 s"),
            (7_500_000, "2 h 5 min"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(duration(Duration::from_nanos(5)), "1 ms");
    }

    #[test]
    fn long_texts_lose_their_middle() {
        assert_eq!(elide("/usr/share/doc", 14), "/usr/share/doc");
        assert_eq!(elide("/usr/share/doc", 11), "/usr.../doc");
        assert_eq!(elide("ääääää", 5), "ä...ä");
        assert_eq!(elide("abcdef", 2), "...");
    }
}
