//! The commands that are swept.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use copal::backend::Fault;
use copal::backup::{self, Stream};
use copal::compress::Level;
use copal::format::note::Verb;
use copal::model::Id;
use copal::model::clock::Clock;
use copal::progress::Silent;
use copal::prune::{self, Unused};
use copal::repository::{Error, Repository};
use copal::retention;

use crate::sweep::{Command, Told};
use crate::world::{
    Client, State, Which, World, back_up_folder, look_of_source, look_of_stream, options, source, stream,
};

fn saved(id: Id) -> Told {
    Told { saved: Some(id), ..Told::default() }
}

const BACKUP: Command = Command {
    run: |client| back_up_folder(client, source()).map(saved),
    saves: Some(look_of_source),
    least: 20,
    ..Command::NOTHING
};

const STREAM: Command = Command {
    run: |client| {
        let repository = client.open_synced()?;
        let (mut options, bytes) = (options(source()), stream());
        options.sources = vec![b"/dump".to_vec()];
        let input = &mut &bytes[..];
        let stream = Stream { path: vec![b"dump".to_vec()], input, verdict: &mut || Ok(()) };
        let stop = AtomicBool::new(false);
        let outcome = backup::backup_stream(&repository, &options, stream, client.clock(), &Silent, &stop)?;
        Ok(saved(outcome.name.unwrap()))
    },
    saves: Some(look_of_stream),
    least: 20,
    ..Command::NOTHING
};

/// Notes on snapshots that say that already need not be made again.
fn noted(
    client: &Client<'_>,
    aims: BTreeMap<Id, State>,
    note: impl Fn(&Repository, &mut copal::repository::notes::Notes, &Id, &State) -> Result<(), Error>,
) -> Result<Told, Error> {
    let repository = client.open_synced()?;
    let mut all = repository.snapshots()?;
    if let Some(problem) = all.problems.pop() {
        return Err(problem);
    }
    let mut told = Told::default();
    for (id, aim) in &aims {
        let Some(named) = all.saved().find(|named| named.name == *id).cloned() else {
            told.failed.push(format!("{} is not there", id.short()));
            continue;
        };
        let standing = &named.standing;
        let is_so = standing.forgotten.is_some() == aim.forgotten
            && standing.protected == aim.protected
            && standing.tags == aim.tags;
        let result = if is_so { Ok(()) } else { note(&repository, &mut all.notes, id, aim) };
        match result {
            Ok(()) => told.changed.push(*id),
            Err(error) => told.failed.push(error.to_string()),
        }
    }
    Ok(told)
}

fn aim(world: &World, which: &[Which], change: fn(&mut State)) -> BTreeMap<Id, State> {
    let aims = which.iter().map(|which| {
        let id = world.named[which];
        let mut state = world.saved[&id].states[0].clone();
        change(&mut state);
        (id, state)
    });
    aims.collect()
}

const TAG: Command = Command {
    run: |client| {
        noted(client, (TAG.aim)(client.world), |repository, notes, id, aim| {
            let time = repository.storage_time()?;
            repository.put_note(notes, id, Verb::AddTags, &aim.tags, time).map(drop)
        })
    },
    aim: |world| aim(world, &[Which::Latest, Which::Other], |state| state.tags = vec!["kept".to_owned()]),
    least: 12,
    ..Command::NOTHING
};

const PROTECT: Command = Command {
    run: |client| {
        noted(client, (PROTECT.aim)(client.world), |repository, notes, id, _| {
            let time = repository.storage_time()?;
            repository.put_note(notes, id, Verb::Protect, &[], time).map(drop)
        })
    },
    aim: |world| aim(world, &[Which::Latest, Which::Other], |state| state.protected = true),
    least: 12,
    ..Command::NOTHING
};

const UNPROTECT: Command = Command {
    run: |client| {
        noted(client, (UNPROTECT.aim)(client.world), |repository, notes, id, _| {
            let time = repository.storage_time()?;
            repository.put_note(notes, id, Verb::Unprotect, &[], time).map(drop)
        })
    },
    aim: |world| aim(world, &[Which::Protected], |state| state.protected = false),
    least: 12,
    ..Command::NOTHING
};

const FORGET: Command = Command {
    run: |client| {
        let repository = client.open_synced()?;
        let mut all = repository.snapshots()?;
        let ids: Vec<Id> = (FORGET.aim)(client.world).into_keys().collect();
        let chosen: Vec<_> =
            all.confirmed.iter().filter(|named| ids.contains(&named.name)).cloned().collect();
        let there = all.saved().filter(|named| ids.contains(&named.name)).count();
        let mut told = Told::default();
        if there < ids.len() {
            told.failed.push("one of them is not there".to_owned());
        }
        let before = all.forgotten.iter().map(|named| named.name).filter(|name| ids.contains(name));
        told.changed.extend(before);
        let time = repository.storage_time()?;
        let plan = retention::plan_all(&chosen, Default::default());
        let done = retention::execute(&repository, &mut all.notes, &plan, time)?;
        told.changed.extend(done.forgotten);
        told.failed.extend(done.failed.iter().map(|(_, error)| error.to_string()));
        Ok(told)
    },
    aim: |world| aim(world, &[Which::Latest, Which::Other], |state| state.forgotten = true),
    least: 12,
    ..Command::NOTHING
};

const UNDELETE: Command = Command {
    run: |client| {
        let repository = client.open_synced()?;
        let mut all = repository.snapshots()?;
        let id = client.id(Which::Forgotten);
        let mut told = Told::default();
        if all.confirmed.iter().any(|named| named.name == id) {
            told.changed.push(id);
            return Ok(told);
        }
        let me = repository.client()?;
        let results =
            retention::undelete::undelete(&repository, client.clock(), me, b"host", &mut all.notes, &[id])?;
        for result in results {
            match result {
                Ok(()) => told.changed.push(id),
                Err(error) => told.failed.push(error.to_string()),
            }
        }
        Ok(told)
    },
    aim: |world| aim(world, &[Which::Forgotten], |state| state.forgotten = false),
    least: 14,
    ..Command::NOTHING
};

fn prune_with(client: &Client<'_>, grace_seconds: i64) -> Result<Told, Error> {
    let repository = client.open_synced()?;
    let options = prune::Options {
        grace_seconds,
        max_unused: Unused::Bytes(0),
        level: Level::FAST,
        ..prune::Options::default()
    };
    prune::prune(&repository, &options, client.clock(), &Silent, &AtomicBool::new(false))?;
    Ok(Told::default())
}

/// Nothing is to go: what is forgotten may come back for years.
const PRUNE_NOTHING: Command =
    Command { run: |client| prune_with(client, 1000 * crate::world::DAY), least: 25, ..Command::NOTHING };

sweeps! {
    the_first_backup: Command { world: World::empty, ..BACKUP };
    a_backup_with_changes: BACKUP;
    a_backup_with_a_lost_cache: Command { who: "new", ..BACKUP };
    a_backup_of_a_stream: STREAM;
    tag: TAG;
    protect: PROTECT;
    unprotect: UNPROTECT;
    forget: FORGET;
    undelete: UNDELETE;
    a_prune_with_nothing_to_do: PRUNE_NOTHING;
}

#[allow(unused)]
fn clock_is_used(client: &Client<'_>) {
    let _ = client.clock().now();
}
