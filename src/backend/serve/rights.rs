//! What a client of the server may do, and how much it may store.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::frame::{Request, What};
use crate::backend::{Backend, Error, Kind, Local};
use crate::locks::lock;

/// What is stored is counted anew after so long, since others store there too.
const COUNT_LEAST: Duration = Duration::from_secs(10);
/// And no sooner than so many times as long as counting takes.
const COUNT_SHARE: u32 = 20;

/// What somebody may do who has this server started. Whoever starts it says so, never who asks.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    /// The only folder; none: the one that is asked for.
    pub folder: Option<PathBuf>,
    /// What a backup adds, and nothing else.
    pub append_only: bool,
    pub read_only: bool,
    /// Bytes of all objects.
    pub quota: Option<u64>,
}

/// Why something is refused.
const READS_ONLY: &str = "the server lets this client read, and nothing else";
const ADDS_ONLY: &str =
    "the server takes additions only: what a backup adds, nothing that removes, replaces or lets go";

impl Rights {
    /// Whether this may be asked; why not.
    pub fn check(&self, request: &Request) -> Result<(), &'static str> {
        let is_reading = match request.what {
            What::Get | What::Range | What::List | What::Stat | What::Space | What::Exists => true,
            // To ask for the time takes a file.
            _ => false,
        };
        let is_adding = match request.what {
            What::Put => request.second == 0 && request.kind.is_some_and(is_added),
            What::Part | What::Time => true,
            What::Reserve => request.first != 0,
            // Nothing is ever concluded from copies, and old ones would pile up.
            What::Remove => request.kind == Some(Kind::Copies),
            _ => false,
        };
        match (self.read_only, self.append_only) {
            (true, _) if !is_reading => Err(READS_ONLY),
            (false, true) if !is_reading && !is_adding => Err(ADDS_ONLY),
            _ => Ok(()),
        }
    }
}

/// Whether a backup puts objects of this kind. The others are by whoever decides what goes: a forged removal record, note, fence or damage
/// record would have the next prune, which has all rights, remove for the forger what he may not remove himself.
fn is_added(kind: Kind) -> bool {
    match kind {
        Kind::Packs | Kind::Index | Kind::Snapshots | Kind::Confirmed | Kind::Sessions => true,
        Kind::Parity | Kind::Copies => true,
        Kind::Config | Kind::Keys | Kind::Fences | Kind::Removals | Kind::Notes | Kind::Damage => false,
    }
}

struct Count {
    /// What is stored, and what may come to it.
    used: u64,
    /// What is on its way, which a listing does not have.
    coming: u64,
    /// When it was counted, and for how long that is good.
    counted: Option<(Instant, Duration)>,
}

/// How much is stored, held to the quota.
pub struct Meter {
    quota: Option<u64>,
    count: Mutex<Count>,
}

impl Meter {
    pub fn new(quota: Option<u64>) -> Meter {
        Meter { quota, count: Mutex::new(Count { used: 0, coming: 0, counted: None }) }
    }

    /// Whether so much more may be stored; it counts from now on, and as on its way until `settle`.
    pub fn admit(&self, local: &Local, size: u64) -> Result<bool, Error> {
        let Some(quota) = self.quota else { return Ok(true) };
        let mut count = lock(&self.count);
        count.bring_up(local)?;
        let fits = count.used.checked_add(size).is_some_and(|sum| sum <= quota);
        if fits {
            count.used += size;
            count.coming += size;
        }
        Ok(fits)
    }

    /// What was admitted is stored, or will not be.
    pub fn settle(&self, size: u64) {
        if self.quota.is_some() {
            let mut count = lock(&self.count);
            count.coming = count.coming.saturating_sub(size);
        }
    }

    /// Something was removed.
    pub fn forget(&self) {
        lock(&self.count).counted = None;
    }

    /// Total and free room as the quota has it; zeros where that is not known.
    pub fn room(&self, local: &Local) -> Result<(u64, u64), Error> {
        let disk = local.space()?.map(|space| (space.total, space.free));
        let Some(quota) = self.quota else { return Ok(disk.unwrap_or_default()) };
        let mut count = lock(&self.count);
        count.bring_up(local)?;
        let (total, free) = disk.unwrap_or((quota, quota));
        Ok((total.min(quota), free.min(quota.saturating_sub(count.used))))
    }
}

impl Count {
    fn bring_up(&mut self, local: &Local) -> Result<(), Error> {
        if self.counted.is_some_and(|(at, good)| at.elapsed() < good) {
            return Ok(());
        }
        let begun = Instant::now();
        let mut sum = 0_u64;
        local.list_kinds(&Kind::ALL, &mut |_, entry| sum = sum.saturating_add(entry.size))?;
        self.used = sum.saturating_add(self.coming);
        self.counted = Some((begun, (begun.elapsed() * COUNT_SHARE).max(COUNT_LEAST)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(kind: Kind, over: bool) -> Request {
        Request::of(What::Put, kind, "", 1, u64::from(over))
    }

    #[test]
    fn who_may_add_adds_what_a_backup_does_and_who_may_read_reads() {
        let adds = Rights { append_only: true, ..Rights::default() };
        let reads = Rights { read_only: true, ..Rights::default() };
        let mut added = Vec::new();
        for kind in Kind::ALL {
            added.extend(adds.check(&put(kind, false)).is_ok().then_some(kind));
            assert!(adds.check(&put(kind, true)).is_err() && reads.check(&put(kind, false)).is_err());
            let remove = Request::of(What::Remove, kind, "", 0, 0);
            assert_eq!(adds.check(&remove).is_ok(), kind == Kind::Copies);
            assert!(reads.check(&remove).is_err());
            assert!(Rights::default().check(&put(kind, true)).is_ok());
        }
        use Kind::*;
        assert_eq!(added, [Packs, Index, Snapshots, Confirmed, Sessions, Parity, Copies]);
        for what in [What::Space, What::Exists, What::List, What::Get] {
            let request = Request::new(what, 0, 0);
            assert!(adds.check(&request).is_ok() && reads.check(&request).is_ok());
        }
        for what in [What::Create, What::Reserve, What::RemoveLeftovers] {
            let request = Request::new(what, 0, 0);
            assert!(adds.check(&request).is_err() && reads.check(&request).is_err(), "{what:?}");
        }
        assert!(adds.check(&Request::new(What::Reserve, 1, 0)).is_ok());
        // The stricter counts when both are said.
        let both = Rights { append_only: true, read_only: true, ..Rights::default() };
        assert!(
            both.check(&put(Packs, false)).is_err() && both.check(&Request::new(What::Space, 0, 0)).is_ok()
        );
    }

    #[test]
    fn what_is_on_its_way_counts_and_what_others_store_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let local = Local::new(folder.path());
        local.create().unwrap();
        let name = "ab".repeat(32);
        local.put(Kind::Packs, &name, &[1; 600]).unwrap();
        let meter = Meter::new(Some(1000));
        assert!(!meter.admit(&local, 401).unwrap());
        assert!(!meter.admit(&local, u64::MAX).unwrap());
        assert!(meter.admit(&local, 300).unwrap());
        assert!(!meter.admit(&local, 101).unwrap());
        assert_eq!(meter.room(&local).unwrap(), (1000, 100));
        // Counted anew, what is on its way is not forgotten.
        local.put(Kind::Index, &name, &[1; 50]).unwrap();
        meter.forget();
        assert_eq!(meter.room(&local).unwrap(), (1000, 50));
        meter.settle(300);
        local.remove(Kind::Packs, &name).unwrap();
        meter.forget();
        assert!(meter.admit(&local, 950).unwrap());
        assert!(Meter::new(None).admit(&local, u64::MAX).unwrap());
    }
}
