//! How much has to go so that what stays fits: into a size, or beside room that must be free. Pure.

use crate::backend::Space;
use crate::terminal::size::parse_size;

/// Room that must be free.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Free {
    /// A share of all there is, above 0 and below 1.
    Share(f64),
    Bytes(u64),
}

impl Free {
    /// Reads a percentage or a size.
    pub fn parse(text: &str) -> Result<Free, &'static str> {
        const WRONG: &str = "write a percentage such as 20%, or a size such as 100G";
        let Some(percent) = text.trim().strip_suffix('%') else {
            return match parse_size(text) {
                Ok(0) | Err(_) => Err(WRONG),
                Ok(bytes) => Ok(Free::Bytes(bytes)),
            };
        };
        let percent = percent.trim_end().parse::<f64>().ok();
        let percent = percent.filter(|percent| *percent > 0.0 && *percent < 100.0);
        percent.map(|percent| Free::Share(percent / 100.0)).ok_or(WRONG)
    }

    /// The same in bytes.
    fn bytes(self, space: Space) -> u64 {
        match self {
            Free::Share(share) => (space.total as f64 * share).ceil() as u64,
            Free::Bytes(bytes) => bytes,
        }
    }
}

/// What has to fit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Bytes that packs may take.
    pub size: Option<u64>,
    /// Bytes that must be free beside them.
    pub free: Option<Free>,
}

impl Limits {
    pub fn is_given(&self) -> bool {
        *self != Limits::default()
    }

    /// Bytes that must be given back, of packs that take `stored` now. None when it is not known how much is free.
    pub fn wanted(&self, stored: u64, space: Option<Space>) -> Option<u64> {
        let too_large = self.size.map_or(0, |most| stored.saturating_sub(most));
        let too_full = match self.free {
            None => 0,
            Some(free) => space.map(|space| free.bytes(space).saturating_sub(space.free))?,
        };
        Some(too_large.max(too_full))
    }
}

/// How many have to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    pub gone: usize,
    /// Bytes that are still too many when all of them are gone.
    pub too_many: u64,
}

/// The fewest that have to go until `wanted` bytes are given back: `freed` says how many are when 0, 1, 2 ... are gone. All of them when
/// that does not do.
pub fn fit(freed: &[u64], wanted: u64) -> Fit {
    let most = freed.last().copied().unwrap_or_default();
    let gone = freed.iter().position(|freed| *freed >= wanted);
    Fit { gone: gone.unwrap_or(freed.len().saturating_sub(1)), too_many: wanted.saturating_sub(most) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_go_than_have_to() {
        let freed = [5, 5, 20, 30];
        for (wanted, gone, too_many) in [(0, 0, 0), (5, 0, 0), (6, 2, 0), (20, 2, 0), (21, 3, 0), (31, 3, 1)]
        {
            assert_eq!(fit(&freed, wanted), Fit { gone, too_many }, "{wanted}");
        }
        // The first that gives nothing by itself does not stay when a later one has to go: the oldest go first.
        assert_eq!(fit(&[0, 0, 10], 1).gone, 2);
        assert_eq!(fit(&[7], 9), Fit { gone: 0, too_many: 2 });
    }

    #[test]
    fn what_is_wanted_is_the_larger_of_two_and_unknown_where_room_is() {
        let space = Some(Space { total: 1000, free: 150 });
        let wanted = |size, free, space| Limits { size, free }.wanted(700, space);
        assert_eq!(wanted(Some(500), None, None), Some(200));
        assert_eq!(wanted(Some(900), None, None), Some(0));
        assert_eq!(wanted(None, Some(Free::Share(0.2)), space), Some(50));
        assert_eq!(wanted(None, Some(Free::Bytes(100)), space), Some(0));
        assert_eq!(wanted(Some(690), Some(Free::Bytes(151)), space), Some(10));
        assert_eq!(wanted(Some(690), Some(Free::Bytes(1150)), space), Some(1000));
        assert_eq!(wanted(Some(1), Some(Free::Share(0.2)), None), None);
    }

    #[test]
    fn free_room_is_read_strictly() {
        assert_eq!(Free::parse("20%"), Ok(Free::Share(0.2)));
        assert_eq!(Free::parse("0.5 %"), Ok(Free::Share(0.005)));
        assert_eq!(Free::parse("100G"), Ok(Free::Bytes(100 << 30)));
        for wrong in ["", "%", "0", "0%", "100%", "-5%", "NaN%", "inf%", "much", "5%%", "-1G"] {
            assert!(Free::parse(wrong).is_err(), "{wrong}");
        }
    }
}
