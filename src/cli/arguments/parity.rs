//! Options of `parity`.

use clap::{Args, Subcommand};

use super::values;

/// Recovery data that brings damaged packs back
///
/// It is stored beside the packs and costs about its rate in room. Bad sectors, flipped bits and files cut short come back bit for bit as
/// long as less is damaged of a pack than the rate says. It holds nothing that the packs do not, and does not replace a second copy on
/// another disk.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  copal parity add 5%\n  copal parity repair\n  copal parity status")]
pub struct Parity {
    #[command(subcommand)]
    pub command: ParityCommand,
}

/// What to do with recovery data.
#[derive(Clone, Debug, Subcommand)]
pub enum ParityCommand {
    Add(ParityAdd),
    /// Make none for new packs; what is there stays
    Off,
    /// Make none for new packs, and remove what is there
    Remove,
    /// Show how many packs have recovery data, and how much it is
    Status,
    Repair(ParityRepair),
}

/// Add recovery data to packs that have none or less, and to every new pack from now on
///
/// What was cut off goes on where it was when it is run again.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  copal parity add 5%")]
pub struct ParityAdd {
    /// How much, of each pack's length: 0.1% to 100%. Kept for new packs; without it, the one in force is meant
    #[arg(value_name = "RATE", value_parser = rate)]
    pub rate: Option<u16>,
}

/// Put damaged and missing packs back as they were
///
/// Without PACK: those that a check found damaged. A pack of which too much is lost is left as it is, and named.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  copal parity repair --read-data")]
pub struct ParityRepair {
    /// Only these: the beginning of a name is enough
    #[arg(value_name = "PACK", value_parser = values::text)]
    pub packs: Vec<String>,
    /// Read every pack and its recovery data, and make anew recovery data that is damaged
    #[arg(long, conflicts_with = "packs")]
    pub read_data: bool,
    /// Say what would come back and what not, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// A rate as thousandths.
fn rate(text: &str) -> Result<u16, &'static str> {
    const WRONG: &str =
        "write a percentage from 0.1% to 100%, such as 5%, with one digit behind the point at most";
    let (whole, tenth) = match text.strip_suffix('%').ok_or(WRONG)?.split_once('.') {
        Some((whole, tenth)) if tenth.len() == 1 => (whole, tenth),
        Some(_) => return Err(WRONG),
        None => (text.strip_suffix('%').unwrap_or_default(), "0"),
    };
    let digits = |text: &str| -> Result<u16, &'static str> {
        let is_number = (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { text.parse().map_err(|_| WRONG) } else { Err(WRONG) }
    };
    let per_mille = digits(whole)? * 10 + digits(tenth)?;
    if (1..=1000).contains(&per_mille) { Ok(per_mille) } else { Err(WRONG) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_strictly() {
        assert_eq!(rate("5%"), Ok(50));
        assert_eq!(rate("0.1%"), Ok(1));
        assert_eq!(rate("12.5%"), Ok(125));
        assert_eq!(rate("100%"), Ok(1000));
        for wrong in [
            "", "%", "5", "0%", "0.0%", "100.1%", "101%", "1000%", "-1%", "+1%", "1.25%", "1.%", ".5%",
            "5 %", "NaN%",
        ] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
