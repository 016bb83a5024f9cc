//! The program with a repository on a server: OpenSSH's on loopback, with and without rights, on a full disk, over lines that break; and rclone's.

mod common;
#[path = "network/mod.rs"]
mod network;
mod servers;

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Sandbox, assert_same, demand_root, end_child, noise};
use network::tcp::{Break, Plan, Side, Way};
use servers::{Rclone, SFTP_SERVER, Sshd};

/// A sandbox whose repository lies in its folder `server`, reached through that server.
fn sandbox(server: &Sshd) -> Sandbox {
    let mut sandbox = Sandbox::empty();
    let place = format!("sftp:server:{}", sandbox.path("server/repository").display());
    sandbox.set("COPAL_REPOSITORY", place);
    sandbox.set("COPAL_SSH_COMMAND", server.ssh());
    fill(&sandbox);
    sandbox
}

fn fill(sandbox: &Sandbox) {
    for number in 0..6 {
        sandbox.write(format!("source/{number}"), noise(number, 150_000));
    }
}

fn kept(sandbox: &Sandbox) -> Sandbox {
    // A second sandbox would have another home; only what is compared is copied.
    let copy = Sandbox::empty();
    let status = Command::new("cp").arg("-a").arg(sandbox.source()).arg(copy.path("as-saved")).status();
    assert!(status.unwrap().success());
    copy
}

// ---- what goes well ----

#[test]
fn a_repository_on_a_server_lives_as_one_in_a_folder() {
    let server = Sshd::start();
    let sandbox = sandbox(&server);
    sandbox.run(["init"]).expect(0);
    sandbox.run(["init"]).expect(1);
    sandbox.back_up();
    let first = kept(&sandbox);
    sandbox.write("source/0", noise(99, 200_000));
    fs::remove_file(sandbox.path("source/5")).unwrap();
    let second = sandbox.back_up();
    assert_eq!(second["files_changed"], 1, "{second}");
    assert_same(&sandbox.source(), &sandbox.restore("latest"));
    sandbox.run(["restore", "latest~1", "-t", "before"]).expect(0);
    assert_same(&first.path("as-saved"), &common::below(&sandbox.path("before"), &sandbox.source()));
    sandbox.run(["check", "--read-data"]).expect(0);
    sandbox.run(["key", "add", "--new-key-file", "second"]).expect(0);
    sandbox.run(["snapshots", "--key-file", "second"]).expect(0);
    sandbox.run(["doctor"]).expect(0);
    sandbox.run(["forget", "--keep-last", "1"]).expect(0);
    sandbox.run(["prune", "--grace", "0", "--max-unused", "0"]).expect(0);
    sandbox.run(["check", "--read-data"]).expect(0);
    assert_same(&sandbox.source(), &sandbox.restore("after"));
    // The same without a cache, by an address, with a user; and nothing is left behind.
    let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
    let url = format!("sftp://{}@localhost/{}", user.trim(), sandbox.path("server/repository").display());
    sandbox.run(["snapshots", "--no-cache", "-r", &url]).expect(0);
    assert_eq!(fs::read_dir(sandbox.path("server/repository/tmp")).unwrap().count(), 0);
}

#[test]
fn a_command_that_speaks_sftp_takes_the_place_of_ssh_and_gets_no_secrets() {
    let mut sandbox = Sandbox::empty();
    let place = format!("sftp:anything:{}", sandbox.path("a folder/repository").display());
    sandbox.set("COPAL_REPOSITORY", place);
    sandbox.unset("COPAL_KEY_FILE");
    sandbox.set("COPAL_PASSWORD", "not to be told");
    sandbox
        .set("COPAL_SFTP_COMMAND", format!("sh -c 'env > \"$1\"; exec {SFTP_SERVER}' sh 'the environment'"));
    fill(&sandbox);
    sandbox.run(["init"]).expect(0);
    sandbox.back_up();
    assert_same(&sandbox.source(), &sandbox.restore("target"));
    let environment = fs::read_to_string(sandbox.path("the environment")).unwrap();
    assert!(environment.contains("HOME=") && !environment.contains("not to be told"), "{environment}");
}

#[test]
fn rclone_serves_a_repository() {
    let mut sandbox = Sandbox::empty();
    fs::create_dir(sandbox.path("remote")).unwrap();
    let server = Rclone::start(&sandbox.path("remote"));
    sandbox.set("COPAL_REPOSITORY", "sftp:server:repository");
    sandbox.set("COPAL_SSH_COMMAND", server.ssh());
    fill(&sandbox);
    sandbox.run(["init"]).expect(0);
    sandbox.back_up();
    sandbox.write("source/0", noise(77, 100_000));
    sandbox.back_up();
    sandbox.run(["check", "--read-data"]).expect(0);
    assert_same(&sandbox.source(), &sandbox.restore("target"));
    sandbox.run(["forget", "--keep-last", "1"]).expect(0);
    sandbox.run(["prune", "--grace", "0", "--max-unused", "0"]).expect(0);
    sandbox.run(["check", "--read-data"]).expect(0);
    assert!(sandbox.path("remote/repository/config").is_dir());
}

// ---- what does not ----

#[test]
fn whoever_is_not_let_in_is_told_why_at_once() {
    let mut server = Sshd::start();
    let mut sandbox = sandbox(&server);
    sandbox.run(["init"]).expect(0);
    server.configure_client("stranger_config", server.port, "stranger");
    sandbox.set("COPAL_SSH_COMMAND", server.ssh_with("stranger_config"));
    let refused = sandbox.run(["snapshots"]).expect(1);
    assert!(refused.one_line().contains("Permission denied (publickey)"), "{refused}");

    // Another machine that says it is the server.
    let stranger = fs::read_to_string(server.path("stranger.pub")).unwrap();
    fs::write(server.path("known_hosts"), format!("server {stranger}")).unwrap();
    sandbox.set("COPAL_SSH_COMMAND", server.ssh());
    let changed = sandbox.run(["snapshots"]).expect(1);
    assert!(changed.one_line().contains("Host key verification failed"), "{changed}");
    assert!(!changed.err().contains("@@@"), "{changed}");

    server.stop();
    let away = sandbox.run(["snapshots"]).expect(1);
    assert!(away.one_line().contains("Connection refused"), "{away}");

    sandbox.set("COPAL_SSH_COMMAND", "/no/such/ssh -v");
    let missing = sandbox.run(["snapshots"]).expect(1);
    assert!(missing.one_line().contains("/no/such/ssh"), "{missing}");
    sandbox.set("COPAL_SSH_COMMAND", "ssh '");
    sandbox.run(["snapshots"]).expect(2).warns("COPAL_SSH_COMMAND: is no command");
}

#[test]
fn a_server_without_files_or_with_a_talking_shell_is_told() {
    let mut server = Sshd::with("/no/such/subsystem");
    let sandbox = sandbox(&server);
    let none = sandbox.run(["snapshots"]).expect(1);
    assert!(none.one_line().starts_with("copal: sftp:server:"), "{none}");
    server.subsystem("echo Welcome to this server, have a nice day");
    server.restart();
    let talks = sandbox.run(["snapshots"]).expect(1);
    assert!(talks.one_line().contains("does not speak SFTP"), "{talks}");
}

#[test]
fn locations_that_say_too_much_are_refused_without_telling_it() {
    let sandbox = Sandbox::empty();
    for location in [
        "sftp:me:secret@server/x",
        "sftp://me:secret@server/x",
        "sftp:-oProxyCommand=secret:x",
        "sftp:server",
    ] {
        let refused = sandbox.run(["snapshots", "-r", location]).expect(2);
        assert!(refused.one_line().starts_with("copal: the location sftp:...: "), "{refused}");
        assert!(!refused.text().contains("secret"), "{refused}");
    }
}

#[test]
fn where_nothing_may_be_written_everything_can_be_read() {
    let mut server = Sshd::start();
    let sandbox = sandbox(&server);
    sandbox.run(["init"]).expect(0);
    sandbox.back_up();
    server.subsystem("internal-sftp -R");
    server.restart();
    assert_same(&sandbox.source(), &sandbox.restore("target"));
    sandbox.run(["check", "--read-data"]).expect(0);
    sandbox.write("source/new", b"new");
    let refused = sandbox.run([Path::new("backup"), &sandbox.source()]).expect(1);
    assert!(refused.one_line().contains("permission denied, or the storage is read-only"), "{refused}");
}

#[test]
fn where_nothing_may_be_removed_backups_go_on_and_the_owner_prunes() {
    let mut server = Sshd::start();
    let sandbox = sandbox(&server);
    sandbox.run(["init"]).expect(0);
    sandbox.back_up();
    // As docs/storage.md has it.
    server.subsystem("internal-sftp -P remove,rmdir,rename,posix-rename,setstat,fsetstat,symlink");
    server.restart();
    sandbox.write("source/0", noise(50, 120_000));
    let summary = sandbox.back_up();
    assert_same(&sandbox.source(), &sandbox.restore("target"));
    sandbox.run(["check", "--read-data"]).expect(0);
    // It can be forgotten, but nothing goes.
    let objects = || walkdir::WalkDir::new(sandbox.path("server/repository/packs")).into_iter().count();
    let before = objects();
    sandbox.run(["forget", "latest~1"]).expect(0);
    let refused = sandbox.run(["prune", "--grace", "0", "--max-unused", "0"]).expect(1);
    assert!(refused.one_line().contains("permission denied"), "{refused}");
    assert!(objects() >= before);
    // Whoever has the disk prunes, and clears away what was left.
    let own = sandbox.path("server/repository");
    let own = own.to_str().unwrap();
    sandbox.run(["prune", "--grace", "0", "--max-unused", "0", "-r", own]).expect(0);
    sandbox.run(["check", "--read-data"]).expect(0);
    let latest = sandbox.run(["snapshots", "--json"]).expect(0).out();
    assert!(latest.contains(summary["snapshot_id"].as_str().unwrap()), "{latest}");
    assert_same(&sandbox.source(), &sandbox.restore("after"));
}

/// A small disk in memory, gone with this value.
struct Disk<'a>(&'a Path);

impl Disk<'_> {
    fn new<'a>(path: &'a Path, size: &str) -> Disk<'a> {
        fs::create_dir(path).unwrap();
        let options = format!("size={size},mode=0700");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "copal-test"]).arg(path).status();
        assert!(mount.unwrap().success(), "root could not mount a tmpfs");
        Disk(path)
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[test]
fn root_finds_a_full_disk_at_the_server_told_as_such() {
    demand_root();
    let server = Sshd::start();
    let sandbox = sandbox(&server);
    let path = sandbox.path("server");
    let disk = Disk::new(&path, "6m");
    sandbox.run(["init"]).expect(0);
    sandbox.back_up();
    let first = kept(&sandbox);
    sandbox.write("source/large", noise(1234, 12 << 20));
    let begun = Instant::now();
    let full = sandbox.run([Path::new("backup"), &sandbox.source()]).expect(1);
    assert!(full.one_line().contains("no space left on the storage"), "{full}");
    // Not tried for a quarter of an hour.
    assert!(begun.elapsed() < Duration::from_secs(120));
    assert_eq!(fs::read_dir(path.join("repository/tmp")).unwrap().count(), 0);
    sandbox.run(["check", "--read-data"]).expect(0);
    assert_same(&first.path("as-saved"), &sandbox.restore("target"));
    let remount = Command::new("mount").args(["-o", "remount,size=64m"]).arg(&path).status();
    assert!(remount.unwrap().success());
    sandbox.back_up();
    assert_same(&sandbox.source(), &sandbox.restore("after"));
    drop(disk);
}

// ---- lines that break ----

/// Stands between `ssh` and the server, and breaks the first connections after so many bytes towards the server.
fn way(server: &Sshd, times: usize, bytes: u64, breaks: Break) -> Way {
    let way = Way::to((Ipv4Addr::LOCALHOST, server.port).into());
    way.plan(vec![Plan { side: Side::FromClient, bytes, breaks }; times]);
    way
}

#[test]
fn a_backup_goes_on_over_lines_that_are_reset() {
    let server = Sshd::start();
    let mut sandbox = sandbox(&server);
    sandbox.run(["init"]).expect(0);
    // The first is cut within the greeting or the login, the others while packs are sent.
    for (breaks, after) in [(1, 500), (3, 200_000), (2, 600_000)] {
        let way = way(&server, breaks, after, Break::Reset);
        server.configure_client("proxy_config", way.address.port(), "user");
        sandbox.set("COPAL_SSH_COMMAND", server.ssh_with("proxy_config"));
        sandbox.write("source/large", noise(after, 3_000_000));
        sandbox.back_up();
        assert_eq!(way.made(), breaks as u64 + 1);
        sandbox.set("COPAL_SSH_COMMAND", server.ssh());
        sandbox.run(["check", "--read-data"]).expect(0);
        assert_same(&sandbox.source(), &sandbox.restore(&format!("target-{after}")));
    }
}

#[test]
fn a_backup_and_a_restore_go_on_after_a_line_stalled() {
    let server = Sshd::start();
    let mut sandbox = sandbox(&server);
    sandbox.run(["init"]).expect(0);
    sandbox.set("COPAL_TEST_SFTP_SILENCE", "1500");
    sandbox.write("source/large", noise(7, 3_000_000));
    let first = way(&server, 1, 700_000, Break::Stall);
    server.configure_client("proxy_config", first.address.port(), "user");
    sandbox.set("COPAL_SSH_COMMAND", server.ssh_with("proxy_config"));
    sandbox.back_up();
    assert!(first.made() >= 2);
    let second = way(&server, 1, 6_000, Break::Stall);
    server.configure_client("proxy_config", second.address.port(), "user");
    assert_same(&sandbox.source(), &sandbox.restore("target"));
    assert!(second.made() >= 2);
    sandbox.unset("COPAL_TEST_SFTP_SILENCE");
    sandbox.set("COPAL_SSH_COMMAND", server.ssh());
    sandbox.run(["check", "--read-data"]).expect(0);
}

/// A backup that takes some seconds, of which the first pack has come.
fn slow_backup(sandbox: &Sandbox) -> std::process::Child {
    sandbox.write("source/large", noise(4321, 30 << 20));
    let mut command = sandbox.command(["backup", "--memory", "64M", "--limit-upload", "3M"]);
    command.arg(sandbox.source()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let child = command.spawn().unwrap();
    let packs = sandbox.path("server/repository/packs");
    let count = || {
        walkdir::WalkDir::new(&packs)
            .into_iter()
            .flatten()
            .filter(|entry| entry.file_type().is_file())
            .count()
    };
    let begun = Instant::now();
    while count() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(120), "no pack came");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

#[test]
fn a_server_that_is_killed_and_started_again_in_the_middle_ends_no_backup() {
    let mut server = Sshd::start();
    let sandbox = sandbox(&server);
    sandbox.run(["init"]).expect(0);
    let mut backup = slow_backup(&sandbox);
    server.restart();
    assert!(backup.try_wait().unwrap().is_none(), "the backup was done before the server was killed");
    end_child(backup, "backup".to_owned()).expect(0);
    sandbox.run(["check", "--read-data"]).expect(0);
    assert_same(&sandbox.source(), &sandbox.restore("target"));
}

#[test]
fn after_ctrl_c_a_backup_ends_its_work_over_the_same_connection() {
    let server = Sshd::start();
    let sandbox = sandbox(&server);
    sandbox.run(["init"]).expect(0);
    let backup = slow_backup(&sandbox);
    // As a terminal does: all of the group get it, ssh too.
    let group = rustix::process::Pid::from_child(&backup);
    rustix::process::kill_process_group(group, rustix::process::Signal::INT).unwrap();
    let ended = end_child(backup, "backup".to_owned()).expect(130);
    assert!(!ended.err().contains("ssh") && !ended.err().contains("cannot"), "{ended}");
    // One connection before, one for that.
    let log = fs::read_to_string(server.path("log")).unwrap();
    assert_eq!(log.matches("Accepted publickey").count(), 2, "{log}");
    sandbox.run(["check", "--read-data"]).expect(0);
    let summary = sandbox.back_up();
    assert!(summary["data_added"].as_u64().is_some(), "{summary}");
    assert_same(&sandbox.source(), &sandbox.restore("target"));
}
