//! `copal run` and `copal status`: everything a profile says, in order, with word of how it went.

mod common;
mod profiled;

use std::path::PathBuf;
use std::process::Stdio;

use common::{Sandbox, end_child};
use profiled::{BASE, read, snapshots, wait_for, write_with_mode};
use serde_json::Value;

fn bare() -> Sandbox {
    profiled::bare(Sandbox::new().trusting_fresh_files())
}

fn profile(sandbox: &Sandbox, text: &str) {
    profiled::profile(sandbox, "home", text);
}

fn script(sandbox: &Sandbox, name: &str, text: &str) -> PathBuf {
    write_with_mode(sandbox, name, &format!("#!/bin/sh\n{text}\n"), 0o755)
}

#[test]
fn a_run_does_what_is_due_in_order_and_remembers_it() {
    let sandbox = bare();
    profile(
        &sandbox,
        &format!(
            "{BASE}[forget]\nkeep-last = 2\n[prune]\nevery = \"7d\"\n[check]\nbudget = \"1m\"\n[drill]\nevery = \"30d\"\n[log]\nfile = \"HERE/log/home.log\"\n"
        ),
    );
    let said = sandbox.run(["run", "home"]).expect(0).out();
    let names: Vec<&str> = said.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["backup", "forget", "prune", "check", "drill"], "{said}");
    assert!(said.contains("1 new, 0 changed, 0 gone, 0 unchanged"), "{said}");
    assert!(said.contains("drill    1 file (1 B) restored and compared, "), "{said}");
    assert!(said.contains("check    1 snapshot and 1 file looked at, "), "{said}");
    assert!(said.contains("forget   1 snapshot kept, 0 forgotten"), "{said}");
    for round in 0..2 {
        sandbox.write("source/b.txt", format!("{round}"));
        let said = sandbox.run(["run", "home"]).expect(0).out();
        assert!(said.contains("prune    not due for another 6d"), "{said}");
        assert!(said.lines().any(|line| line.starts_with("check    ") && line.contains("read")), "{said}");
        assert!(said.contains("drill    not due"), "{said}");
    }
    assert!(sandbox.run(["run", "home", "--all"]).expect(0).out().contains("prune    removed"), "pruned");
    assert_eq!(snapshots(&sandbox).len(), 2);
    let status = sandbox.run(["status"]).expect(0).out();
    assert!(status.starts_with("home: success, ") && status.contains("main: saved "), "{status}");
    let line = sandbox.run(["status", "--json", "--max-age", "1h"]).expect(0).json().remove(0);
    assert_eq!((&line["state"], &line["targets"][0]["too_old"]), (&0.into(), &false.into()));
    let remembered = sandbox.path("home/state/copal/home.json");
    let mut state: Value = serde_json::from_str(&read(&remembered)).unwrap();
    let succeeded = state["targets"]["main"]["succeeded"].as_i64().unwrap();
    state["targets"]["main"]["succeeded"] = (succeeded - 7200).into();
    std::fs::write(&remembered, state.to_string()).unwrap();
    sandbox.run(["status"]).expect(0).says("saved 2h ago");
    sandbox.run(["status", "--max-age", "1h"]).expect(1);
    assert!(read(sandbox.path("log/home.log")).contains("backup   1 new"));
    // Quiet says nothing when all is well: cron sends no mail.
    let ended = sandbox.run(["run", "home", "-q"]).expect(0);
    assert_eq!((ended.out(), ended.err()), (String::new(), String::new()));
}

#[test]
fn a_dry_run_changes_nothing() {
    let sandbox = bare();
    profile(&sandbox, &format!("{BASE}[forget]\nkeep-last = 1\n[hooks]\nbefore = \"touch HERE/hooked\"\n"));
    let said = sandbox.run(["run", "home", "-n"]).expect(0).out();
    assert!(said.contains("would: 1 new"), "{said}");
    assert_eq!(snapshots(&sandbox).len(), 0);
    assert!(!sandbox.path("hooked").exists() && !sandbox.path("home/state").exists());
    sandbox.run(["status"]).expect(1).says("never run");
    sandbox.run(["run", "nobody"]).expect(2);
    sandbox.run(["run", "home", "--target", "else"]).expect(2);
}

#[test]
fn hooks_surround_a_run_and_know_how_it_went() {
    let sandbox = bare();
    let hooks = "[hooks]\nbefore = [\"cat > HERE/before.json\"]\nafter = [\"cat > HERE/after.json\"]\nfailed = \"echo failed >> HERE/order\"\nfinally = \"echo finally $COPAL_OUTCOME $COPAL_EXIT_CODE >> HERE/order\"\n";
    profile(&sandbox, &format!("{BASE}{hooks}"));
    sandbox.run(["run", "home"]).expect(0);
    let before: Value = serde_json::from_str(&read(sandbox.path("before.json"))).unwrap();
    assert_eq!(before["profile"], "home");
    let after: Value = serde_json::from_str(&read(sandbox.path("after.json"))).unwrap();
    assert_eq!((&after["outcome"], &after["files_new"]), (&"success".into(), &1.into()));
    assert_eq!(after["steps"][0]["name"], "hook before 1");
    assert_eq!(read(sandbox.path("order")), "finally success 0\n");
    // What must be done before can not be done: no backup.
    profile(&sandbox, &format!("{BASE}{}", hooks.replace("cat > HERE/before.json", "exit 7")));
    let told = sandbox.run(["run", "home"]).expect(1).err();
    assert!(told.contains("hook before"), "{told}");
    assert_eq!(snapshots(&sandbox).len(), 1);
    assert_eq!(read(sandbox.path("order")), "finally success 0\nfailed\nfinally failure 1\n");
    // What follows can not be done: the backup stands, and the end says so.
    profile(&sandbox, &format!("{BASE}{}", hooks.replace("cat > HERE/after.json", "exit 7")));
    sandbox.run(["run", "home"]).expect(3);
}

#[test]
fn most_files_encrypted_at_once_raise_an_alarm_and_nothing_is_forgotten_until_somebody_looked() {
    let sandbox = bare();
    profile(&sandbox, &format!("{BASE}[forget]\nkeep-last = 1\n[prune]\n"));
    for number in 0..1500 {
        sandbox.write(format!("source/d{}/f{number}.txt", number % 20), format!("text {number} ").repeat(30));
    }
    for round in 0..4 {
        sandbox.write("source/a.txt", format!("{round}"));
        sandbox.run(["run", "home"]).expect(0);
    }
    assert_eq!(snapshots(&sandbox).len(), 1);
    let clean = sandbox.run(["ls", "-R", "--profile", "home"]).expect(0).out();
    for (seed, number) in (0..1500u64).enumerate() {
        let path = sandbox.path(format!("source/d{}/f{number}.txt", number % 20));
        let mut state = seed as u64 + 1;
        let noise: Vec<u8> = (0..600)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        std::fs::write(&path, noise).unwrap();
        std::fs::rename(&path, path.with_extension("txt.locked")).unwrap();
    }
    let ended = sandbox.run(["run", "home"]).expect(6);
    let told = ended.err();
    assert!(told.contains("copal run home --accept mass-"), "{told}");
    assert!(told.contains("is protected"), "{told}");
    // The backup was made; the clean one is still there, also after further runs.
    assert_eq!(snapshots(&sandbox).len(), 2);
    sandbox.write("source/a.txt", "more");
    let told = sandbox.run(["run", "home"]).expect(6).err();
    assert!(told.contains("forget waits: a guard raised an alarm on "), "{told}");
    assert_eq!(snapshots(&sandbox).len(), 3);
    assert_eq!(sandbox.run(["ls", "-R", "--profile", "home", "latest~2"]).expect(0).out(), clean);
    sandbox.run(["status"]).expect(1).says("waits for somebody to look");
    // An alarm is accepted by its own name.
    sandbox.run(["run", "home", "--accept", "mass-change"]).expect(6).warns("--accept mass-incompressible");
    assert_eq!(snapshots(&sandbox).len(), 4);
    sandbox.run(["run", "home", "--accept", "mass-incompressible"]).expect(0);
    // The protected one stays until somebody takes that back.
    assert_eq!(snapshots(&sandbox).len(), 2);
    sandbox.run(["run", "home", "--accept", "mass-exchange"]).expect(2);
    sandbox.run(["status"]).expect(0);
}

#[test]
fn a_source_that_is_empty_all_of_a_sudden_is_not_saved_as_such() {
    let sandbox = bare();
    profile(&sandbox, &format!("{BASE}[forget]\nkeep-last = 1\n"));
    sandbox.run(["run", "home"]).expect(0);
    std::fs::rename(sandbox.source(), sandbox.path("away")).unwrap();
    std::fs::create_dir(sandbox.source()).unwrap();
    let told = sandbox.run(["run", "home"]).expect(6).err();
    assert!(told.contains("--accept source-empty"), "{told}");
    assert_eq!(snapshots(&sandbox).len(), 1);
    sandbox.run(["run", "home", "--accept", "source-empty"]).expect(0);
    // It is what is usual now.
    sandbox.run(["run", "home"]).expect(0);
}

#[test]
fn two_runs_of_a_profile_never_overlap_and_a_killed_one_blocks_nobody() {
    let sandbox = bare();
    profile(
        &sandbox,
        &format!("{BASE}[hooks]\nbefore = \"test -e HERE/quick || {{ touch HERE/begun; sleep 600; }}\"\n"),
    );
    let mut first =
        sandbox.command(["run", "home"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(&sandbox.path("begun"));
    sandbox.run(["run", "home"]).expect(11).warns("another run of the profile home is at work");
    first.kill().unwrap();
    first.wait().unwrap();
    sandbox.write("quick", "");
    sandbox.run(["run", "home"]).expect(0);
}

#[test]
fn a_run_that_is_stopped_still_does_what_comes_last_and_says_so() {
    let sandbox = bare();
    profile(
        &sandbox,
        &format!(
            "{BASE}[hooks]\nbefore = \"touch HERE/begun; sleep 600\"\nfailed = \"touch HERE/failed\"\nfinally = \"touch HERE/last\"\n"
        ),
    );
    let mut command = sandbox.command(["run", "home"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&sandbox.path("begun"));
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    end_child(child, "run".to_owned()).expect(143);
    assert!(sandbox.path("failed").exists() && sandbox.path("last").exists());
    assert_eq!(snapshots(&sandbox).len(), 0);
}

#[test]
fn people_and_monitors_are_told() {
    let sandbox = bare();
    let mailer = script(
        &sandbox,
        "sendmail",
        "cat >> \"$(dirname \"$0\")/mails\"; echo ======== >> \"$(dirname \"$0\")/mails\"",
    );
    profile(
        &sandbox,
        &format!(
            "{BASE}[notices]\nmetrics = \"HERE/home.prom\"\n[notices.admin]\nmail = \"root\"\nprogram = \"{}\"\n",
            mailer.display()
        ),
    );
    sandbox.run(["run", "home"]).expect(0);
    assert_eq!(read(sandbox.path("mails")), "");
    let metrics = read(sandbox.path("home.prom"));
    assert!(metrics.contains("copal_last_run_exit_code{profile=\"home\"} 0"), "{metrics}");
    std::fs::rename(sandbox.repository(), sandbox.path("unplugged")).unwrap();
    sandbox.run(["run", "home"]).expect(10);
    let mails = read(sandbox.path("mails"));
    assert!(
        mails.contains("Subject: ") && mails.contains("home") && mails.contains("no repository"),
        "{mails}"
    );
    std::fs::rename(sandbox.path("unplugged"), sandbox.repository()).unwrap();
    sandbox.run(["run", "home"]).expect(0);
    assert_eq!(read(sandbox.path("mails")).matches("========").count(), 1);
    let metrics = read(sandbox.path("home.prom"));
    assert!(metrics.contains("copal_last_run_exit_code{profile=\"home\"} 0"), "{metrics}");
}

#[test]
fn several_repositories_get_the_same_and_one_that_is_away_keeps_no_other_waiting() {
    let sandbox = bare();
    let other = sandbox.path("other");
    sandbox.run(["init", "-r", other.to_str().unwrap(), "--key-file", "key"]).expect(0);
    profile(
        &sandbox,
        &format!(
            "{BASE}[targets.away]\nrepository = \"HERE/nowhere\"\n[targets.other]\nrepository = \"HERE/other\"\n"
        ),
    );
    let ended = sandbox.run(["run", "home", "--json"]).expect(10);
    let codes: Vec<(String, u64)> = ended
        .messages("step")
        .iter()
        .filter(|step| step["name"] == "backup")
        .map(|step| (step["target"].as_str().unwrap().to_owned(), step["exit_code"].as_u64().unwrap()))
        .collect();
    assert_eq!(codes, [("main".to_owned(), 0), ("away".to_owned(), 10), ("other".to_owned(), 0)]);
    assert_eq!(ended.summary()["outcome"], "failure");
    sandbox.run(["ls", "-r", other.to_str().unwrap(), "--key-file", "key"]).expect(0);
    sandbox.run(["run", "home", "--target", "other"]).expect(0);
}

#[test]
fn the_rules_of_a_profile_are_for_its_own_snapshots() {
    let sandbox = bare();
    profile(&sandbox, &format!("{BASE}[forget]\nkeep-last = 1\n"));
    sandbox.write("elsewhere/x", "x");
    for _ in 0..2 {
        sandbox.run(["backup", "--profile", "home", "elsewhere"]).expect(0);
        sandbox.run(["backup", "--profile", "home", "-H", "server"]).expect(0);
        sandbox.run(["run", "home"]).expect(0);
    }
    assert_eq!(snapshots(&sandbox).len(), 5);
}

#[test]
fn what_commands_print_is_saved_kept_and_thinned_with_the_rest() {
    let sandbox = bare();
    let base = BASE.replace("sources =", "command = [\"dump.sql=cat HERE/dump\"]\nsources =");
    profile(&sandbox, &format!("{base}[forget]\nkeep-last = 2\n"));
    for round in 0..4 {
        sandbox.write("dump", format!("table {round}\n"));
        sandbox.run(["run", "home"]).expect(0);
    }
    assert_eq!(snapshots(&sandbox).len(), 2);
    let dump = |which: &str| sandbox.run(["dump", "--profile", "home", which]).expect(0).out();
    assert_eq!(dump("latest:/.commands/dump.sql"), "table 3\n");
    assert_eq!(dump("latest~1:/.commands/dump.sql"), "table 2\n");
    // A dump that fails is told, and the files are saved all the same.
    std::fs::remove_file(sandbox.path("dump")).unwrap();
    let ended = sandbox.run(["run", "home"]).expect(3);
    assert!(ended.err().contains("dump.sql"), "{ended}");
    sandbox.run(["status"]).expect(3);
}
