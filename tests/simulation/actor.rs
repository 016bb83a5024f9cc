//! One run: actors, their threads, and how it ended.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, OnceLock};

use copal::backend::Kind;
use copal::repository::Error;

use super::agent::{Config, HOUR, SECOND};
use super::handle::Context;
use super::random::Random;
use super::reader::Reader;
use super::scheduler::Simulation;
use super::trace::Operation;
use super::verify;
use super::world::{Failure, Folder};
use super::writer::Writer;

/// Somebody who works in rounds. Between two of its steps an actor is alone; what it decides comes from `Context::random`.
pub trait Actor: Send {
    fn name(&self) -> &'static str;

    /// Kinds of objects of which the actor sees none: a guard that is not there.
    fn blind(&self) -> &[Kind] {
        &[]
    }

    /// One round. An error ends the round; it must come of an injected fault, or be `Overtaken`.
    fn round(&mut self, context: &Context) -> Result<(), Error>;
}

/// Who takes part, and for how many rounds.
pub struct Cast {
    pub config: Config,
    pub actors: Vec<(Box<dyn Actor>, u64)>,
    path: PathBuf,
    common: Arc<Vec<Folder>>,
    writers: usize,
}

impl Cast {
    pub fn writer(&mut self, rounds: u64, random: &mut Random) {
        let writer = Writer::new(self.writers, &self.path, &self.common, random);
        self.writers += 1;
        self.add(writer, rounds);
    }

    /// A writer that sees no objects of a kind.
    pub fn writer_blind_to(&mut self, kind: Kind, rounds: u64, random: &mut Random) {
        let mut writer = Writer::new(self.writers, &self.path, &self.common, random);
        writer.blind = vec![kind];
        self.writers += 1;
        self.add(writer, rounds);
    }

    /// A writer that takes it that nothing is absent which was not before.
    pub fn careless_writer(&mut self, rounds: u64, random: &mut Random) {
        let mut writer = Writer::new(self.writers, &self.path, &self.common, random);
        writer.careless = true;
        self.writers += 1;
        self.add(writer, rounds);
    }

    pub fn reader(&mut self, rounds: u64) {
        self.add(Reader::default(), rounds);
    }

    /// At most one in a run.
    pub fn restorer(&mut self, rounds: u64) {
        self.add(Reader::who_restores(), rounds);
    }

    pub fn add(&mut self, actor: impl Actor + 'static, rounds: u64) {
        self.actors.push((Box::new(actor), rounds));
    }
}

/// Several, one after the other in each round.
pub struct Then(pub Vec<Box<dyn Actor>>);

impl Actor for Then {
    fn name(&self) -> &'static str {
        self.0.last().map_or("nobody", |actor| actor.name())
    }

    fn round(&mut self, context: &Context) -> Result<(), Error> {
        self.0.iter_mut().try_for_each(|actor| actor.round(context))
    }
}

/// How a run ended.
pub struct Outcome {
    pub steps: u64,
    pub hash: u64,
    pub failure: Option<Failure>,
    pub tail: String,
    pub events: Vec<super::trace::Event>,
    pub counts: BTreeMap<&'static str, u64>,
}

/// Folders for the sources, one for each run at a time, made at once: a folder made later would change the one above it, which is a part
/// of every snapshot.
struct Slots {
    free: Mutex<Vec<PathBuf>>,
    given_back: Condvar,
}

/// Where all folders lie.
fn base() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("simulation")
}

/// When the folders above all sources were changed last. They are a part of every snapshot, and others may use them.
pub fn above() -> Vec<std::time::SystemTime> {
    base().ancestors().map(|folder| folder.metadata().unwrap().modified().unwrap()).collect()
}

fn slots() -> &'static Slots {
    static SLOTS: OnceLock<Slots> = OnceLock::new();
    SLOTS.get_or_init(|| {
        let base = base();
        // Those of programs that are no more.
        for entry in std::fs::read_dir(&base).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if !Path::new("/proc").join(name.split('-').next().unwrap()).exists() {
                let _ = std::fs::remove_dir_all(path);
            }
        }
        let slot = |number: usize| {
            let path = base.join(format!("{}-{number}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        Slots { free: Mutex::new((0..8).map(slot).collect()), given_back: Condvar::new() }
    })
}

/// A slot that is ours until it is dropped.
struct Slot(PathBuf);

impl Slot {
    fn take() -> Slot {
        let mut free = slots().free.lock().unwrap();
        loop {
            match free.pop() {
                Some(path) => return Slot(path),
                None => free = slots().given_back.wait(free).unwrap(),
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.join("run"));
        slots().free.lock().unwrap().push(self.0.clone());
        slots().given_back.notify_one();
    }
}

/// Rates of recovery data, thousandths.
pub const RATES: [u16; 3] = [50, 200, 1000];

/// How things go in most runs, by the seed.
pub fn usual(random: &mut Random) -> Config {
    Config {
        lag: *random.pick(&[0, 0, SECOND, 60 * SECOND, 600 * SECOND]),
        sticky: *random.pick(&[0, 50, 90, 97]),
        crash: *random.pick(&[0, 6, 12]),
        sleep: *random.pick(&[0, 400, 100]),
        skew: if random.percent(50) { 0 } else { random.range(-48 * HOUR, 48 * HOUR) },
        parity: 0,
        script: None,
        brief: false,
        checks: vec![40 + random.below(200), 300 + random.below(400)],
    }
}

/// Runs what `cast` puts together for a seed.
pub fn run(seed: u64, cast: &dyn Fn(&mut Cast, &mut Random)) -> Outcome {
    // What fetches for a restore has one thread, as everything in a simulation.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(1).build_global();
    let slot = Slot::take();
    let path = slot.0.join("run");
    let mut random = Random::new(seed, u64::MAX);
    let common = (0..3).map(|number| {
        let mut folder = Folder::new(path.join(format!("common-{number}")), &mut random, 6);
        folder.write("always", number);
        folder
    });
    let common = Arc::new(common.collect::<Vec<_>>());
    // By numbers of its own.
    let mut own = Random::new(seed, u64::MAX - 1);
    let parity = if own.once_in(3) { *own.pick(&RATES) } else { 0 };
    let config = Config { parity, ..usual(&mut random) };
    let mut parts = Cast { config, actors: Vec::new(), path: path.clone(), common, writers: 0 };
    cast(&mut parts, &mut random);
    let Cast { config, actors, .. } = parts;
    let parity = config.parity;
    let names: Vec<&'static str> = actors.iter().map(|(actor, _)| actor.name()).collect();
    let caches = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let folders: Vec<PathBuf> =
        (0..actors.len()).map(|number| caches.path().join(number.to_string())).collect();
    let simulation = Simulation::new(seed, config, &folders, verify::beginning(parity));
    let threads: Vec<_> = actors
        .into_iter()
        .zip(0..)
        .map(|((actor, rounds), number)| {
            let mut context = Context::new(&simulation, number, seed, folders[number].clone());
            context.blind = actor.blind().to_vec();
            std::thread::spawn(move || play(&context, actor, rounds))
        })
        .collect();
    if simulation.wait() {
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let (failed, brief) = {
            let state = simulation.lock();
            (state.failure.is_some(), state.config.brief)
        };
        if !failed && brief {
            if let Err(failure) = verify::whole(&simulation) {
                simulation.lock().failure = Some(failure);
            }
        } else if !failed {
            let mut folder = Folder::new(path.join("another"), &mut random, 5);
            folder.write("always", 0);
            if let Err(failure) = verify::ending(&simulation, &mut folder) {
                simulation.lock().failure = Some(failure);
            }
        }
    }
    let state = simulation.lock();
    let renewals =
        state.trace.events().iter().filter(|event| event.keeper && event.operation == Operation::Put);
    simulation.world().add("renewals of a session", renewals.count() as u64);
    Outcome {
        steps: state.steps,
        hash: state.trace.hash(),
        failure: state.failure.clone(),
        tail: state.failure.as_ref().map_or(String::new(), |_| state.trace.tail(120, &names)),
        events: state.trace.events().to_vec(),
        counts: simulation.world().counts.clone(),
    }
}

/// An actor's thread.
fn play(context: &Context, mut actor: Box<dyn Actor>, rounds: u64) {
    let (simulation, number) = (&context.simulation, context.actor);
    for round in 1..=rounds {
        let rest = context.random().range(0, 20 * HOUR);
        let scripted = simulation.lock().config.script.is_some();
        simulation.rest(number, if scripted { 0 } else { rest });
        let mut random = context.random();
        simulation.begin_round(number, &mut random);
        drop(random);
        if simulation.lock().failure.is_some() {
            break;
        }
        context.note("begins round", round);
        simulation.world().busy += 1;
        let result = catch_unwind(AssertUnwindSafe(|| actor.round(context)));
        let faulted = simulation.end_round(number);
        let mut world = simulation.world();
        world.busy -= 1;
        match result {
            Ok(Ok(())) => world.count("rounds that went well"),
            Ok(Err(Error::Overtaken)) => world.count("rounds that were overtaken"),
            Ok(Err(_)) if faulted => world.count("rounds that met a fault"),
            Ok(Err(error)) => {
                drop(world);
                simulation.fail(Failure::Unexplained(format!("{} {number}: {error}", actor.name())));
            }
            Err(_) => {
                drop(world);
                simulation.fail(Failure::Unexplained(format!("{} {number} panics", actor.name())));
            }
        }
    }
    drop(actor);
    simulation.end(number);
}
