//! Who reads a snapshot that was saved, while others work.

use copal::repository::{Error, Repository};

use super::actor::Actor;
use super::handle::Context;
use super::verify;
use super::world::{Failure, Saved};

#[derive(Default)]
pub struct Reader {
    repository: Option<Repository>,
}

impl Reader {
    fn read(&mut self, context: &Context, saved: &Saved) -> Result<(), Error> {
        let repository = match self.repository.take() {
            Some(repository) if context.random().percent(60) => repository,
            _ => context.open(Some(&context.folder.join("cache")))?,
        };
        repository.sync()?;
        let all = repository.snapshots()?;
        let named = all.confirmed.iter().find(|named| named.name == saved.name);
        let named = named.ok_or_else(|| Error::Refused("it is not there".to_owned()))?;
        verify::read(&repository, named.snapshot.root, &saved.model, &mut Default::default())?;
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
            Ok(()) => world.count("read"),
            Err(_) if world.is_forgotten(saved.name) => world.count("was forgotten while it was read"),
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
