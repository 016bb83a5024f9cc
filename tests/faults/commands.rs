//! The commands that are swept.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::AtomicBool;

use copal::backend::{Fault, Kind};
use copal::backup::{self, Stream};
use copal::check::{self, Reading};
use copal::compress::Level;
use copal::crypto::MasterKey;
use copal::crypto::password::Cost;
use copal::format::note::Verb;
use copal::format::slot::Unlock;
use copal::model::Id;
use copal::patterns::PatternsBuilder;
use copal::progress::Silent;
use copal::prune::{self, Unused};
use copal::repository::notes::Notes;
use copal::repository::{self, Error, Repository, session, store};
use copal::restore::{self, Overwrite};
use copal::retention;

use crate::program::temporary;
use crate::sweep::{Command, Told};
use crate::world::{
    Client, DAY, SECOND, Saved, State, Which, World, back_up_folder, creation, description, latest,
    look_of_source, look_of_stream, options, source, stream, tree_of,
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
    note: impl Fn(&Repository, &mut Notes, &Id, &State) -> Result<(), Error>,
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

pub fn prune_with(client: &Client<'_>, grace_seconds: i64) -> Result<Told, Error> {
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
    Command { run: |client| prune_with(client, 1000 * DAY), fresh: false, least: 25, ..Command::NOTHING };

/// A snapshot is to go, and packs that are partly in use.
const PRUNE: Command = Command {
    world: World::to_prune,
    run: |client| prune_with(client, 7 * DAY),
    fresh: false,
    least: 60,
    ..Command::NOTHING
};

const PRUNE_MARKS: Command = Command { world: World::with_marks, ..PRUNE };

fn key(bytes: [u8; 32]) -> MasterKey {
    MasterKey::from_bytes(bytes)
}

fn must(wrong: &mut Vec<String>, holds: bool, what: &str) {
    if !holds {
        wrong.push(what.to_owned());
    }
}

const KEY_ADD: Command = Command {
    run: |client| {
        let repository = client.open()?;
        match repository.add_key(Unlock::KeyFile(&key(SECOND)), Cost::default(), &description()) {
            // It says that this key opens the repository: that was wanted.
            Ok(_) | Err(Error::Refused(_)) => Ok(Told::default()),
            Err(error) => Err(error),
        }
    },
    also: |world, result| {
        let mut wrong = Vec::new();
        must(&mut wrong, world.opens(world.key), "the first key does not open it any more");
        must(&mut wrong, result.is_err() || world.opens(SECOND), "the key that was added does not open it");
        wrong
    },
    least: 8,
    ..Command::NOTHING
};

const KEY_REMOVE: Command = Command {
    world: World::with_two_keys,
    run: |client| {
        let repository = client.open()?;
        let (slots, problems) = repository.key_slots()?;
        match slots.iter().find(|slot| slot.description.label == "second") {
            Some(slot) => repository.remove_key(&slot.name, client.clock(), b"host")?,
            None if problems.is_empty() => {}
            None => return Err(problems.into_iter().next().unwrap().1),
        }
        Ok(Told::default())
    },
    also: |world, result| {
        let mut wrong = Vec::new();
        must(&mut wrong, world.opens(world.key), "the first key does not open it any more");
        must(&mut wrong, result.is_err() || !world.opens(SECOND), "the key that was removed opens it");
        wrong
    },
    least: 10,
    ..Command::NOTHING
};

/// Whether the new key was told as the one that opens.
fn told_new(result: &Result<Told, Error>) -> bool {
    result.is_ok()
}

const KEY_REPLACE: Command = Command {
    run: |client| {
        let repository = match client.open() {
            Err(Error::WrongKey { .. }) => {
                client.open_with(Unlock::KeyFile(&key(SECOND)))?;
                return Ok(Told::default());
            }
            opened => opened?,
        };
        let replaced = repository.replace_key(
            Unlock::KeyFile(&key(SECOND)),
            Cost::default(),
            &description(),
            client.clock(),
        )?;
        let failed = replaced.left.iter().map(ToString::to_string).collect();
        Ok(Told { failed, ..Told::default() })
    },
    also: |world, result| {
        let mut wrong = Vec::new();
        let (old, new) = (world.opens(world.key), world.opens(SECOND));
        must(&mut wrong, !told_new(result) || new, "the new key was told, and does not open it");
        must(
            &mut wrong,
            told_new(result) || old,
            "nothing was told of the new key, and the old one does not open it",
        );
        let done = result.as_ref().is_ok_and(|told| told.failed.is_empty());
        must(&mut wrong, !done || !old, "the old key was told as replaced, and opens it");
        wrong
    },
    least: 12,
    ..Command::NOTHING
};

const INIT: Command = Command {
    world: World::without_repository,
    run: |client| {
        let key = key(client.world.key);
        let made = repository::create(&*client.backend, &creation(Unlock::KeyFile(&key)), client.clock());
        match made {
            Err(Error::Exists { .. }) => client.open().map(|_| Told::default()),
            other => other.map(|_| Told::default()),
        }
    },
    looks: |result| result.is_ok(),
    also: |world, result| {
        let mut wrong = Vec::new();
        let opens = world.opens(world.key);
        must(&mut wrong, result.is_err() || opens, "it was told as made, and does not open");
        if opens && result.is_err() {
            // It is used all the same, by somebody who does not know.
            let mut copy = world.copy();
            match back_up_folder(&copy.client("one"), source()) {
                Ok(id) => {
                    let (look, states) = (look_of_source(), vec![State::plain()]);
                    copy.saved.insert(id, Saved { look, states, may_go: false });
                    wrong.extend(copy.wrong(true));
                }
                Err(error) => wrong.push(format!("a backup into it: {error}")),
            }
        }
        wrong
    },
    least: 5,
    ..Command::NOTHING
};

fn check_all(client: &Client<'_>) -> Result<Told, Error> {
    let repository = client.open()?;
    let synced = repository.sync()?;
    let stop = AtomicBool::new(false);
    let report = check::check(&repository, &synced, Reading::Everything, client.clock(), &Silent, &stop)?;
    let failed = report.findings.into_iter().map(|finding| format!("{finding:?}")).collect();
    Ok(Told { failed, ..Told::default() })
}

/// Nothing is damaged, and nothing may be written down as damaged, whatever was seen.
const CHECK: Command = Command {
    run: check_all,
    also: |world, _| {
        let mut wrong = Vec::new();
        must(
            &mut wrong,
            world.storage.names(Kind::Damage).is_empty(),
            "something is written down as damaged",
        );
        wrong
    },
    fresh: false,
    least: 50,
    ..Command::NOTHING
};

/// One pack is damaged, and no other may be written down.
const CHECK_DAMAGED: Command = Command {
    world: World::damaged,
    run: |client| {
        let told = check_all(client)?;
        if !client.backend.struck() {
            assert_eq!(client.open()?.damaged_packs()?.len(), 1, "the damage is not written down");
        }
        let found = !told.failed.is_empty();
        let failed = if found { Vec::new() } else { vec!["the damage was not found".to_owned()] };
        Ok(Told { failed, ..told })
    },
    looks: |_| false,
    also: |world, _| {
        let mut wrong = Vec::new();
        let victim = world.storage.names(Kind::Packs).remove(0);
        let repository = world.client("two").open().unwrap();
        let packs: Vec<String> = repository.damaged_packs().unwrap().iter().map(Id::to_string).collect();
        must(&mut wrong, packs.iter().all(|pack| *pack == victim), "a sound pack is written down as damaged");
        wrong
    },
    fresh: false,
    least: 50,
    ..Command::NOTHING
};

const RESTORE: Command = Command {
    run: |client| {
        let repository = client.open_synced()?;
        let all = repository.snapshots()?;
        let id = client.id(Which::Latest);
        let named = all.confirmed.iter().find(|named| named.name == id);
        let Some(named) = named else {
            return Ok(Told { failed: vec!["it is not there".to_owned()], ..Told::default() });
        };
        let target = temporary();
        let none = || PatternsBuilder::new(None).build().unwrap();
        let options = restore::Options {
            target: target.path().to_path_buf(),
            path: source().iter().skip(1).map(|name| name.as_bytes().to_vec()).collect(),
            include: none(),
            exclude: none(),
            overwrite: Overwrite::Always,
            delete: false,
            dry_run: false,
            verify: false,
            numeric_ids: false,
            sparse: false,
            memory: store::MEMORY,
            own: Default::default(),
            tell_files: false,
            beside: "then".to_owned(),
            keep_present: false,
            kept: Default::default(),
            is_to_last: true,
        };
        let restored = session::reading(&repository, client.clock(), b"host", || {
            restore::restore(&repository, named, &options, &Silent, &AtomicBool::new(false))
        })?;
        if restored.problems + restored.damaged > 0 {
            return Ok(Told { failed: vec![format!("{restored:?}")], ..Told::default() });
        }
        assert!(tree_of(target.path()) == *latest(), "it was told as restored, and is not as it was");
        Ok(Told::default())
    },
    fresh: false,
    least: 18,
    ..Command::NOTHING
};

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
    a_new_key: KEY_ADD;
    a_key_that_goes: KEY_REMOVE;
    another_key: KEY_REPLACE;
    init: INIT;
    a_check: CHECK;
    a_check_of_what_is_damaged: CHECK_DAMAGED;
    a_restore: RESTORE;
}

// That it is cut off: tests/pruning.rs.
sweeps! { but_cut_off
    a_prune: PRUNE;
    a_prune_with_nothing_to_do: PRUNE_NOTHING;
    a_prune_with_marks: PRUNE_MARKS;
}
