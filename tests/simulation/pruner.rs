//! Who forgets snapshots and brings them back, and who gives back the room: the shipped code.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use copal::backend::Kind;
use copal::compress::Level;
use copal::format::note::Verb;
use copal::prune::{self, Options, Unused};
use copal::repository::Error;
use copal::retention::undelete::undelete;

use super::actor::Actor;
use super::agent::HOUR;
use super::handle::Context;
use super::mender;

/// Forgets snapshots by notes, and brings some back.
pub struct Retirer;

impl Retirer {
    fn forget(&self, context: &Context) -> Result<(), Error> {
        let repository = context.open(None)?;
        let mut all = repository.snapshots()?;
        let (number, name) = {
            let mut world = context.simulation.world();
            let kept: Vec<usize> =
                (0..world.saved.len()).filter(|number| !world.saved[*number].forgotten).collect();
            if kept.len() < 2 {
                return Ok(());
            }
            let number = *context.random().pick(&kept[..kept.len() - 1]);
            // From before the note on: it may count at any moment then.
            world.saved[number].forgotten = true;
            (number, world.saved[number].name)
        };
        context.note("forgets", number as u64 + 1);
        repository.put_note(&mut all.notes, &name, Verb::Forget, &[], repository.storage_time()?)?;
        context.simulation.world().count("forgotten");
        Ok(())
    }

    fn bring_back(&self, context: &Context) -> Result<(), Error> {
        let repository = context.open(None)?;
        let mut all = repository.snapshots()?;
        let Some(named) = all.forgotten.last().cloned() else { return Ok(()) };
        let client = repository.client()?;
        let done = undelete(&repository, &context.clock, client, b"host", &mut all.notes, &[named.name])?;
        let now = context.simulation.lock().now;
        let mut world = context.simulation.world();
        match done.into_iter().next() {
            Some(Ok(())) => {
                if let Some(saved) = world.saved.iter_mut().find(|saved| saved.name == named.name) {
                    // The note that says so is perhaps not listed yet.
                    (saved.forgotten, saved.at) = (false, now);
                }
                world.count("brought back");
                drop(world);
                context.note("brought back", 0);
                Ok(())
            }
            Some(Err(Error::Refused(_))) => {
                world.count("came too late to be brought back");
                Ok(())
            }
            Some(Err(error)) => Err(error),
            None => Ok(()),
        }
    }
}

impl Actor for Retirer {
    fn name(&self) -> &'static str {
        "retirer"
    }

    fn round(&mut self, context: &Context) -> Result<(), Error> {
        context.pause()?;
        if context.random().percent(30) { self.bring_back(context) } else { self.forget(context) }
    }
}

/// Gives back the room of what nothing needs.
#[derive(Default)]
pub struct Pruner {
    /// Kinds of objects of which it sees none: a guard that is not there.
    pub blind: Vec<Kind>,
}

impl Actor for Pruner {
    fn name(&self) -> &'static str {
        "pruner"
    }

    fn blind(&self) -> &[Kind] {
        &self.blind
    }

    fn round(&mut self, context: &Context) -> Result<(), Error> {
        let mut random = context.round_random();
        let cache: PathBuf = context.folder.join("cache");
        if random.percent(20) {
            let _ = std::fs::remove_dir_all(&cache);
        }
        let repository = context.open(Some(&cache))?;
        let options = Options {
            grace_seconds: *random.pick(&[
                0,
                0,
                3 * HOUR / super::agent::SECOND,
                24 * HOUR / super::agent::SECOND,
            ]),
            max_unused: *random.pick(&[Unused::Bytes(0), Unused::Bytes(0), Unused::Share(0.3)]),
            repack_small: random.percent(30),
            pieces: *random.pick(&[2, 3, 16]),
            level: Level::FAST,
            compressors: 1,
            uploaders: 1,
            memory: 32 << 20,
            host: b"pruner".to_vec(),
            ..Options::default()
        };
        let hears = context.hears();
        let done = prune::prune(&repository, &options, &context.clock, &hears, &AtomicBool::new(false));
        let lags = context.simulation.lock().config.lag > 0;
        let mut world = context.simulation.world();
        match done {
            Ok(outcome) => {
                world.count("prunings");
                world.add("packs removed", outcome.packs_removed);
                world.add("snapshots removed", outcome.snapshots_removed);
                if outcome.bytes_rewritten > 0 {
                    world.count("prunings that wrote anew");
                }
                if outcome.packs_waiting > 0 {
                    world.count("prunings that left marks");
                }
                Ok(())
            }
            // A snapshot is listed, and the index object of what it needs not yet; or a spoiled pack was looked at before it had an index
            // object, or one is gone that only a repair puts back.
            Err(error) if error.is_damage() && (lags || mender::has_rotted(&world.counts)) => {
                world.count("prunings that saw too little");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
