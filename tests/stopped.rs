//! The program stopped at every call that changes the repository or what it keeps beside it, and every such call refused: what was reported
//! as saved comes back, the next command works without any repair, and a check is clean.
//!
//! `COPAL_STOPPED_EVERY` says of how many calls one is tried (all of those on the repository, some of those on the cache, unless said).

mod calls;
mod common;
mod sealed;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use calls::{Answer, Call, Met};
use common::{Compare, Ended, below, differences, end, noise};
use rustix::io::Errno;

/// A repository with three snapshots of a source that then changed once more, and a copy of each state.
struct World {
    memory: tempfile::TempDir,
    /// Snapshots and what they must give back.
    saved: Vec<(String, PathBuf)>,
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// Something of everything, a little different in each state; what is large enough to be stored as several packs is not needed.
fn change(source: &Path, state: u64) {
    let write = |name: &str, bytes: Vec<u8>| {
        let path = source.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    write("same", noise(1, 100_000));
    write(&format!("folder/of {state}"), noise(10 + state, 150_000));
    write("folder/changing", noise(20 + state, 80_000));
    write("folder/deep/short", state.to_string().into_bytes());
    let _ = std::os::unix::fs::symlink("same", source.join("link"));
}

impl World {
    fn new() -> World {
        let memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir_in("/var/tmp")).unwrap();
        let mut world = World { memory, saved: Vec::new() };
        std::fs::create_dir_all(world.path("base/home")).unwrap();
        std::fs::create_dir(world.path("source")).unwrap();
        world.case_in("base").run(["init"]).expect(0);
        for state in 1..=3 {
            change(&world.path("source"), state);
            let copied = world.path(format!("copy {state}"));
            copy(&world.path("source"), &copied);
            let id = saved(&world.case_in("base").back_up()).expect("no snapshot");
            world.saved.push((id, copied));
        }
        change(&world.path("source"), 4);
        world
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.memory.path().join(name)
    }

    fn case_in(&self, name: &str) -> Case<'_> {
        Case { world: self, folder: self.path(name) }
    }

    /// A fresh copy of the repository, its key, and what is kept beside it.
    fn case(&self) -> Case<'_> {
        let case = self.case_in("case");
        let _ = std::fs::remove_dir_all(&case.folder);
        copy(&self.path("base"), &case.folder);
        case
    }

    /// A home with nothing in it.
    fn empty_case(&self) -> Case<'_> {
        let case = self.case_in("case");
        let _ = std::fs::remove_dir_all(&case.folder);
        std::fs::create_dir_all(case.folder.join("home")).unwrap();
        case
    }
}

struct Case<'w> {
    world: &'w World,
    folder: PathBuf,
}

/// The snapshot that a backup said it saved, also one that was killed after that.
fn saved(ended: &Ended) -> Option<String> {
    let said = ended.out();
    let lines = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.filter_map(|line| Some(line["snapshot_id"].as_str()?.to_owned())).next()
}

impl Case<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn source(&self) -> PathBuf {
        self.world.path("source")
    }

    fn bare_command<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_copal"));
        command.args(words).env_clear().stdin(Stdio::null()).current_dir(self.world.memory.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("TZ", "UTC").env("LC_ALL", "C");
        let home = self.path("home");
        // Root would have folders of the system's.
        for (name, below) in [
            ("XDG_DATA_HOME", "data"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_CACHE_HOME", "cache"),
            ("TMPDIR", ""),
        ] {
            command.env(name, home.join(below));
        }
        command.env("HOME", home);
        command
    }

    fn command_with<A: AsRef<OsStr>>(&self, key: &str, words: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.bare_command(words);
        command.env("COPAL_REPOSITORY", self.path("repository")).env("COPAL_KEY_FILE", self.path(key));
        command
    }

    fn command<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Command {
        self.command_with("keys/key", words)
    }

    fn run<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Ended {
        end(self.command(words))
    }

    fn backup(&self) -> [std::ffi::OsString; 5] {
        ["backup", "--json", "-H", "here"]
            .map(Into::into)
            .into_iter()
            .chain([self.source().into_os_string()])
            .collect::<Vec<_>>()
            .try_into()
            .unwrap()
    }

    fn back_up(&self) -> Ended {
        self.run(self.backup()).expect(0)
    }

    fn assert_restores(&self, id: &str, expected: &Path, after: &str) {
        let out = self.path("out");
        let _ = std::fs::remove_dir_all(&out);
        self.run([OsStr::new("restore"), OsStr::new(id), OsStr::new("-t"), out.as_os_str()]).expect(0);
        let differences = differences(expected, &below(&out, &self.source()), Compare { owners: true });
        assert!(differences.is_empty(), "{after}: {id} differs:\n{}", differences.join("\n"));
    }

    /// Demands that all of these come back, that the next commands work as if nothing had been, and that a check finds nothing. `process`
    /// is one that was killed, and `after` what happened.
    fn assert_sound(&self, kept: &[(String, PathBuf)], after: &str, process: Option<u32>) {
        println!("{after}");
        self.run(["check", "--read-data"]).expect(0);
        self.run(["prune", "--grace", "0", "--max-unused", "0"]).expect(0);
        let id = saved(&self.back_up()).expect("no snapshot");
        if let Some(process) = process {
            let keys = sealed::keys(&self.path("repository"), &self.path("keys/key"));
            sealed::lapse(&keys, &self.path("repository"), process);
            self.run(["prune", "--grace", "0", "--max-unused", "0"]).expect(0);
        }
        self.run(["check", "--read-data", "--no-cache"]).expect(0);
        let listed = self.run(["snapshots", "--json", "--host", "here"]).expect(0).messages("snapshot");
        for (id, expected) in
            kept.iter().map(|(id, path)| (id, path.as_path())).chain([(&id, &*self.source())])
        {
            assert!(listed.iter().any(|line| line["id"] == **id), "{after}: {id} is not listed");
            self.assert_restores(id, expected, after);
        }
        // What a removal that was cut off left is gone, and so is what was on its way in.
        assert_eq!(
            sealed::names(&self.path("repository/removals")).iter().filter(|path| self.is_mark(path)).count(),
            0
        );
    }

    fn is_mark(&self, path: &Path) -> bool {
        let keys = sealed::keys(&self.path("repository"), &self.path("keys/key"));
        !copal::format::session::decode_removal(&keys, &std::fs::read(path).unwrap()).unwrap().done
    }
}

/// Of so many calls one is tried.
fn every(unless_said: usize) -> usize {
    let said = std::env::var("COPAL_STOPPED_EVERY");
    said.ok().map_or(unless_said, |text| text.parse().expect("COPAL_STOPPED_EVERY"))
}

/// Meets a run made by `make` at one call after the other, until a run comes to no more of them; `then` looks at each, and is told which
/// call it was. Gives how many there were.
fn sweep<'w>(
    step: usize,
    answer: impl Fn(&Call) -> Option<Answer> + Sync,
    make: impl Fn() -> (Case<'w>, Command, Vec<PathBuf>),
    mut then: impl FnMut(&Case<'w>, Met, usize, u32),
) -> usize {
    let mut tried = 0;
    let mut number = 0;
    loop {
        let (case, command, folders) = make();
        let folders: Vec<&Path> = folders.iter().map(PathBuf::as_path).collect();
        let (mut matching, mut hit) = (0, None);
        let (met, process) = calls::meet_as(command, &folders, |place, call| match answer(call) {
            Some(answer) => {
                matching += 1;
                if matching == number + 1 {
                    hit = Some(place);
                    return answer;
                }
                Answer::Go
            }
            None => Answer::Go,
        });
        let Some(place) = hit else {
            met.ended.expect(0);
            return tried;
        };
        tried += 1;
        then(&case, met, place, process);
        number += step;
    }
}

fn kill(_: &Call) -> Option<Answer> {
    Some(Answer::Kill)
}

fn shown(call: &Call) -> String {
    let to = call.to.as_ref().map(|to| format!(" to {}", to.display())).unwrap_or_default();
    format!("{} of {}{to}", call.name, call.path.display())
}

fn killed_at(met: &Met, place: usize) -> String {
    assert_eq!(met.ended.code, 137, "{}", met.ended);
    format!("killed at call {place}: {}", shown(&met.calls[place]))
}

// Killed --------------------------------------------------------------------------------------------------------------------------

fn killed_backup(step: usize, folder: &str, least: usize) {
    let world = World::new();
    let tried = sweep(
        step,
        kill,
        || {
            let case = world.case();
            let (command, folder) = (case.command(case.backup()), case.path(folder));
            (case, command, vec![folder])
        },
        |case, met, place, process| {
            let mut kept = world.saved.clone();
            kept.extend(saved(&met.ended).map(|id| (id, case.source())));
            case.assert_sound(&kept, &killed_at(&met, place), Some(process));
        },
    );
    assert!(tried >= least, "{tried} calls");
}

#[test]
fn a_backup_may_be_killed_at_any_call_on_the_repository() {
    killed_backup(every(1), "repository", 40 / every(1));
}

#[test]
fn a_backup_may_be_killed_at_calls_on_its_cache() {
    killed_backup(every(9), "home", 1);
}

#[test]
fn forgetting_and_undeleting_may_be_killed_at_any_call_on_the_repository() {
    let world = World::new();
    let (first, rest) = world.saved.split_first().unwrap();
    let words = |verb: &str| [verb.to_owned(), first.0.clone()];
    let tried = sweep(
        every(1),
        kill,
        || {
            let case = world.case();
            let (command, folder) = (case.command(words("forget")), case.path("repository"));
            (case, command, vec![folder])
        },
        |case, met, place, process| {
            case.run(words("forget")).expect(0);
            case.assert_sound(rest, &killed_at(&met, place), Some(process));
        },
    );
    assert!(tried >= 4, "{tried} calls");
    world.case_in("base").run(words("forget")).expect(0);
    let tried = sweep(
        every(1),
        kill,
        || {
            let case = world.case();
            let (command, folder) = (case.command(words("undelete")), case.path("repository"));
            (case, command, vec![folder])
        },
        |case, met, place, process| {
            let after = killed_at(&met, place);
            case.run(words("undelete")).expect(0);
            case.assert_sound(&world.saved, &after, Some(process));
        },
    );
    assert!(tried >= 8, "{tried} calls");
}

/// A repository whose first snapshot is forgotten, so that a prune has snapshots, packs, and parts of packs to remove.
fn to_be_pruned() -> World {
    let world = World::new();
    world.case_in("base").run(["forget", &world.saved[0].0]).expect(0);
    world
}

const PRUNE: [&str; 6] = ["prune", "--grace", "0", "--max-unused", "0", "--repack-small"];

#[test]
fn a_prune_may_be_killed_at_any_call_on_the_repository() {
    let world = to_be_pruned();
    let tried = sweep(
        every(1),
        kill,
        || {
            let case = world.case();
            let (command, folder) = (case.command(PRUNE), case.path("repository"));
            (case, command, vec![folder])
        },
        |case, met, place, process| {
            case.assert_sound(&world.saved[1..], &killed_at(&met, place), Some(process));
        },
    );
    assert!(tried >= 60 / every(1), "{tried} calls");
}

#[test]
fn a_key_change_may_be_killed_at_any_call() {
    let world = World::new();
    let words = |case: &Case<'_>| {
        let new = case.path("keys/new").into_os_string();
        ["key", "passwd", "--new-key-file"].map(Into::into).into_iter().chain([new]).collect::<Vec<_>>()
    };
    let tried = sweep(
        every(1),
        kill,
        || {
            let case = world.case();
            let command = case.command(words(&case));
            let folders = vec![case.path("repository"), case.path("keys")];
            (case, command, folders)
        },
        |case, met, place, process| {
            let after = killed_at(&met, place);
            // The same once more does what it was asked for, or says that it is done already: the old key does not open any more.
            let again = case.run(words(case));
            assert!(matches!(again.code, 0 | 12), "{after}\n{again}");
            assert_ne!(
                end(case.command_with("keys/key", ["snapshots"])).code,
                0,
                "{after}: the old key still opens"
            );
            std::fs::rename(case.path("keys/new"), case.path("keys/key")).unwrap();
            assert_eq!(case.run(["key", "list", "--json"]).expect(0).messages("key").len(), 1);
            case.assert_sound(&world.saved, &after, Some(process));
        },
    );
    assert!(tried >= 10 / every(1), "{tried} calls");
}

#[test]
fn making_a_repository_may_be_killed_at_any_call() {
    let world = World::new();
    let tried = sweep(
        every(1),
        kill,
        || {
            let case = world.empty_case();
            let command = case.command(["init"]);
            let folders = vec![case.path("repository"), case.path("keys")];
            (case, command, folders)
        },
        |case, met, place, _| {
            let after = killed_at(&met, place);
            let ended = case.run(case.backup());
            if ended.code == 10 {
                case.run(["init"]).expect(0);
            } else {
                ended.expect(0);
            }
            case.assert_sound(&[], &after, None);
        },
    );
    assert!(tried >= 20 / every(1), "{tried} calls");
}

#[test]
fn the_first_backup_with_nothing_set_up_may_be_killed_at_any_call() {
    let world = World::new();
    let words = [OsStr::new("backup").to_owned(), world.path("source").into_os_string()];
    let tried = sweep(
        every(6),
        kill,
        || {
            let case = world.empty_case();
            let command = case.bare_command(&words);
            let data = case.path("home");
            (case, command, vec![data])
        },
        |case, met, place, _| {
            let after = killed_at(&met, place);
            println!("{after}");
            end(case.bare_command(&words)).expect(0);
            end(case.bare_command(["check", "--read-data"])).expect(0);
            let out = case.path("out").into_os_string();
            end(case.bare_command([OsStr::new("restore").to_owned(), "latest".into(), "-t".into(), out]))
                .expect(0);
            let found = below(&case.path("out"), &case.source());
            assert_eq!(
                differences(&case.source(), &found, Compare { owners: true }),
                [] as [String; 0],
                "{after}"
            );
        },
    );
    assert!(tried >= 20, "{tried} calls");
}

// Refused -------------------------------------------------------------------------------------------------------------------------

/// What each call may fail with.
fn refuse(call: &Call) -> Option<Answer> {
    Some(Answer::Fail(match call.name {
        "fsync" | "fdatasync" | "unlinkat" | "unlink" => Errno::IO,
        "fchmod" | "fchmodat" | "chmod" => Errno::IO,
        "openat" => Errno::MFILE,
        _ => Errno::NOSPC,
    }))
}

fn half(call: &Call) -> Option<Answer> {
    call.writes().then_some(Answer::Half)
}

/// What was not synced is not relied on: it gets no name, is not synced once more, and nothing more is put into such a folder.
fn assert_not_trusted(met: &Met, place: usize) {
    let failed = &met.calls[place];
    if !failed.syncs() {
        return;
    }
    for call in &met.calls[place + 1..] {
        let into = call.to.as_deref().and_then(Path::parent);
        let uses = call.path == failed.path && (call.syncs() || call.renames());
        let relies = uses || into == Some(&failed.path);
        assert!(!relies, "after a failed {} there was {}\n{}", shown(failed), shown(call), met.ended);
    }
}

/// One line says what is wrong, where something was wrong.
fn assert_told(met: &Met, place: usize) {
    let call = &met.calls[place];
    let ended = &met.ended;
    assert!(matches!(ended.code, 0 | 1), "{}\n{ended}", shown(call));
    if ended.code == 1 {
        let told = ["o space left", "Input/output error", "Too many open files"];
        let lines = ended.err().lines().filter(|line| told.iter().any(|words| line.contains(words))).count();
        assert_eq!(lines, 1, "{}\n{ended}", shown(call));
    }
}

fn refused_at(met: &Met, place: usize) -> String {
    format!("call {place} refused or cut short: {} (exit code {})", shown(&met.calls[place]), met.ended.code)
}

#[test]
fn a_backup_survives_the_failure_of_any_call_on_the_repository() {
    let world = World::new();
    let mut failed = 0;
    sweep(
        every(1),
        refuse,
        || {
            let case = world.case();
            let (command, folder) = (case.command(case.backup()), case.path("repository"));
            (case, command, vec![folder])
        },
        |case, met, place, _| {
            assert_told(&met, place);
            assert_not_trusted(&met, place);
            let id = saved(&met.ended);
            assert_eq!(id.is_some(), met.ended.code == 0, "{}", met.ended);
            failed += usize::from(id.is_none());
            let mut kept = world.saved.clone();
            kept.extend(id.map(|id| (id, case.source())));
            case.assert_sound(&kept, &refused_at(&met, place), None);
        },
    );
    assert!(failed >= 30 / every(1), "{failed} failed");
}

#[test]
fn a_backup_does_not_fail_with_any_call_on_its_cache() {
    let world = World::new();
    let tried = sweep(
        every(7),
        refuse,
        || {
            let case = world.case();
            let (command, folder) = (case.command(case.backup()), case.path("home"));
            (case, command, vec![folder])
        },
        |case, met, place, _| {
            let after = refused_at(&met, place);
            let mut kept = world.saved.clone();
            kept.push((saved(&met.ended.expect(0)).unwrap(), case.source()));
            case.assert_sound(&kept, &after, None);
        },
    );
    assert!(tried > 0);
}

#[test]
fn a_prune_survives_the_failure_of_any_call_on_the_repository() {
    let world = to_be_pruned();
    let mut failed = 0;
    sweep(
        every(1),
        refuse,
        || {
            let case = world.case();
            let (command, folder) = (case.command(PRUNE), case.path("repository"));
            (case, command, vec![folder])
        },
        |case, met, place, process| {
            assert_told(&met, place);
            assert_not_trusted(&met, place);
            failed += usize::from(met.ended.code == 1);
            case.assert_sound(&world.saved[1..], &refused_at(&met, place), Some(process));
        },
    );
    assert!(failed >= 40 / every(1), "{failed} failed");
}

#[test]
fn a_write_that_takes_only_a_part_is_gone_on_with() {
    let world = to_be_pruned();
    for words in [Vec::from(world.case().backup()), PRUNE.map(Into::into).to_vec()] {
        let tried = sweep(
            every(1),
            half,
            || {
                let case = world.case();
                let (command, folder) = (case.command(&words), case.path("repository"));
                (case, command, vec![folder])
            },
            |case, met, place, _| {
                let after = refused_at(&met, place);
                let mut kept = world.saved[1..].to_vec();
                kept.extend(saved(&met.ended.expect(0)).map(|id| (id, case.source())));
                case.assert_sound(&kept, &after, None);
            },
        );
        assert!(tried >= 5 / every(1), "{tried} writes");
    }
}

#[test]
fn a_write_that_is_only_claimed_saves_nothing() {
    let world = World::new();
    let tried = sweep(
        every(1),
        |call| call.writes().then_some(Answer::Claim),
        || {
            let case = world.case();
            let (command, folder) = (case.command(case.backup()), case.path("repository"));
            (case, command, vec![folder])
        },
        |case, met, place, _| {
            let after = refused_at(&met, place);
            let file = &met.calls[place].path;
            assert!(!met.calls.iter().any(|call| call.renames() && call.path == *file), "{after}");
            let mut kept = world.saved.clone();
            // What is not an object, or says only that the run is over, may be missing.
            kept.extend(saved(&met.ended).map(|id| (id, case.source())));
            assert_eq!(kept.len() > world.saved.len(), met.ended.code == 0, "{after}");
            case.assert_sound(&kept, &after, None);
        },
    );
    assert!(tried >= 5 / every(1), "{tried} writes");
}

#[test]
fn what_failed_at_any_call_is_done_by_running_it_again() {
    let world = World::new();
    let forget = vec!["forget".to_owned(), world.saved[0].0.clone()];
    let passwd = |case: &Case<'_>| {
        let new = case.path("keys/new").to_str().unwrap().to_owned();
        vec!["key".to_owned(), "passwd".to_owned(), "--new-key-file".to_owned(), new]
    };
    let words = |case: &Case<'_>, which: usize| match which {
        0 => forget.clone(),
        1 => passwd(case),
        _ => vec!["init".to_owned()],
    };
    for which in 0..3 {
        let mut failed = 0;
        sweep(
            every(1),
            refuse,
            || {
                let case = if which == 2 { world.empty_case() } else { world.case() };
                let command = case.command(words(&case, which));
                let folders = vec![case.path("repository"), case.path("keys")];
                (case, command, folders)
            },
            |case, met, place, _| {
                assert_told(&met, place);
                assert_not_trusted(&met, place);
                let after = refused_at(&met, place);
                let is_failure = met.ended.code == 1;
                failed += usize::from(is_failure);
                let again = case.run(words(case, which));
                let new = end(case.command_with("keys/new", ["snapshots"]));
                match (which, is_failure) {
                    // It may have been done, and only the last sync failed.
                    (0, _) => drop(again.expect(0)),
                    (1, _) => {
                        assert!(matches!(again.code, 0 | 12), "{after}\n{again}");
                        new.expect(0);
                        std::fs::rename(case.path("keys/new"), case.path("keys/key")).unwrap();
                    }
                    // One that had its first key is gone on with by the first backup.
                    _ => {
                        assert!(matches!(again.code, 0 | 1), "{after}\n{again}");
                        case.back_up();
                    }
                }
                let kept = [&world.saved[..0], &world.saved[..], &world.saved[1..]][[2, 1, 0][which]];
                case.assert_sound(kept, &after, None);
            },
        );
        assert!(failed >= 3 / every(1), "{which}: {failed} failed");
    }
}
