//! `copal run` when something ends it, when what it remembers is not what it should be, and beside other profiles and snapshots: nothing is
//! taken away that should stay, and nothing goes wrong in silence.

mod common;
mod profiled;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::Sandbox;
use profiled::{BASE, profile_at, read, snapshots, wait_for, write_with_mode};
use serde_json::Value;

const KEEP: &str = "[forget]\nkeep-last = 1\n";

fn bare() -> Sandbox {
    profiled::bare(Sandbox::new().trusting_fresh_files())
}

fn profile(sandbox: &Sandbox, text: &str) {
    profiled::profile(sandbox, "home", text);
}

/// A repository `other` that a password opens, which lies in the file `password`.
fn other_with_password(sandbox: &Sandbox) {
    let password = write_with_mode(sandbox, "password", "secret\n", 0o600);
    let other = sandbox.path("other");
    sandbox
        .run(["init".as_ref(), "-r".as_ref(), other.as_os_str(), "-p".as_ref(), password.as_os_str()])
        .expect(0);
}

fn mailer(sandbox: &Sandbox) -> String {
    let path = write_with_mode(sandbox, "sendmail", "#!/bin/sh\ncat >> \"$(dirname \"$0\")/mails\"\n", 0o755);
    format!("[notices.admin]\nmail = \"root\"\nprogram = \"{}\"\n", path.display())
}

fn state(sandbox: &Sandbox) -> PathBuf {
    sandbox.path("home/state/copal/home.json")
}

/// 300 files, of which runs know what is usual.
fn settle(sandbox: &Sandbox) {
    for number in 0..300 {
        sandbox.write(format!("source/f{number}.txt"), format!("text {number} ").repeat(30));
    }
    for round in 0..3 {
        sandbox.write("source/a.txt", format!("{round}"));
        sandbox.run(["run", "home"]).expect(0);
    }
}

fn encrypt(sandbox: &Sandbox) {
    for number in 0..300u64 {
        let mut state = number + 1;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        let noise: Vec<u8> = (0..600).map(|_| noise()).collect();
        sandbox.write(format!("source/f{number}.txt"), noise);
    }
}

#[test]
fn an_alarm_outlives_a_run_that_is_killed_right_after_it() {
    let sandbox = bare();
    profile(&sandbox, &format!("{BASE}{KEEP}"));
    settle(&sandbox);
    encrypt(&sandbox);
    profile(&sandbox, &format!("{BASE}{KEEP}[hooks]\nfailed = \"touch HERE/begun; exec sleep 600\"\n"));
    let mut command = sandbox.command(["run", "home"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(&sandbox.path("begun"));
    child.kill().unwrap();
    child.wait().unwrap();
    profile(&sandbox, &format!("{BASE}{KEEP}"));
    let told = sandbox.run(["run", "home"]).expect(6).err();
    assert!(told.contains("forget waits") && told.contains("--accept mass-incompressible"), "{told}");
    assert_eq!(snapshots(&sandbox).len(), 3);
}

#[test]
fn a_backup_that_no_guard_has_looked_at_is_never_what_the_others_are_forgotten_for() {
    let sandbox = bare();
    profile(&sandbox, &format!("{BASE}{KEEP}"));
    settle(&sandbox);
    encrypt(&sandbox);
    // As a run leaves it that is killed after its backup and before it looked at that.
    let mut remembered: Value = serde_json::from_str(&read(state(&sandbox))).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    remembered["targets"]["main"]["unjudged"] = now.into();
    std::fs::write(state(&sandbox), remembered.to_string()).unwrap();
    sandbox.run(["backup", "--profile", "home"]).expect(0);
    let told = sandbox.run(["run", "home"]).expect(6).err();
    assert!(told.contains("before guards looked at that") && told.contains("is protected"), "{told}");
    assert_eq!(snapshots(&sandbox).len(), 3);
    sandbox.run(["run", "home", "--accept", "mass-change"]).expect(0);
    // One that was cut off before it made anything is no alarm.
    remembered = serde_json::from_str(&read(state(&sandbox))).unwrap();
    assert!(remembered["targets"]["main"]["unjudged"].is_null());
    remembered["targets"]["main"]["unjudged"] = (now + 3600).into();
    std::fs::write(state(&sandbox), remembered.to_string()).unwrap();
    sandbox.run(["run", "home"]).expect(0);
}

#[test]
fn what_is_remembered_and_damaged_may_have_been_an_alarm() {
    let sandbox = bare();
    profile(&sandbox, &format!("{BASE}{KEEP}"));
    sandbox.run(["run", "home"]).expect(0);
    std::fs::write(state(&sandbox), "{\"targets\": ").unwrap();
    sandbox.write("source/a.txt", "more");
    let told = sandbox.run(["run", "home"]).expect(6).err();
    assert!(told.contains("can not be read") && told.contains("forget waits"), "{told}");
    assert_eq!(snapshots(&sandbox).len(), 2);
    sandbox.run(["run", "home", "--accept", "low-space"]).expect(6);
    sandbox.run(["run", "home", "--accept", "mass-change"]).expect(0);
    assert_eq!(snapshots(&sandbox).len(), 1);
}

#[test]
fn where_nothing_is_remembered_guards_go_by_the_newest_snapshot() {
    let sandbox = bare();
    profile(&sandbox, &format!("{BASE}{KEEP}"));
    for number in 0..40 {
        sandbox.write(format!("source/f{number}.txt"), "text");
    }
    sandbox.run(["backup", "--profile", "home"]).expect(0);
    std::fs::rename(sandbox.source(), sandbox.path("away")).unwrap();
    std::fs::create_dir(sandbox.source()).unwrap();
    sandbox.run(["run", "home"]).expect(6).warns("--accept source-empty");
    // Nearly all is gone.
    std::fs::remove_dir_all(sandbox.path("home/state")).unwrap();
    sandbox.write("source/f1.txt", "text");
    sandbox.run(["run", "home"]).expect(6).warns("--accept mass-removal");
    assert_eq!(snapshots(&sandbox).len(), 2);
}

#[test]
fn the_rules_of_a_profile_are_not_for_snapshots_that_have_more_sources() {
    let sandbox = bare();
    profile(&sandbox, &format!("{BASE}{KEEP}"));
    sandbox.write("elsewhere/x", "x");
    let source = sandbox.source();
    for round in 0..3 {
        sandbox.write("source/a.txt", format!("{round}"));
        sandbox
            .run(["backup".as_ref(), "--profile=home".as_ref(), source.as_os_str(), "elsewhere".as_ref()])
            .expect(0);
        sandbox.run(["run", "home"]).expect(0);
    }
    let all = snapshots(&sandbox);
    assert_eq!(all.iter().filter(|paths| paths.contains("elsewhere")).count(), 3, "{all:?}");
    assert_eq!(all.len(), 4);
}

#[test]
fn the_rules_of_a_profile_that_has_its_sources_from_a_file_are_for_those_alone() {
    let sandbox = bare();
    let text = BASE.replace("sources = [\"SOURCE\"]", "files-from-verbatim = \"HERE/list\"");
    sandbox.write("list", format!("{}\n", sandbox.source().display()));
    sandbox.write("elsewhere/x", "x");
    profile(&sandbox, &format!("{text}{KEEP}"));
    for round in 0..2 {
        sandbox.write("elsewhere/x", format!("{round}"));
        sandbox.write("source/a.txt", format!("{round}"));
        let elsewhere = sandbox.path("elsewhere");
        let (repository, key) = (sandbox.repository(), sandbox.key_file());
        let words = ["-r".as_ref(), repository.as_os_str(), "--key-file".as_ref(), key.as_os_str()];
        sandbox.run(["backup".as_ref(), elsewhere.as_os_str()].into_iter().chain(words)).expect(0);
        sandbox.run(["run", "home"]).expect(0);
    }
    let all = snapshots(&sandbox);
    assert_eq!(all.iter().filter(|paths| paths.contains("elsewhere")).count(), 2, "{all:?}");
    assert_eq!(all.len(), 3);
}

#[test]
fn a_log_that_can_not_be_written_keeps_no_backup_from_being_made() {
    let sandbox = bare();
    sandbox.write("blocked", "a file");
    profile(&sandbox, &format!("{BASE}[log]\nfile = \"HERE/blocked/home.log\"\n{}", mailer(&sandbox)));
    let told = sandbox.run(["run", "home"]).expect(0).err();
    assert!(told.contains("blocked/home.log can not be written"), "{told}");
    assert_eq!(snapshots(&sandbox).len(), 1);
    assert!(read(sandbox.path("mails")).contains("can not be written"));
}

#[test]
fn a_run_that_can_not_remember_anything_is_told_to_those_who_wait_for_word() {
    let mut sandbox = bare();
    let blocked = sandbox.write("blocked", "a file");
    sandbox.set("XDG_STATE_HOME", blocked);
    profile(&sandbox, &format!("{BASE}{}", mailer(&sandbox)));
    sandbox.run(["run", "home"]).expect(1);
    assert!(read(sandbox.path("mails")).contains("blocked"), "{}", read(sandbox.path("mails")));
}

#[test]
fn a_repository_whose_name_can_not_be_read_is_told_to_those_who_wait_for_word() {
    let sandbox = bare();
    let text = BASE.replace("repository =", "repository-file =").replace("REPOSITORY", "HERE/nowhere");
    profile(&sandbox, &format!("{text}{}", mailer(&sandbox)));
    sandbox.run(["run", "home"]).expect(2);
    assert!(read(sandbox.path("mails")).contains("nowhere"), "{}", read(sandbox.path("mails")));
}

#[test]
fn something_that_a_step_leaves_behind_does_not_keep_the_run_waiting() {
    let sandbox = bare();
    other_with_password(&sandbox);
    // What agents do that are started for the first time: they stay, and keep the streams that they got.
    profile(
        &sandbox,
        "repository = \"HERE/other\"\npassword-command = \"sleep 600 >/dev/null & echo $! >> HERE/left; cat HERE/password\"\n[backup]\nsources = [\"SOURCE\"]\n",
    );
    let mut command = sandbox.command(["run", "home"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if began.elapsed() > Duration::from_secs(120) => break None,
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    let _ = child.kill();
    for pid in read(sandbox.path("left")).lines() {
        let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    assert_eq!(status.expect("it waits for what a step left behind").code(), Some(0));
}

#[test]
fn what_prints_the_password_is_no_word_of_any_step() {
    let sandbox = bare();
    other_with_password(&sandbox);
    profile(
        &sandbox,
        "repository = \"HERE/other\"\npassword-command = \"tr '\\\\0' ' ' < /proc/$PPID/cmdline >> HERE/seen; echo secret\"\n[backup]\nsources = [\"SOURCE\"]\n",
    );
    sandbox.run(["run", "home"]).expect(0);
    let seen = read(sandbox.path("seen"));
    assert!(seen.contains("backup --json") && !seen.contains("echo secret"), "{seen}");
}

#[test]
fn a_variable_that_leads_away_from_the_profiles_repository_is_told() {
    let mut sandbox = bare();
    profile(&sandbox, &BASE.replace("REPOSITORY", "HERE/nowhere"));
    let repository = sandbox.repository();
    sandbox.set("COPAL_REPOSITORY", repository);
    let told = sandbox.run(["backup", "--profile", "home"]).expect(0).err();
    assert!(told.contains("COPAL_REPOSITORY is set, and counts before"), "{told}");
    // A run is of its profile.
    sandbox.run(["run", "home"]).expect(10);
}

#[test]
fn profiles_of_one_name_in_several_folders_do_not_share_what_is_remembered() {
    let sandbox = bare();
    profile(&sandbox, BASE);
    profile_at(&sandbox, "elsewhere/home.toml", BASE);
    sandbox.run(["run", "./elsewhere/home.toml"]).expect(0);
    sandbox.run(["status", "home"]).expect(1).says("never run");
    sandbox.run(["status", "./elsewhere/home.toml"]).expect(0);
    assert!(!state(&sandbox).exists());
}

#[test]
fn what_contradicts_a_profile_is_refused_and_not_passed_over() {
    let sandbox = bare();
    profile(&sandbox, BASE);
    sandbox.run(["run", "home", "-r", "elsewhere"]).expect(2).warns("--repo from the profile");
    sandbox.run(["run", "home", "--limit-upload", "100M", "--memory", "64M"]).expect(0);
    // A backup that never saves anything is no profile's.
    profile(&sandbox, &format!("{BASE}dry-run = true\n"));
    sandbox.run(["run", "home"]).expect(2).warns("dry-run");
}
