//! Sizes and durations: to text for a person (`1.5 GiB`, `3d`), and from what a person types (`500G`, `1.5MiB`, `5m`).

use std::time::Duration;

/// The units of sizes from the second one on.
const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Why a text is no size or duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("not a size; write for example 500, 64K, 1.5MiB, 500G (K = KiB = 1024, kB = 1000)")]
    Size,
    #[error("not a duration; write for example 30s, 5m, 1h30m, 3d")]
    Duration,
    #[error("too large")]
    TooLarge,
}

/// A size in IEC units with three digits or so: `0 B`, `1023 B`, `1.50 KiB`, `12.3 MiB`, `123 GiB`.
pub fn show_size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = (bytes.ilog2() / 10) as usize;
    let mut value = bytes as f64 / (1u64 << (10 * unit)) as f64;
    if value >= 1023.5 && unit < UNITS.len() {
        unit += 1;
        value /= 1024.0;
    }
    let digits = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", UNITS[unit - 1])
}

/// How many there are: `1 file`, `2 files`, `3 entries`, `4 days`.
pub fn show_count(number: u64, one: &str) -> String {
    match (number, one.strip_suffix('y')) {
        (1, _) => format!("1 {one}"),
        (_, Some(stem)) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{number} {stem}ies"),
        (_, _) => format!("{number} {one}s"),
    }
}

/// The form of a word that goes with that number: `agree(1, "was", "were")`.
pub fn agree<'w>(number: u64, one: &'w str, several: &'w str) -> &'w str {
    if number == 1 { one } else { several }
}

/// Reads a size in bytes. `K`, `M`, `G`, `T`, `P`, `E` (in either case) and `KiB` ... are powers of 1024, `kB`, `MB` ... of 1000.
pub fn parse_size(text: &str) -> Result<u64, ValueError> {
    let text = text.trim();
    let number = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = text[number.len()..].to_ascii_lowercase();
    let power = |letter: &str| "kmgtpe".find(letter).map(|at| at as u32 + 1).filter(|_| letter.len() == 1);
    let factor = match unit.as_str() {
        "" | "b" => Some(1),
        unit => match (
            power(unit),
            unit.strip_suffix("ib").and_then(power),
            unit.strip_suffix('b').and_then(power),
        ) {
            (Some(power), _, _) | (_, Some(power), _) => Some(1024u128.pow(power)),
            (_, _, Some(power)) => Some(1000u128.pow(power)),
            _ => None,
        },
    };
    let factor = factor.ok_or(ValueError::Size)?;
    let number = number.trim_end();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 15 || (factor == 1 && number.contains('.')) {
        return Err(ValueError::Size);
    }
    let whole: u128 = whole.parse().map_err(|_| ValueError::TooLarge)?;
    let part: u128 = fraction.parse().map_err(|_| ValueError::Size)?;
    let bytes = whole.checked_mul(factor).ok_or(ValueError::TooLarge)?
        + part * factor / 10u128.pow(fraction.len() as u32);
    u64::try_from(bytes).map_err(|_| ValueError::TooLarge)
}

/// The units of durations, largest first, in milliseconds.
const SPANS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A duration as `parse_duration` reads it back: `250ms`, `30s`, `1h30m`, `3d` (weeks are written as days).
pub fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".into();
    }
    let mut out = String::new();
    for (unit, length) in &SPANS[1..] {
        if rest >= *length {
            out.push_str(&format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    out
}

/// Reads a duration: whole numbers with the units `w`, `d`, `h`, `m` (minutes), `s`, `ms`, largest first.
pub fn parse_duration(text: &str) -> Result<Duration, ValueError> {
    let mut rest = text.trim();
    let mut total = 0u64;
    let mut next_span = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = &rest[digits..digits + letters];
        let at = SPANS.iter().position(|(name, _)| *name == unit).filter(|at| *at >= next_span && digits > 0);
        let at = at.ok_or(ValueError::Duration)?;
        let count: u64 = rest[..digits].parse().map_err(|_| ValueError::TooLarge)?;
        let span = count.checked_mul(SPANS[at].1).ok_or(ValueError::TooLarge)?;
        total = total.checked_add(span).ok_or(ValueError::TooLarge)?;
        next_span = at + 1;
        rest = &rest[digits + letters..];
    }
    if next_span == 0 { Err(ValueError::Duration) } else { Ok(Duration::from_millis(total)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_and_their_words_agree() {
        for (number, expected) in
            [(0, "0 entries were, 0 files"), (1, "1 entry was, 1 file"), (2, "2 entries were, 2 files")]
        {
            let verb = agree(number, "was", "were");
            assert_eq!(
                format!("{} {verb}, {}", show_count(number, "entry"), show_count(number, "file")),
                expected
            );
        }
    }

    #[test]
    fn a_y_behind_a_vowel_stays_one() {
        for (one, expected) in [("day", "7 days"), ("key", "7 keys"), ("copy", "7 copies")] {
            assert_eq!(show_count(7, one), expected);
        }
    }

    #[test]
    fn sizes_are_shown() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1536, "1.50 KiB"),
            (10_235, "10.0 KiB"),
            (1_048_575, "1.00 MiB"),
            (12_900_000, "12.3 MiB"),
            (1 << 40, "1.00 TiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(show_size(bytes), expected);
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, expected) in [
            ("0", 0),
            ("500", 500),
            ("500B", 500),
            ("64K", 64 << 10),
            ("64 k", 64 << 10),
            ("1.5MiB", 3 << 19),
            ("500G", 500 << 30),
            ("2gib", 2 << 30),
            ("10GB", 10_000_000_000),
            ("1.25 kB", 1250),
            ("15E", 15 << 60),
        ] {
            assert_eq!(parse_size(text), Ok(expected), "{text}");
        }
        for text in [
            "", "K", "-1", "1.5", "1,5G", "1..5G", "1.G", ".5G", "5X", "5ib", "5KG", "0x10", "1e3", "5 5G",
            "NaN", "é",
        ] {
            assert_eq!(parse_size(text), Err(ValueError::Size), "{text}");
        }
        for text in ["16E", "99999999999999999999", "9".repeat(60).as_str()] {
            assert_eq!(parse_size(text), Err(ValueError::TooLarge), "{text}");
        }
    }

    #[test]
    fn durations_are_read_and_shown() {
        for (text, seconds, back) in [
            ("30s", 30, "30s"),
            ("5m", 300, "5m"),
            ("90m", 5400, "1h30m"),
            ("3d", 259_200, "3d"),
            ("1w", 604_800, "7d"),
            ("0s", 0, "0s"),
        ] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration, Duration::from_secs(seconds));
            assert_eq!(show_duration(duration), back);
        }
        for text in ["", "5", "m", "5x", "5m1h", "5m5m", "-5m", "1.5h", "5 m", "1h é"] {
            assert_eq!(parse_duration(text), Err(ValueError::Duration), "{text}");
        }
        assert_eq!(parse_duration("99999999999999w"), Err(ValueError::TooLarge));
    }

    proptest! {
        #[test]
        fn durations_come_back(millis in 0u64..10_000_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_a_value_or_an_error(text in ".{0,12}") {
            let _ = (parse_size(&text), parse_duration(&text));
        }
    }
}
