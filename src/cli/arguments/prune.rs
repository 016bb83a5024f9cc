//! Options of `prune`.

use std::time::Duration;

use clap::Args;

use super::values::{compression, duration, size};
use crate::compress::Level;
use crate::prune::Unused;
use crate::terminal::size::parse_size;

/// Give back the room of what no snapshot needs.
///
/// Nobody is locked out. While others are at work, packs are only marked; a later run removes them. A forgotten snapshot and what only it
/// needs stay for seven days (`--grace`), in which `copal undelete` brings it back. A run that was cut off is simply run again.
#[derive(Clone, Debug, Args)]
pub struct Prune {
    /// Say what would be done, and do nothing.
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// How long forgotten snapshots stay, such as 7d or 12h; 0 for not at all: then nothing brings them back.
    #[arg(long, value_name = "DURATION", value_parser = grace, default_value = "7d")]
    pub grace: Duration,
    /// Unused room that may stay in packs that are partly in use: 5%, 2G, or unlimited. Less gives more back, and writes more anew.
    #[arg(long, value_name = "LIMIT", value_parser = unused, default_value = "5%")]
    pub max_unused: Unused,
    /// Write at most packs of that size anew.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_repack_size: Option<u64>,
    /// Put small packs together too.
    #[arg(long)]
    pub repack_small: bool,
    /// Compression of what is written anew: off, fast, auto, max, or a zstd level. Blocks of which all is needed stay as they are.
    #[arg(long, value_name = "LEVEL", value_parser = compression, default_value = "auto")]
    pub compression: Level,
}

/// A duration, or 0.
fn grace(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        _ => duration(text).map_err(|error| error.to_string()),
    }
}

/// How much unused room may stay.
fn unused(text: &str) -> Result<Unused, &'static str> {
    const WRONG: &str = "write a percentage such as 5%, a size such as 2G, or unlimited";
    if text == "unlimited" {
        return Ok(Unused::Unlimited);
    }
    match text.strip_suffix('%') {
        Some(percent) => {
            let percent = percent.trim().parse::<f64>().ok().filter(|value| (0.0..100.0).contains(value));
            percent.map(|percent| Unused::Share(percent / 100.0)).ok_or(WRONG)
        }
        None => parse_size(text).map(Unused::Bytes).map_err(|_| WRONG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_unused_room_are_read_strictly() {
        assert_eq!(unused("5%"), Ok(Unused::Share(0.05)));
        assert_eq!(unused("0"), Ok(Unused::Bytes(0)));
        assert_eq!(unused("2G"), Ok(Unused::Bytes(2 << 30)));
        assert_eq!(unused("unlimited"), Ok(Unused::Unlimited));
        for wrong in ["", "%", "100%", "-1%", "NaN%", "much"] {
            assert!(unused(wrong).is_err(), "{wrong}");
        }
        assert_eq!(grace("0"), Ok(Duration::ZERO));
        assert!(grace("soon").is_err());
    }
}
