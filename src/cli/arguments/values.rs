//! Values of options: how a text becomes a size, a duration, a compression level, a part to check.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PathBufValueParser, PossibleValuesParser, TypedValueParser};

use crate::backup::commands::CommandSource;
use crate::backup::exclude::IfPresent;
use crate::backup::presets;
use crate::compress::Level;
use crate::repository::store::MEMORY_LEAST;
use crate::retention::policy::Tags;
use crate::terminal::size::{ValueError, parse_duration, parse_size, show_size};

/// Which part of the data `check` reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Subset {
    /// The `number`th of `of` equal parts, from 1.
    Part { number: u32, of: u32 },
    /// So many percent, chosen at random.
    Percent(f64),
    /// So many bytes, chosen at random.
    Size(u64),
}

/// Any bytes but none.
pub fn bytes() -> impl TypedValueParser<Value = OsString> {
    PathBufValueParser::new().map(PathBuf::into_os_string)
}

/// A size in bytes.
pub fn size(text: &str) -> Result<u64, ValueError> {
    parse_size(text)
}

/// A size that is not 0.
pub fn positive_size(text: &str) -> Result<u64, String> {
    match parse_size(text) {
        Ok(0) => Err("must not be 0".into()),
        other => other.map_err(|error| error.to_string()),
    }
}

/// How much memory may be taken.
pub fn memory(text: &str) -> Result<u64, String> {
    match parse_size(text) {
        Ok(size) if size < MEMORY_LEAST => Err(format!("at least {} are needed", show_size(MEMORY_LEAST))),
        other => other.map_err(|error| error.to_string()),
    }
}

/// A duration.
pub fn duration(text: &str) -> Result<Duration, ValueError> {
    parse_duration(text)
}

/// A compression level.
pub fn compression(text: &str) -> Result<Level, &'static str> {
    Level::parse(text).ok_or("write off, fast, auto, max, or a zstd level from 1 to 22")
}

/// The name of a list of patterns for home folders.
pub fn preset() -> impl TypedValueParser<Value = String> {
    PossibleValuesParser::new(presets::names())
}

/// The code of a guard's alarm.
pub fn alarm() -> impl TypedValueParser<Value = String> {
    PossibleValuesParser::new(crate::guards::CODES)
}

/// A text that is not empty, nor only white space.
pub fn text(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() { Err("must not be empty") } else { Ok(text.to_owned()) }
}

/// Tags with commas between.
pub fn tags(text: &str) -> Result<Tags, std::convert::Infallible> {
    Ok(Tags::parse(text))
}

/// A marker file.
pub fn if_present() -> impl TypedValueParser<Value = IfPresent> {
    use std::os::unix::ffi::OsStrExt;
    PathBufValueParser::new().try_map(|value| IfPresent::parse(value.as_os_str().as_bytes()))
}

/// A command and the name of the file for its output.
pub fn command() -> impl TypedValueParser<Value = CommandSource> {
    use std::os::unix::ffi::OsStrExt;
    PathBufValueParser::new().try_map(|value| CommandSource::parse(value.as_os_str().as_bytes()))
}

/// `n/t`, `x%` or a size.
pub fn subset(text: &str) -> Result<Subset, &'static str> {
    const WRONG: &str = "write a part such as 2/5, a percentage such as 2.5%, or a size such as 50G";
    if let Some((number, of)) = text.split_once('/') {
        let part = |digits: &str| digits.parse::<u32>().ok().filter(|value| *value > 0);
        let (number, of) = part(number).zip(part(of)).ok_or(WRONG)?;
        return if number <= of {
            Ok(Subset::Part { number, of })
        } else {
            Err("the first number must not be greater than the second")
        };
    }
    if let Some(percent) = text.strip_suffix('%') {
        let percent = percent.trim().parse::<f64>().ok().filter(|value| *value > 0.0 && *value <= 100.0);
        return percent.map(Subset::Percent).ok_or("a percentage is above 0 and up to 100");
    }
    positive_size(text).map(Subset::Size).map_err(|_| WRONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_are_read_strictly() {
        assert_eq!(subset("2/5"), Ok(Subset::Part { number: 2, of: 5 }));
        assert_eq!(subset("2.5%"), Ok(Subset::Percent(2.5)));
        assert_eq!(subset("50G"), Ok(Subset::Size(50 << 30)));
        for wrong in ["", "0/5", "6/5", "1/0", "0%", "101%", "NaN%", "x", "0", "-1/5", "1/2/3"] {
            assert!(subset(wrong).is_err(), "{wrong}");
        }
    }
}
