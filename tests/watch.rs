//! The real program watching: what changes is saved, whatever happens meanwhile, and it ends as it should.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::{Sandbox, demand_root, signal};
use rustix::process::Signal;
use serde_json::Value;

/// What takes longer never comes.
const NEVER: Duration = Duration::from_secs(120);

/// A watch that runs, and the lines that it writes.
struct Running {
    child: Child,
    lines: Receiver<Value>,
}

impl Running {
    /// Begins to watch the source with short periods; the first walk is over when this returns.
    fn begin(sandbox: &Sandbox, options: &[&str]) -> Running {
        let mut running = Running::begin_alone(sandbox, options);
        running.wait_for("the first walk", |line| line["message_type"] == "summary");
        running
    }

    fn send(&self, signal: rustix::process::Signal) {
        let process = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(process, signal).unwrap();
    }

    fn begin_alone(sandbox: &Sandbox, options: &[&str]) -> Running {
        let source = sandbox.source();
        let words = ["watch", "--json", "--quiet-period", "100ms", "--every", "0s"];
        let mut command =
            sandbox.command(words.iter().chain(options).copied().chain([source.to_str().unwrap()]));
        Running::of(&mut command)
    }

    fn of(command: &mut Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (send, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = send.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        Running { child, lines }
    }

    /// Waits for a line; those before it are gone.
    #[track_caller]
    fn wait_for(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        let mut passed = Vec::new();
        while began.elapsed() < NEVER {
            let line = match self.lines.recv_timeout(Duration::from_millis(200)) {
                Ok(line) => line,
                Err(_) if self.child.try_wait().unwrap().is_some() => break,
                Err(_) => continue,
            };
            if is_it(&line) {
                return line;
            }
            passed.push(line);
        }
        panic!("{what} never came; what came: {passed:#?}");
    }

    #[track_caller]
    fn wait_for_state(&mut self, state: &str) -> Value {
        self.wait_for(state, |line| line["message_type"] == "watch" && line["state"] == state)
    }

    /// Waits until a snapshot holds the source as it is, and gives the summaries on the way.
    #[track_caller]
    fn wait_until_saved(&mut self, sandbox: &Sandbox) -> Vec<Value> {
        let mut summaries = Vec::new();
        let began = Instant::now();
        loop {
            summaries.push(self.wait_for("a snapshot", |line| line["message_type"] == "summary"));
            let target = format!("out-{}", std::process::id());
            let restored = sandbox.restore(&target);
            let same = common::differences(&sandbox.source(), &restored, common::Compare { owners: true });
            fs::remove_dir_all(sandbox.path(&target)).unwrap();
            if same.is_empty() {
                return summaries;
            }
            assert!(began.elapsed() < NEVER, "never saved: {same:#?}");
        }
    }

    /// Sends SIGTERM and gives the exit code and what was written to standard error.
    fn end(self) -> (i32, String) {
        self.end_by(Signal::TERM)
    }

    fn end_by(self, by: Signal) -> (i32, String) {
        signal(&self.child, by);
        self.ended()
    }

    fn ended(self) -> (i32, String) {
        let ended = common::end_child(self.child, "copal watch".to_owned());
        (ended.code, String::from_utf8_lossy(&ended.stderr).into_owned())
    }
}

fn snapshots(sandbox: &Sandbox) -> Vec<Value> {
    let ended = sandbox.run(["snapshots", "--json"]).expect(0);
    let text = String::from_utf8(ended.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["message_type"] == "snapshot").collect()
}

fn source_with_files() -> Sandbox {
    let sandbox = Sandbox::new().with("COPAL_TEST_WATCH_PAUSE", "100");
    sandbox.write("source/one", "1");
    sandbox.write("source/folder/below/two", "2");
    sandbox.write("source/other/three", "3");
    sandbox
}

#[test]
fn an_edit_is_saved_when_it_is_quiet_and_nothing_else_makes_a_snapshot() {
    let sandbox = source_with_files();
    let mut watch = Running::begin(&sandbox, &[]);
    assert_eq!(snapshots(&sandbox).len(), 1);
    sandbox.write("source/folder/below/two", "changed");
    let saved = watch.wait_until_saved(&sandbox);
    assert!(saved.iter().any(|line| line["snapshot_id"].is_string()), "{saved:?}");
    let made = snapshots(&sandbox);
    assert_eq!(made.len(), 1 + saved.iter().filter(|line| line["snapshot_id"].is_string()).count());
    assert!(made.iter().all(|line| line["tags"] == serde_json::json!(["watch"])), "{made:?}");
    // Its totals are those of a walk, though most was not looked at.
    assert_eq!(saved.last().unwrap()["total_files_processed"], 3);
    // Touched and as before: looked at, and not saved.
    fs::set_permissions(
        sandbox.source().join("one"),
        fs::metadata(sandbox.source().join("one")).unwrap().permissions(),
    )
    .unwrap();
    let summary = watch.wait_for("a look", |line| line["message_type"] == "summary");
    assert!(summary["snapshot_id"].is_null(), "{summary}");
    assert_eq!(watch.end().0, 143);
    assert_eq!(snapshots(&sandbox).len(), made.len());
    // What a walk finds is the same.
    let walked = sandbox.back_up_with(&["--force", "--skip-if-unchanged"]);
    assert!(walked["snapshot_id"].is_null(), "{walked}");
}

#[test]
fn a_new_folder_is_saved_with_all_that_was_made_in_it_at_once() {
    let sandbox = source_with_files();
    let mut watch = Running::begin(&sandbox, &[]);
    for number in 0..200 {
        sandbox.write(format!("source/new/{}/{number}", number % 20), number.to_string());
    }
    watch.wait_until_saved(&sandbox);
    // In a folder that was not there at the start.
    sandbox.write("source/new/7/later", "later");
    watch.wait_until_saved(&sandbox);
    watch.end();
}

#[test]
fn renamed_replaced_and_removed_folders_are_saved_as_they_are() {
    let sandbox = source_with_files();
    let mut watch = Running::begin(&sandbox, &[]);
    let source = sandbox.source();
    fs::rename(source.join("folder"), source.join("other/moved")).unwrap();
    watch.wait_until_saved(&sandbox);
    sandbox.write("source/other/moved/below/two", "after the move");
    watch.wait_until_saved(&sandbox);
    sandbox.write("outside/from/elsewhere", "x");
    fs::rename(sandbox.path("outside"), source.join("from outside")).unwrap();
    watch.wait_until_saved(&sandbox);
    sandbox.write("source/from outside/from/elsewhere", "and changed");
    watch.wait_until_saved(&sandbox);
    fs::remove_dir_all(source.join("other")).unwrap();
    watch.wait_until_saved(&sandbox);
    assert_eq!(watch.end_by(Signal::INT).0, 130);
}

#[test]
fn a_source_that_is_replaced_is_watched_as_what_it_is_now() {
    let sandbox = source_with_files();
    let mut watch = Running::begin(&sandbox, &[]);
    fs::rename(sandbox.source(), sandbox.path("before")).unwrap();
    watch.wait_for_state("waiting");
    sandbox.write("source/new/file", "new");
    watch.wait_until_saved(&sandbox);
    sandbox.write("source/new/file", "changed");
    watch.wait_until_saved(&sandbox);
    watch.end();
}

#[test]
fn events_that_the_system_could_not_keep_are_made_up_for_by_a_walk() {
    let sandbox = source_with_files();
    let most: usize =
        fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    let mut watch = Running::begin(&sandbox, &[]);
    // It stands still while the queue of the system fills.
    watch.send(rustix::process::Signal::STOP);
    // Each name is written to: at least two events, so the queue overflows.
    fs::create_dir(sandbox.source().join("many")).unwrap();
    for number in 0..most / 2 + 1000 {
        fs::write(sandbox.source().join(format!("folder/{number}")), "").unwrap();
    }
    sandbox.write("source/many/deep/er/file", "in a folder that nobody told of");
    watch.send(rustix::process::Signal::CONT);
    let line = watch.wait_for_state("walking");
    assert!(line["message"].as_str().unwrap().contains("could not keep up"), "{line}");
    let file = sandbox.source().join("many/deep/er/file");
    let wanted = format!("latest:{}", file.display());
    for text in ["in a folder that nobody told of", "which is watched all the same"] {
        fs::write(&file, text).unwrap();
        while sandbox.run(["dump", &wanted]).out() != text {
            watch.wait_for("a snapshot", |line| line["message_type"] == "summary");
        }
    }
    watch.end();
}

#[test]
fn folders_that_can_not_be_watched_are_walked_each_time() {
    let sandbox = source_with_files().with("COPAL_TEST_WATCHES", "8");
    for number in 0..20 {
        sandbox.write(format!("source/many/{number}/file"), "1");
    }
    let mut watch = Running::begin(&sandbox, &[]);
    for number in 0..20 {
        sandbox.write(format!("source/many/{number}/file"), "2");
    }
    sandbox.write("source/one", "told");
    watch.wait_until_saved(&sandbox);
    let (_, said) = watch.end();
    assert!(said.contains("can not be watched") && said.contains("max_user_watches"), "{said}");
}

#[test]
fn a_repository_that_is_away_is_waited_for_and_what_changed_meanwhile_is_saved() {
    let sandbox = source_with_files();
    let mut watch = Running::begin(&sandbox, &[]);
    fs::rename(sandbox.repository(), sandbox.path("unplugged")).unwrap();
    sandbox.write("source/folder/one more", "1");
    let line = watch.wait_for_state("waiting");
    assert!(line["message"].as_str().unwrap().contains("no repository"), "{line}");
    sandbox.write("source/other/two more", "2");
    // Told once, however often it is tried.
    fs::rename(sandbox.path("unplugged"), sandbox.repository()).unwrap();
    let line = watch.wait_for("a state", |line| line["message_type"] == "watch");
    assert_eq!(line["state"], "watching", "it was told again: {line}");
    watch.wait_until_saved(&sandbox);
    // A disk that is missing at the start is waited for too, when it was there before.
    watch.end();
    fs::rename(sandbox.repository(), sandbox.path("unplugged")).unwrap();
    sandbox.write("source/while nobody watched", "3");
    let mut watch = Running::begin_alone(&sandbox, &[]);
    watch.wait_for_state("waiting");
    fs::rename(sandbox.path("unplugged"), sandbox.repository()).unwrap();
    watch.wait_until_saved(&sandbox);
    watch.end();
}

#[test]
fn no_session_and_no_lock_stays_between_backups() {
    let sandbox = source_with_files();
    let mut watch = Running::begin(&sandbox, &[]);
    sandbox.write("source/one", common::noise(1, 100_000));
    watch.wait_until_saved(&sandbox);
    fs::remove_file(sandbox.source().join("one")).unwrap();
    watch.wait_until_saved(&sandbox);
    let ids: Vec<Value> = snapshots(&sandbox).into_iter().map(|line| line["id"].clone()).collect();
    let (_, old) = ids.split_last().unwrap();
    sandbox.run(["forget"].into_iter().chain(old.iter().map(|id| id.as_str().unwrap()))).expect(0);
    let room = || -> u64 {
        let files = walkdir::WalkDir::new(sandbox.repository().join("packs")).into_iter().flatten();
        files.filter(|entry| entry.file_type().is_file()).map(|entry| entry.metadata().unwrap().len()).sum()
    };
    let before = room();
    let pruned = sandbox.run(["prune", "--grace", "0"]).expect(0);
    assert!(room() + 90_000 < before, "nothing was given back at once: {pruned}");
    sandbox.write("source/after the prune", "1");
    watch.wait_until_saved(&sandbox);
    watch.end();
}

#[test]
fn a_wrong_password_and_a_repository_that_is_none_end_it() {
    let mut sandbox = source_with_files();
    let source = sandbox.source();
    let source = source.to_str().unwrap();
    sandbox.run(["watch", "-r", "nowhere", source]).expect(10);
    for option in ["--stdin", "--dry-run", "--force", "--time=2026-01-01"] {
        sandbox.run(["watch", option, source]).expect(2);
    }
    sandbox.run(["watch", "--walk-every", "0s", source]).expect(2);
    sandbox.unset("COPAL_KEY_FILE");
    sandbox.set("COPAL_PASSWORD", "wrong");
    sandbox.run(["watch", source]).expect(12);
}

#[test]
fn a_second_watch_of_the_same_sources_is_refused_until_the_first_is_gone() {
    let sandbox = source_with_files();
    let first = Running::begin(&sandbox, &[]);
    let source = sandbox.source();
    let words = ["watch", source.to_str().unwrap()];
    sandbox.run(words).expect(11).warns("another watch");
    // Also where the cache is another one, and after a crash the lock is free.
    sandbox.run(words.iter().chain(&["--cache-dir", "elsewhere"])).expect(11);
    first.end_by(Signal::KILL);
    Running::begin(&sandbox, &[]).end();
}

#[test]
fn its_own_files_do_not_wake_it() {
    // The repository, the cache and the lock lie in the source.
    let sandbox = Sandbox::empty();
    let repository = sandbox.source().join("repository");
    let state = sandbox.source().join("state");
    let cache = sandbox.source().join("cache");
    let sandbox = sandbox
        .with("COPAL_REPOSITORY", repository)
        .with("XDG_STATE_HOME", state)
        .with("XDG_CACHE_HOME", cache)
        .with("COPAL_TEST_RACY_SECONDS", "0");
    sandbox.run(["init"]).expect(0);
    sandbox.write("source/file", "1");
    let mut watch = Running::begin(&sandbox, &[]);
    sandbox.write("source/file", "2");
    watch.wait_for("a snapshot", |line| line["snapshot_id"].is_string());
    // What was written for that snapshot would be told by now: the next thing that is told is of another edit.
    sandbox.write("source/file", "33");
    let summary = watch.wait_for("a summary", |line| line["message_type"] == "summary");
    assert_eq!(summary["files_changed"], 1, "{summary}");
    watch.end();
}

#[test]
fn what_is_left_out_wakes_nobody_and_what_is_no_longer_left_out_is_saved() {
    let sandbox = source_with_files();
    sandbox.write("source/build/output", "1");
    sandbox.write("source/cached/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n");
    sandbox.write("source/cached/deep/data", "1");
    let mut watch = Running::begin(&sandbox, &["--exclude", "build", "--exclude-caches"]);
    sandbox.write("source/build/output", "2");
    sandbox.write("source/cached/deep/data", "2");
    sandbox.write("source/one", "2");
    let summary = watch.wait_for("a snapshot", |line| line["snapshot_id"].is_string());
    assert_eq!((&summary["files_changed"], &summary["files_new"]), (&1.into(), &0.into()), "{summary}");
    fs::remove_file(sandbox.source().join("cached/CACHEDIR.TAG")).unwrap();
    let summary = watch.wait_for("a snapshot", |line| line["snapshot_id"].is_string());
    assert_eq!(summary["files_new"], 1, "{summary}");
    sandbox.write("source/cached/deep/data", "3 is watched now");
    let summary = watch.wait_for("a snapshot", |line| line["snapshot_id"].is_string());
    assert_eq!(summary["files_changed"], 1, "{summary}");
    watch.end();
}

#[test]
fn snapshots_of_the_watch_are_thinned_and_no_others() {
    let sandbox = source_with_files().with("COPAL_TEST_WATCH_THIN", "0");
    sandbox.back_up();
    let mut watch = Running::begin(&sandbox, &["--keep-last", "2"]);
    for text in ["a", "b", "c", "d"] {
        sandbox.write("source/one", text);
        watch.wait_for("a snapshot", |line| line["snapshot_id"].is_string());
    }
    sandbox.write("source/one", "the last one");
    watch.wait_until_saved(&sandbox);
    watch.end();
    let left = snapshots(&sandbox);
    let of_the_watch = left.iter().filter(|line| line["tags"] == serde_json::json!(["watch"])).count();
    assert_eq!((of_the_watch, left.len()), (2, 3), "{left:?}");
}

#[test]
fn on_battery_it_waits_for_power_when_told_to() {
    let sandbox = source_with_files();
    let supplies = sandbox.path("supplies");
    sandbox.write("supplies/BAT0/type", "Battery");
    sandbox.write("supplies/BAT0/status", "Discharging");
    let sandbox = sandbox.with("COPAL_TEST_POWER_SUPPLY", supplies);
    let mut watch = Running::begin_alone(&sandbox, &["--on-battery", "pause"]);
    watch.wait_for_state("paused");
    assert_eq!(snapshots(&sandbox).len(), 0);
    sandbox.write("supplies/BAT0/status", "Charging");
    watch.wait_until_saved(&sandbox);
    watch.end();
}

#[test]
fn a_file_can_be_watched_and_is_saved_when_another_takes_its_place() {
    let sandbox = source_with_files();
    let source = sandbox.source().join("one");
    let words = ["watch", "--json", "--quiet-period", "100ms", "--every", "0s", source.to_str().unwrap()];
    let mut watch = Running::of(&mut sandbox.command(words));
    watch.wait_for("the first walk", |line| line["message_type"] == "summary");
    for text in ["in its place", "and in its place"] {
        sandbox.write("source/new one", text);
        fs::rename(sandbox.source().join("new one"), &source).unwrap();
        watch.wait_for("a snapshot", |line| line["snapshot_id"].is_string());
    }
    sandbox.write("source/one", "written to");
    watch.wait_for("a snapshot", |line| line["snapshot_id"].is_string());
    watch.end();
}

#[test]
fn what_can_not_be_read_is_told_and_saved_once() {
    let mut sandbox = Sandbox::of_nobody();
    sandbox.set("COPAL_TEST_WATCH_PAUSE", "100");
    let secret = sandbox.write("source/secret", "1");
    sandbox.write("source/folder/file", "1");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    let mut watch = Running::begin(&sandbox, &[]);
    // Nothing changed: the same can not be read as before.
    let file = sandbox.source().join("folder/file");
    fs::set_permissions(&file, fs::metadata(&file).unwrap().permissions()).unwrap();
    let summary = watch.wait_for("a look", |line| line["message_type"] == "summary");
    assert_eq!((&summary["snapshot_id"], &summary["unreadable"]), (&Value::Null, &1.into()), "{summary}");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let summary = watch.wait_for("a snapshot", |line| line["snapshot_id"].is_string());
    assert_eq!(summary["unreadable"], 0, "{summary}");
    watch.end();
}

#[test]
fn its_own_log_in_the_source_is_no_reason_for_a_snapshot() {
    let sandbox = source_with_files();
    let source = sandbox.source();
    let log = fs::File::create(source.join("log")).unwrap();
    let words = ["watch", "--quiet-period", "50ms", "--every", "0s", source.to_str().unwrap()];
    let mut child = sandbox.command(words).stdout(log).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    let mut wait_for = |count: usize| {
        while snapshots(&sandbox).len() < count {
            assert!(began.elapsed() < NEVER && child.try_wait().unwrap().is_none());
        }
    };
    for number in 1..6 {
        wait_for(number);
        sandbox.write("source/one", number.to_string().repeat(number));
    }
    wait_for(6);
    signal(&child, Signal::TERM);
    common::end_child(child, "copal watch".to_owned());
    assert_eq!(snapshots(&sandbox).len(), 6, "one at the start and one for each edit");
}

#[test]
fn root_what_is_mounted_below_while_it_runs_is_saved() {
    demand_root();
    let sandbox = source_with_files();
    fs::create_dir(sandbox.source().join("disk")).unwrap();
    // In a mount namespace of its own, and the mount is made in it.
    let (begun, script) = (
        sandbox.path("begun"),
        "copal=$1; shift; \"$copal\" \"$@\" & \
        echo $! > pid; while [ ! -e begun ]; do sleep 0.05; done; \
        mount --bind other-disk source/disk; wait",
    );
    sandbox.write("other-disk/inside/file", "mounted");
    let mut words = vec!["-ec", script, "sh", env!("CARGO_BIN_EXE_copal"), "watch", "--json"];
    let source = sandbox.source();
    words.extend(["--quiet-period", "100ms", "--every", "0s", source.to_str().unwrap()]);
    let mut shell = Command::new("unshare");
    shell.args(["-m", "sh"]).args(&words).env_clear().current_dir(sandbox.path(""));
    shell.envs(sandbox.command([""]).get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut watch = Running::of(shell.stdin(Stdio::null()));
    watch.wait_for("the first walk", |line| line["message_type"] == "summary");
    fs::write(begun, "").unwrap();
    let line = watch.wait_for_state("walking");
    assert!(line["message"].as_str().unwrap().contains("mounted"), "{line}");
    let summary = watch.wait_for("a snapshot", |line| line["snapshot_id"].is_string());
    assert_eq!(summary["files_new"], 1, "{summary}");
    // Through its other path: the system tells of the folder, wherever it is.
    sandbox.write("other-disk/inside/file", "changed below");
    let summary = watch.wait_for("a snapshot", |line| line["snapshot_id"].is_string());
    assert_eq!(summary["files_changed"], 1, "{summary}");
    let pid: i32 = fs::read_to_string(sandbox.path("pid")).unwrap().trim().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    watch.ended();
}
