//! What an actor sees of the simulation: storage, clock, listener, each with its own delays and errors.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use copal::backend::{Backend, Entry, Error, Kind};
use copal::crypto::MasterKey;
use copal::format::slot::Unlock;
use copal::model::Time;
use copal::model::clock::Clock;
use copal::progress::{Event, Listener};
use copal::repository::{self, Repository};
use crossbeam_channel::Receiver;

use super::agent::{HOUR, SECOND};
use super::random::Random;
use super::scheduler::{Simulation, State};
use super::trace::Operation;
use super::world::{self, Id, Model};

/// Seconds since 1970 at which a simulation begins: long after all real files were made.
const BEGIN: i64 = 4_000_000_000;

fn time(nanoseconds: i64) -> Time {
    Time::new(BEGIN + nanoseconds.div_euclid(SECOND), nanoseconds.rem_euclid(SECOND) as u32)
}

/// Storage, one operation at a time.
#[derive(Clone)]
pub struct Handle {
    simulation: Arc<Simulation>,
    actor: usize,
    /// Kinds of which it shows nothing.
    blind: Vec<Kind>,
}

impl Handle {
    /// Does one operation that looks at an object; the blind find nothing.
    fn look<T>(
        &self,
        operation: Operation,
        kind: Kind,
        work: impl FnOnce(&mut State) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.simulation.step(self.actor, operation, Some(kind), |state| match self.blind.contains(&kind) {
            true => Err(Error::NotFound { object: format!("simulated:/{}", kind.folder()) }),
            false => work(state),
        })
    }
}

impl Backend for Handle {
    fn location(&self) -> String {
        "simulated:".to_owned()
    }
    fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.simulation.step(self.actor, Operation::Put, Some(kind), |state| {
            state.storage.put(kind, name, bytes, state.now)
        })
    }
    fn replace(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.simulation.step(self.actor, Operation::Replace, Some(kind), |state| {
            state.storage.replace(kind, name, bytes, state.now)
        })
    }
    fn get(&self, kind: Kind, name: &str) -> Result<Vec<u8>, Error> {
        self.simulation
            .step(self.actor, Operation::Get, Some(kind), |state| Ok(state.storage.get(kind, name)?.to_vec()))
    }
    fn get_range(&self, kind: Kind, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        self.look(Operation::GetRange, kind, |state| state.storage.get_range(kind, name, offset, length))
    }
    fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        let listed = self.simulation.step(self.actor, Operation::List, Some(kind), |state| {
            Ok(state.storage.list(kind, state.now, &mut state.random))
        })?;
        if !self.blind.contains(&kind) {
            listed.into_iter().for_each(each);
        }
        Ok(())
    }
    fn stat(&self, kind: Kind, name: &str) -> Result<u64, Error> {
        self.look(Operation::Stat, kind, |state| Ok(state.storage.get(kind, name)?.len() as u64))
    }
    fn remove(&self, kind: Kind, name: &str) -> Result<(), Error> {
        self.simulation.step(self.actor, Operation::Remove, Some(kind), |state| {
            state.storage.remove(kind, name, state.now)
        })
    }
    fn time(&self) -> Result<Time, Error> {
        self.simulation
            .step(self.actor, Operation::Time, None, |state| Ok(time(state.now + state.config.skew)))
    }
    fn listing_lag_seconds(&self) -> Option<u64> {
        let lag = self.simulation.lock().config.lag;
        Some((lag as u64).div_ceil(SECOND as u64))
    }
    fn create(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// An actor's own clock, and its keeper's patience.
pub struct Skewed {
    simulation: Arc<Simulation>,
    actor: usize,
    skew: i64,
}

impl Clock for Skewed {
    fn now(&self) -> Time {
        time(self.simulation.lock().now + self.skew)
    }
    fn pause(&self, seconds: u64) {
        self.simulation.rest(self.actor, seconds as i64 * SECOND);
    }
    fn wait(&self, ended: &Receiver<()>, _: Duration) -> bool {
        self.simulation.keep(self.actor, ended)
    }
}

/// Tells the scheduler when a backup's keeper is about to come, and remembers problems.
pub struct Hears {
    simulation: Arc<Simulation>,
    actor: usize,
    pub problems: Mutex<Vec<String>>,
}

impl Listener for Hears {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Started => self.simulation.expect_keeper(self.actor),
            Event::Note(_) => self.simulation.world().count("attempts that went over everything again"),
            Event::Problem { what, .. } => self.problems.lock().unwrap().push(what.to_owned()),
            _ => {}
        }
    }
}

/// What an actor works with.
pub struct Context {
    pub simulation: Arc<Simulation>,
    pub actor: usize,
    pub clock: Skewed,
    /// A folder of its own, for caches.
    pub folder: std::path::PathBuf,
    /// Kinds of which it sees nothing.
    pub blind: Vec<Kind>,
    random: Mutex<Random>,
}

impl Context {
    pub fn new(simulation: &Arc<Simulation>, actor: usize, seed: u64, folder: std::path::PathBuf) -> Context {
        let mut random = Random::new(seed, actor as u64 + 1);
        let skew = if random.percent(50) { 0 } else { random.range(-72 * HOUR, 72 * HOUR) };
        let simulation = simulation.clone();
        let clock = Skewed { simulation: simulation.clone(), actor, skew };
        Context { simulation, actor, clock, folder, blind: Vec::new(), random: Mutex::new(random) }
    }

    /// Numbers of the actor's own.
    pub fn random(&self) -> MutexGuard<'_, Random> {
        self.random.lock().unwrap()
    }

    /// Numbers for one round.
    pub fn round_random(&self) -> Random {
        Random::new(self.random().next(), 0)
    }

    pub fn backend(&self) -> Handle {
        Handle { simulation: self.simulation.clone(), actor: self.actor, blind: self.blind.clone() }
    }

    /// Opens the repository, with a cache in that folder or without.
    pub fn open(&self, cache: Option<&std::path::Path>) -> Result<Repository, repository::Error> {
        let key = MasterKey::from_bytes(world::template().key);
        repository::open(Box::new(self.backend()), Unlock::KeyFile(&key), cache)
    }

    /// For `backup::backup`: a session's keeper comes at the beginning. For everything else: `Silent`.
    pub fn hears(&self) -> Hears {
        Hears { simulation: self.simulation.clone(), actor: self.actor, problems: Mutex::default() }
    }

    pub fn note(&self, words: &'static str, number: u64) {
        self.simulation.note(self.actor, words, number);
    }

    /// Lets the others go on, without an operation of the storage.
    pub fn pause(&self) -> Result<(), repository::Error> {
        Ok(self.simulation.step(self.actor, Operation::Pause, None, |_| Ok(()))?)
    }

    /// Sleeps, as one does between marking and removing: others go on meanwhile.
    #[allow(dead_code)]
    pub fn rest(&self, time: i64) {
        self.simulation.rest(self.actor, time);
    }

    /// Whether this round met a fault that was injected.
    pub fn has_faulted(&self) -> bool {
        self.simulation.has_faulted(self.actor)
    }

    /// A snapshot was reported as saved; it holds that.
    pub fn saved(&self, name: Id, model: Model) {
        let at = self.simulation.lock().now;
        let number = self.simulation.world().save(name, model, at);
        self.note("saved", number);
    }
}
