//! Who reads a snapshot that was saved, while others work: by trees and chunks, or as a restore does.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use copal::progress::Silent;
use copal::repository::snapshots::Named;
use copal::repository::{Error, Repository};
use copal::restore::{self, Overwrite};

use super::actor::Actor;
use super::handle::Context;
use super::verify;
use super::world::{self, Failure, Saved};

/// Restores fetch in a pool that all runs of this program share, and that has one thread: one restore at a time.
static POOL: Mutex<()> = Mutex::new(());

/// At most one of a run may restore.
#[derive(Default)]
pub struct Reader {
    restores: bool,
    repository: Option<Repository>,
}

/// Restores a snapshot into a folder in memory, and compares.
fn restored(repository: &Repository, named: &Named, saved: &Saved, target: &Path) -> Result<(), Error> {
    let options = restore::Options {
        target: target.to_path_buf(),
        overwrite: Overwrite::Always,
        ..restore::Options::default()
    };
    let _turn = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    let done = restore::restore(repository, named, &options, &Silent, &AtomicBool::new(false))?;
    if done.damaged > 0 {
        return Err(Error::Refused(format!("{} files are damaged", done.damaged)));
    }
    for (source, files) in saved.model.iter() {
        for (name, number) in files {
            let path = target.join(source.strip_prefix("/").unwrap()).join(name);
            if std::fs::read(&path).ok() != Some(world::content(*number)) {
                return Err(Error::Refused(format!("{name} is not as it was")));
            }
        }
    }
    Ok(())
}

impl Reader {
    pub fn who_restores() -> Reader {
        Reader { restores: true, repository: None }
    }

    fn read(&mut self, context: &Context, saved: &Saved) -> Result<(), Error> {
        let repository = match self.repository.take() {
            Some(repository) if context.random().percent(60) => repository,
            _ => {
                let _ = std::fs::remove_dir_all(context.folder.join("killed"));
                context.open(Some(&context.folder.join("cache")))?
            }
        };
        repository.sync()?;
        let all = repository.snapshots()?;
        let named = all.confirmed.iter().find(|named| named.name == saved.name);
        let named = named.ok_or_else(|| Error::Refused("it is not there".to_owned()))?;
        if self.restores {
            let target = context.folder.join("restored");
            let result = restored(&repository, named, saved, &target);
            let _ = std::fs::remove_dir_all(&target);
            result?;
        } else {
            verify::read(&repository, named.snapshot.root, &saved.model, &mut Default::default())?;
        }
        self.repository = Some(repository);
        Ok(())
    }
}

impl Actor for Reader {
    fn name(&self) -> &'static str {
        "reader"
    }

    fn round(&mut self, context: &Context) -> Result<(), Error> {
        let (now, lag) = {
            let state = context.simulation.lock();
            (state.now, state.config.lag)
        };
        let settled: Vec<Saved> = {
            let world = context.simulation.world();
            // What was just saved is perhaps not listed yet.
            world.saved.iter().filter(|saved| !saved.forgotten && saved.at + lag < now).cloned().collect()
        };
        if settled.is_empty() {
            return Ok(());
        }
        let saved = context.random().pick(&settled).clone();
        let result = self.read(context, &saved);
        let mut world = context.simulation.world();
        match result {
            Ok(()) => world.count(if self.restores { "restored" } else { "read" }),
            // Also when it was brought back since.
            Err(_)
                if world.is_forgotten(saved.name)
                    || world.find(saved.name).is_some_and(|known| known.at != saved.at) =>
            {
                world.count("was forgotten while it was read")
            }
            Err(error) if context.has_faulted() => return Err(error),
            Err(error) => {
                drop(world);
                let what = format!("snapshot {} is not to be read: {error}", saved.name.short());
                context.simulation.fail(Failure::Loss(what));
            }
        }
        Ok(())
    }
}
