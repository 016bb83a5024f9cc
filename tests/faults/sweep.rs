//! The sweep: one command, one kind of fault, at every operation of the storage in turn.

use std::collections::BTreeMap;

use copal::backend::{Fault, Faulty};
use copal::model::Id;
use copal::repository::Error;

use crate::world::{Client, Saved, State, World};

/// What a command told.
#[derive(Debug, Default)]
pub struct Told {
    /// The snapshot that it reported as saved.
    pub saved: Option<Id>,
    /// Snapshots that it reported as changed.
    pub changed: Vec<Id>,
    /// Snapshots that it reported as not changed, though they should have been: it ends with another exit code than 0.
    pub failed: Vec<String>,
}

/// One command, and what is to come of it.
pub struct Command {
    pub world: fn() -> World,
    /// Who gives it. The cache may be empty.
    pub who: &'static str,
    pub run: fn(&Client<'_>) -> Result<Told, Error>,
    /// What a snapshot that it saves must give back.
    pub saves: Option<fn() -> Id>,
    /// What it makes of snapshots that are there.
    pub aim: fn(&World) -> BTreeMap<Id, State>,
    /// Whether the repository must be sound after it, also when it failed.
    pub looks: fn(&Result<Told, Error>) -> bool,
    /// What else must be so, whatever came of it; gives what is wrong.
    pub also: fn(&World, &Result<Told, Error>) -> Vec<String>,
    /// Whether somebody without a cache gives it again too.
    pub fresh: bool,
    /// Operations of the storage that it has at least: fewer, and the faults were not where they should have been.
    pub least: u64,
}

impl Command {
    pub const NOTHING: Command = Command {
        world: World::new,
        who: "one",
        run: |_| Ok(Told::default()),
        saves: None,
        aim: |_| BTreeMap::new(),
        looks: |_| true,
        also: |_, _| Vec::new(),
        fresh: true,
        least: 0,
    };

    /// Enters what was told into what must be so.
    fn believe(&self, world: &mut World, result: &Result<Told, Error>) {
        let changed = result.as_ref().map(|told| told.changed.clone()).unwrap_or_default();
        for (id, aim) in (self.aim)(world) {
            let saved = world.saved.get_mut(&id).unwrap();
            match changed.contains(&id) {
                true => saved.states = vec![aim],
                // It may have taken effect all the same.
                false => saved.states.push(aim),
            }
        }
        if let Ok(Told { saved: Some(id), .. }) = result {
            let look = self.saves.expect("it saves something")();
            world.saved.insert(*id, Saved { look, states: vec![State::plain()], may_go: false });
        }
    }

    fn wrong(&self, world: &World, result: &Result<Told, Error>, checks: bool) -> Vec<String> {
        let mut wrong = if (self.looks)(result) { world.wrong(checks) } else { Vec::new() };
        wrong.extend((self.also)(world, result));
        wrong
    }

    /// The same command again, now that storage works: it ends well, and everything is as it should be.
    fn again(&self, world: &mut World, who: Option<&str>, what: &str, checks: bool) {
        let client = world.client_on(Faulty::new(world.storage.clone()), who);
        let result = (self.run)(&client);
        drop(client);
        match &result {
            Ok(told) => assert!(told.failed.is_empty(), "{what}: {:?}", told.failed),
            Err(error) => panic!("{what}: {error}"),
        }
        self.believe(world, &result);
        for (id, aim) in (self.aim)(world) {
            world.saved.get_mut(&id).unwrap().states = vec![aim];
        }
        let wrong = self.wrong(world, &result, checks);
        assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
    }

    /// Runs the command with the fault at the first operation, the second, and so on, until it runs through; after each everything must be
    /// as was told, and the command must do its work when it is given again.
    pub fn sweep(&self, fault: Fault) {
        let mut struck = 0;
        for number in 1.. {
            let mut world = (self.world)();
            let backend = Faulty::with_fault_among_suited(world.storage.clone(), number, fault);
            let client = world.client_on(backend, Some(self.who));
            let result = (self.run)(&client);
            let (ended, met) = (client.backend.suited() < number, client.backend.struck());
            let operations = client.backend.operations();
            drop(client);
            if ended {
                let told = result.unwrap_or_else(|error| panic!("without any fault: {error}"));
                assert!(told.failed.is_empty(), "without any fault: {:?}", told.failed);
                assert!(operations >= self.least, "only {operations} operations");
                assert!(struck > 0 || number == 1, "{fault:?} changed nothing");
                return;
            }
            if !met {
                continue;
            }
            struck += 1;
            let ending = match &result {
                Ok(told) if told.failed.is_empty() => "it ended well".to_owned(),
                Ok(told) => format!("it ended with {:?}", told.failed),
                Err(error) => format!("it ended with {error}"),
            };
            let what = format!("{fault:?} at operation {number}, {ending}");
            if let Err(Error::Bug { what: bug }) = &result {
                panic!("{what}: {bug}");
            }
            self.believe(&mut world, &result);
            let wrong = self.wrong(&world, &result, true);
            assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
            // What is refused leaves what an error leaves, and so does what was spoiled on its way.
            let is_own = matches!(
                fault,
                Fault::FailBefore | Fault::NoSpace | Fault::FailAfter | Fault::Outage { .. } | Fault::Crash
            );
            // What snapshots need is looked at each time; the rest, which takes long, now and then.
            let checks = struck % 4 == 1;
            if self.fresh && is_own {
                let what = format!("{what}, and again by somebody without a cache");
                self.again(&mut world.copy(), None, &what, checks);
            }
            self.again(&mut world, Some(self.who), &format!("{what}, and again"), checks);
        }
    }
}

/// Makes a test of every kind of fault for a command; with `but_cut_off`, of those that do not cut it off.
macro_rules! sweeps {
    ($($name:ident: $command:expr;)*) => { $(
        mod $name {
            use super::*;
            sweeps! { @tests $command,
                an_error_of_the_device: Fault::FailBefore;
                a_lost_reply: Fault::FailAfter;
                a_program_that_is_gone: Fault::Crash;
            }
            sweeps! { @but_cut_off $command }
        }
    )* };
    (but_cut_off $($name:ident: $command:expr;)*) => { $(
        mod $name {
            use super::*;
            sweeps! { @but_cut_off $command }
        }
    )* };
    (@but_cut_off $command:expr) => {
        sweeps! { @tests $command,
            a_full_disk: Fault::NoSpace;
            no_permission: Fault::Denied;
            a_storage_that_is_gone_for_a_while: Fault::Outage { operations: 5 };
            half_a_listing: Fault::HalfList;
            bytes_cut_off: Fault::Truncate { lost: 7 };
            a_flipped_bit: Fault::FlipBit { bit: 4321 };
        }
    };
    (@tests $command:expr, $($fault:ident: $kind:expr;)*) => { $(
        #[test]
        fn $fault() {
            $command.sweep($kind);
        }
    )* };
}
