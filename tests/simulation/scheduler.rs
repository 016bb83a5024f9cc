//! Who goes on: every operation of the storage waits for its turn, and one thread has it at a time. By the seed alone.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use copal::backend::{Error, Kind};
use crossbeam_channel::{Receiver, select};

use super::agent::{Agent, Config, Fault, HOUR, Lane, SECOND, passing};
use super::random::Random;
use super::storage::Storage;
use super::trace::{Ending, Event, Operation, Trace};
use super::world::{Failure, World};

pub struct State {
    pub random: Random,
    pub config: Config,
    /// Nanoseconds since the beginning.
    pub now: i64,
    pub storage: Storage,
    pub trace: Trace,
    pub steps: u64,
    pub failure: Option<Failure>,
    agents: Vec<Agent>,
    /// The only one who goes on, while there is one.
    alone: Option<usize>,
    last: usize,
    checked: usize,
}

pub struct Simulation {
    state: Mutex<State>,
    turns: Vec<[Condvar; 2]>,
    ended: Condvar,
    pub world: Mutex<World>,
}

thread_local! {
    /// Set in a thread that keeps a session alive.
    static KEEPER: RefCell<Option<Keeper>> = const { RefCell::new(None) };
}

struct Keeper {
    simulation: Arc<Simulation>,
    actor: usize,
    ended: bool,
}

impl Drop for Keeper {
    /// It gave up by itself: nobody must wait for it.
    fn drop(&mut self) {
        if !self.ended {
            let mut state = self.simulation.lock();
            state.agents[self.actor].lanes[1] = Lane::Away;
            self.simulation.choose(&mut state);
        }
    }
}

fn failed_on_purpose() -> Error {
    let source = std::io::Error::other("a fault of the simulation");
    Error::Io { object: "simulated:".to_owned(), operation: "reach", source }
}

impl Simulation {
    pub fn new(seed: u64, config: Config, folders: &[PathBuf], mut storage: Storage) -> Arc<Simulation> {
        storage.lag = config.lag;
        let state = State {
            random: Random::new(seed, 0),
            now: 0,
            storage,
            config,
            trace: Trace::default(),
            steps: 0,
            failure: None,
            agents: folders.iter().cloned().map(Agent::new).collect(),
            alone: None,
            last: 0,
            checked: 0,
        };
        Arc::new(Simulation {
            state: Mutex::new(state),
            turns: folders.iter().map(|_| Default::default()).collect(),
            ended: Condvar::new(),
            world: Mutex::default(),
        })
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Ends the run: something is wrong.
    pub fn fail(&self, failure: Failure) {
        let mut state = self.lock();
        state.failure.get_or_insert(failure);
        self.choose(&mut state);
    }

    /// Gives the turn to somebody, when nobody has it.
    fn choose(&self, state: &mut State) {
        let State { agents, random, config, now, last, alone, .. } = state;
        if state.failure.is_some() {
            // All go on, to their ends.
            for (agent, turns) in agents.iter_mut().zip(&self.turns) {
                for (lane, turn) in agent.lanes.iter_mut().zip(turns) {
                    if *lane == Lane::Waiting {
                        *lane = Lane::Granted;
                        turn.notify_all();
                    }
                }
            }
            self.ended.notify_all();
            return;
        }
        if agents
            .iter()
            .any(|agent| agent.lanes.iter().any(|lane| matches!(lane, Lane::Running | Lane::Granted)))
        {
            return;
        }
        let waiting: Vec<usize> = (0..agents.len())
            .filter(|number| {
                agents[*number].lanes.contains(&Lane::Waiting) && alone.is_none_or(|alone| alone == *number)
            })
            .collect();
        if waiting.is_empty() {
            self.ended.notify_all();
            return;
        }
        let chosen = loop {
            let awake: Vec<usize> =
                waiting.iter().copied().filter(|number| agents[*number].asleep <= *now).collect();
            if let (Some(script), false) = (&config.script, awake.is_empty()) {
                let wanted = script.get(state.steps as usize).filter(|wanted| awake.contains(wanted));
                break *wanted.unwrap_or(&awake[0]);
            }
            let Some(_) = awake.first() else {
                *now = agents
                    .iter()
                    .zip(0..)
                    .filter(|(_, number)| waiting.contains(number))
                    .map(|(agent, _)| agent.asleep)
                    .min()
                    .unwrap();
                continue;
            };
            let chosen = if random.percent(config.sticky) && awake.contains(last) {
                *last
            } else {
                *random.pick(&awake)
            };
            if config.sleep > 0 && agents[chosen].lanes[1] != Lane::Waiting && random.once_in(config.sleep) {
                agents[chosen].asleep =
                    *now + if random.once_in(3) { random.range(24, 96) } else { random.range(1, 30) } * HOUR;
                continue;
            }
            break chosen;
        };
        *last = chosen;
        *now += if config.script.is_some() { SECOND / 100 } else { passing(random) };
        let agent = &mut agents[chosen];
        if agent.lanes[1] == Lane::Idle && *now - agent.ticked >= HOUR && random.percent(50) {
            agent.ticked = *now;
            agent.lanes[1] = Lane::Running;
            let _ = agent.tick.send(());
            return;
        }
        let lane = usize::from(agent.lanes[1] == Lane::Waiting);
        agent.lanes[lane] = Lane::Granted;
        self.turns[chosen][lane].notify_all();
    }

    /// Does one operation of an actor when it is its turn.
    pub fn step<T>(
        &self,
        actor: usize,
        operation: Operation,
        kind: Option<Kind>,
        work: impl FnOnce(&mut State) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let lane = KEEPER.with_borrow(|keeper| usize::from(keeper.is_some()));
        let mut state = self.lock();
        if state.failure.is_some() || state.agents[actor].crashed {
            return Err(failed_on_purpose());
        }
        if state.agents[actor].lanes[lane] != Lane::Running {
            let what = format!("actor {actor} does two things at once: {operation:?} {kind:?}");
            state.failure.get_or_insert(Failure::Stuck(what));
            self.choose(&mut state);
            return Err(failed_on_purpose());
        }
        state.agents[actor].lanes[lane] = Lane::Waiting;
        self.choose(&mut state);
        while state.agents[actor].lanes[lane] != Lane::Granted {
            state = self.turns[actor][lane].wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        if state.config.checks.get(state.checked).is_some_and(|at| state.steps >= *at) {
            state.checked += 1;
            drop(state);
            // Everybody else waits.
            let checked = super::verify::whole(self);
            state = self.lock();
            if let Err(failure) = checked {
                state.failure.get_or_insert(failure);
                self.choose(&mut state);
            }
        }
        state.agents[actor].lanes[lane] = Lane::Running;
        if state.failure.is_some() {
            return Err(failed_on_purpose());
        }
        state.steps += 1;
        let agent = &mut state.agents[actor];
        agent.steps += 1;
        let due = agent.fault.take_if(|fault| fault.at <= agent.steps);
        if let Some(fault) = due {
            (agent.faulted, agent.crashed) = (true, fault.crash);
            if fault.crash {
                agent.kill();
            }
        }
        state.storage.number = 0;
        let (result, ending) = match due {
            Some(Fault { after: false, .. }) => (Err(failed_on_purpose()), Ending::FailedBefore),
            Some(Fault { after: true, .. }) => {
                let _ = work(&mut state);
                (Err(failed_on_purpose()), Ending::FailedAfter)
            }
            None => {
                let result = work(&mut state);
                let ending = match &result {
                    Ok(_) => Ending::Good,
                    Err(error) if error.is_not_found() => Ending::NotFound,
                    Err(_) => Ending::Other,
                };
                (result, ending)
            }
        };
        let (number, now) = (state.storage.number, state.now);
        state.trace.push(Event { actor, keeper: lane == 1, operation, kind, number, ending, now });
        result
    }

    /// Writes something into the trace.
    pub fn note(&self, actor: usize, words: &'static str, number: u64) {
        let mut state = self.lock();
        if state.failure.is_some() {
            return;
        }
        let (operation, now) = (Operation::Note(words), state.now);
        state.trace.push(Event {
            actor,
            keeper: false,
            operation,
            kind: None,
            number,
            ending: Ending::Good,
            now,
        });
    }

    /// Lets an actor sleep until that much later; with a script, that time passes at once.
    pub fn rest(&self, actor: usize, time: i64) {
        let mut state = self.lock();
        match state.config.script {
            None => state.agents[actor].asleep = state.now + time,
            Some(_) => state.now += time,
        }
        drop(state);
        let _ = self.step(actor, Operation::Pause, None, |_| Ok(()));
    }

    /// Begins a round, which perhaps meets a fault. By numbers of the actor's own.
    pub fn begin_round(&self, actor: usize, random: &mut Random) {
        let mut state = self.lock();
        let crash = state.config.crash;
        let agent = &mut state.agents[actor];
        (agent.crashed, agent.faulted, agent.fault) = (false, false, None);
        if crash > 0 && random.below(crash) < 2 {
            let at = agent.steps + 1 + random.below(70);
            agent.fault = Some(Fault { at, after: random.percent(50), crash: random.percent(60) });
        }
    }

    /// Ends a round; whether it met a fault.
    pub fn end_round(&self, actor: usize) -> bool {
        let mut state = self.lock();
        let agent = &mut state.agents[actor];
        agent.crashed = false;
        agent.fault = None;
        agent.faulted
    }

    /// Lets nobody else go on, or lets them again.
    pub fn set_alone(&self, alone: Option<usize>) {
        self.lock().alone = alone;
    }

    pub fn has_faulted(&self, actor: usize) -> bool {
        self.lock().agents[actor].faulted
    }

    /// The actor does nothing more.
    pub fn end(&self, actor: usize) {
        let mut state = self.lock();
        state.agents[actor].lanes[0] = Lane::Away;
        self.choose(&mut state);
    }

    /// A keeper of the actor's session is about to come.
    pub fn expect_keeper(&self, actor: usize) {
        let mut state = self.lock();
        if state.failure.is_none() {
            let now = state.now;
            let agent = &mut state.agents[actor];
            (agent.lanes[1], agent.ticked) = (Lane::Running, now);
        }
    }

    /// The waiting of a keeper: until the scheduler says that it is time, or until the end. One that nobody expects waits for the end.
    pub fn keep(self: &Arc<Simulation>, actor: usize, ended: &Receiver<()>) -> bool {
        let mut state = self.lock();
        if state.agents[actor].lanes[1] == Lane::Away {
            drop(state);
            let _ = ended.recv();
            return true;
        }
        KEEPER.with_borrow_mut(|keeper| {
            keeper.get_or_insert_with(|| Keeper { simulation: self.clone(), actor, ended: false });
        });
        state.agents[actor].lanes[1] = Lane::Idle;
        let ticks = state.agents[actor].ticks.clone();
        self.choose(&mut state);
        drop(state);
        select! {
            recv(ended) -> _ => {
                self.lock().agents[actor].lanes[1] = Lane::Away;
                KEEPER.with_borrow_mut(|keeper| keeper.iter_mut().for_each(|keeper| keeper.ended = true));
                true
            }
            recv(ticks) -> _ => false,
        }
    }

    /// Waits until all actors are at their ends, or somebody hangs; false then.
    pub fn wait(&self) -> bool {
        let mut state = self.lock();
        let mut before = u64::MAX;
        loop {
            if state.agents.iter().all(|agent| agent.lanes[0] == Lane::Away) {
                return true;
            }
            let steps = state.steps;
            let (again, waited) = self
                .ended
                .wait_timeout(state, std::time::Duration::from_secs(60))
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            state = again;
            if waited.timed_out() {
                if before == steps {
                    let lanes: Vec<_> = state.agents.iter().map(|agent| agent.lanes).collect();
                    state.failure.get_or_insert(Failure::Stuck(format!("nobody goes on: {lanes:?}")));
                    return false;
                }
                before = steps;
            }
        }
    }
}
