//! How much room forgetting gives back, and how many have to go until what stays fits.

use serde::Serialize;

use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::signals;
use crate::prune::{self, Freed, Outlook};
use crate::repository::Repository;
use crate::retention::Plan;
use crate::retention::fit::{Limits, fit};
use crate::terminal::size::show_size;

/// What prune gives back once the grace is over.
pub struct Room {
    /// Without forgetting anything more.
    before: Freed,
    after: Freed,
    stored: u64,
    /// What packs take then, about.
    kept: u64,
    limits: Limits,
    /// Bytes by which what stays does not fit.
    too_many: u64,
}

/// The same for programs.
#[derive(Serialize)]
pub struct Line {
    bytes_stored: u64,
    /// Exact, with what is unused already; named as in `prune`.
    bytes_freed_packs: u64,
    bytes_freed_blocks: u64,
    bytes_freed_at_most: u64,
    /// Of that, what is unused already.
    bytes_unused: u64,
    bytes_unused_at_most: u64,
    /// About what packs take when it is given back.
    bytes_kept: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_too_many: Option<u64>,
}

fn looked<'r>(
    context: &Context<'_>,
    repository: &'r Repository,
    steps: &[Vec<crate::model::Id>],
) -> Result<Outlook<'r>, Failure> {
    prune::outlook(repository, steps, &context.clock, signals::stop()).map_err(|error| failure(&error))
}

/// What carrying out the plan frees.
pub fn look(context: &Context<'_>, repository: &Repository, plan: &Plan) -> Result<Room, Failure> {
    let outlook = looked(context, repository, &[plan.oldest_first()])?;
    let freed = |gone| outlook.freed(gone).map_err(|error| failure(&error));
    let (before, after, stored) = (freed(0)?, freed(1)?, outlook.stored());
    let kept = stored.saturating_sub(outlook.freed_by_step()[1]);
    Ok(Room { before, after, stored, kept, limits: Limits::default(), too_many: 0 })
}

/// Lets stay what need not go.
pub fn limit(
    context: &Context<'_>,
    repository: &Repository,
    plan: &mut Plan,
    limits: &Limits,
) -> Result<Room, Failure> {
    let space = match limits.free {
        Some(_) => repository.space().map_err(|error| failure(&error))?,
        None => None,
    };
    let names = plan.oldest_first();
    if limits.wanted(0, space).is_none() {
        let message =
            format!("{} does not tell how much room is free; nothing is forgotten", repository.location());
        return Err(Failure::new(Code::Refused, message)
            .with_hint("Say how large it may become instead: --keep-size SIZE"));
    }
    let steps: Vec<_> = names.iter().map(|name| vec![*name]).collect();
    let outlook = looked(context, repository, &steps)?;
    let stored = outlook.stored();
    let by_step = outlook.freed_by_step();
    let fit = fit(&by_step, limits.wanted(stored, space).unwrap_or_default());
    plan.keep_others(&names[..fit.gone]);
    let freed = |gone| outlook.freed(gone).map_err(|error| failure(&error));
    let (before, after, kept) = (freed(0)?, freed(fit.gone)?, stored.saturating_sub(by_step[fit.gone]));
    Ok(Room { before, after, stored, kept, limits: *limits, too_many: fit.too_many })
}

/// Exact bytes and a bound, in words.
fn show(freed: &Freed) -> String {
    match freed.at_most {
        0 => show_size(freed.exact()),
        most => {
            format!(
                "{}, and at most {} more in blocks partly in use",
                show_size(freed.exact()),
                show_size(most)
            )
        }
    }
}

impl Room {
    /// For programs.
    pub fn line(&self) -> Line {
        Line {
            bytes_stored: self.stored,
            bytes_freed_packs: self.after.packs,
            bytes_freed_blocks: self.after.blocks,
            bytes_freed_at_most: self.after.at_most,
            bytes_unused: self.before.exact(),
            bytes_unused_at_most: self.before.at_most,
            bytes_kept: self.kept,
            bytes_too_many: self.limits.is_given().then_some(self.too_many),
        }
    }

    /// For a person, each line ended.
    pub fn text(&self) -> String {
        let days = prune::GRACE_SECONDS / 86_400;
        let kept = show_size(self.kept);
        format!(
            "prune then gives back {}\na prune without that gives back {}\nwhat stays takes about {kept}; forgotten snapshots keep their room for {days} days (prune --grace)\n",
            show(&self.after),
            show(&self.before),
        )
    }

    /// What is to be said when it does not fit.
    pub fn too_many(&self) -> Option<String> {
        (self.too_many > 0).then(|| {
            format!(
                "it does not fit: {} more would have to go, and what stays is kept by rules or protected",
                show_size(self.too_many)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::backend::{Backend, Entry, Error, Kind, Memory, Space};
    use crate::backup;
    use crate::cli::arguments::Global;
    use crate::crypto::MasterKey;
    use crate::crypto::password::Cost;
    use crate::format::slot::{Description, Unlock};
    use crate::model::clock::SystemClock;
    use crate::model::{Cutter, Time};
    use crate::progress::Silent;
    use crate::repository::{self, Creation};
    use crate::retention::fit::Free;
    use crate::retention::policy::Policy;
    use crate::retention::{self, Grouping, calendar::Calendar};

    /// Storage that says how much room it has.
    #[derive(Clone)]
    struct Disk(Memory, Option<Space>);

    impl Backend for Disk {
        fn location(&self) -> String {
            "the disk".to_owned()
        }
        fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
            self.0.put(kind, name, bytes)
        }
        fn get(&self, kind: Kind, name: &str) -> Result<Vec<u8>, Error> {
            self.0.get(kind, name)
        }
        fn get_range(&self, kind: Kind, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
            self.0.get_range(kind, name, offset, length)
        }
        fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
            self.0.list(kind, each)
        }
        fn stat(&self, kind: Kind, name: &str) -> Result<u64, Error> {
            self.0.stat(kind, name)
        }
        fn remove(&self, kind: Kind, name: &str) -> Result<(), Error> {
            self.0.remove(kind, name)
        }
        fn time(&self) -> Result<Time, Error> {
            self.0.time()
        }
        fn space(&self) -> Result<Option<Space>, Error> {
            Ok(self.1)
        }
        fn create(&self) -> Result<(), Error> {
            self.0.create()
        }
    }

    /// Five snapshots with about 100 KB each of their own.
    fn saved(key: &MasterKey) -> Memory {
        let memory = Memory::new();
        let description = Description::default();
        let creation = Creation {
            unlock: Unlock::KeyFile(key),
            cost: Cost::default(),
            cutter: Cutter::default(),
            pack_target: 1 << 20,
            description,
        };
        repository::create(&memory, &creation, &SystemClock).unwrap();
        let source = tempfile::tempdir().unwrap();
        let opened = repository::open(Box::new(memory.clone()), Unlock::KeyFile(key), None).unwrap();
        for day in 0..5 {
            let mut noise = vec![0; 100_000];
            blake3::Hasher::new().update(&[day]).finalize_xof().fill(&mut noise);
            std::fs::write(source.path().join("file"), noise).unwrap();
            let options = backup::Options {
                sources: vec![source.path().as_os_str().as_bytes().to_vec()],
                time: Some(Time::new(1_700_000_000 + 86_400 * i64::from(day), 0)),
                ..backup::Options::default()
            };
            backup::backup(&opened, &options, &SystemClock, &Silent, &AtomicBool::new(false)).unwrap();
        }
        memory
    }

    #[test]
    fn as_many_go_as_the_disk_wants_and_none_where_it_does_not_say() {
        let key = MasterKey::generate().unwrap();
        let memory = saved(&key);
        let context = Context::new(Global::default(), &|_| None);
        let limited = |space, free| {
            let backend = Box::new(Disk(memory.clone(), space));
            let repository = repository::open(backend, Unlock::KeyFile(&key), None).unwrap();
            let all = repository.snapshots().unwrap().confirmed;
            let policy = Policy {
                counts: [(retention::calendar::Period::Each, retention::policy::Count::Most(1))].into(),
                ..Policy::default()
            };
            let now = repository.storage_time().unwrap();
            let mut plan = retention::plan(&all, &policy, Grouping::default(), &Calendar::Own, now);
            let limits = Limits { size: None, free: Some(free) };
            limit(&context, &repository, &mut plan, &limits)
                .map(|room| (plan.forgotten().count(), room.too_many, room.line().bytes_stored))
        };
        let space = |free| Some(Space { total: 10_000_000, free });
        let tenth = Free::Share(0.1);
        assert_eq!(limited(space(1_000_000), tenth).unwrap().0, 0);
        assert_eq!(limited(space(999_999), tenth).unwrap().0, 1);
        assert_eq!(limited(space(750_000), tenth).unwrap().0, 3);
        assert_eq!(limited(space(750_000), Free::Bytes(800_000)).unwrap().0, 1);
        let (gone, too_many, stored) = limited(space(0), tenth).unwrap();
        assert_eq!(gone, 4);
        assert!(too_many > 1_000_000 - stored && too_many < 600_000, "{too_many} {stored}");
        let refused = limited(None, tenth).unwrap_err();
        assert_eq!(refused.code, Code::Refused);
        assert!(refused.message.contains("the disk does not tell"), "{refused}");
    }
}
