//! `copal serve` and repositories `copal+ssh://`: over OpenSSH's sshd on loopback with keys that may do all or little; clients and servers that
//! do not keep to the protocol.

#[path = "serve/client.rs"]
mod client;
mod common;
#[path = "serve/liar.rs"]
mod liar;
#[path = "network/mod.rs"]
mod network;
mod servers;

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use copal::backend::{Backend, Kind};

use common::{Sandbox, assert_same, noise};
use network::tcp::{Break, Plan, Side, Way};
use servers::{Sshd, serve_command};

/// A sandbox whose repository lies in its folder `server`, for whoever may do all there.
fn sandbox(server: &Sshd) -> Sandbox {
    let mut sandbox = Sandbox::empty();
    sandbox.set("COPAL_REPOSITORY", format!("copal+ssh://server/{}", place(&sandbox).display()));
    sandbox.set("COPAL_SSH_COMMAND", server.ssh());
    for number in 0..6 {
        sandbox.write(format!("source/{number}"), noise(number, 150_000));
    }
    sandbox
}

fn place(sandbox: &Sandbox) -> PathBuf {
    sandbox.path("server/repository")
}

/// From here on the sandbox has the other key, which is let in for that alone.
fn restrict(server: &Sshd, sandbox: &mut Sandbox, options: &str) {
    server.admit("stranger", &serve_command(&format!("{options} {}", place(sandbox).display())));
    server.configure_client("client_config", server.port, "stranger");
    sandbox.set("COPAL_SSH_COMMAND", server.ssh_with("client_config"));
}

fn unrestrict(server: &Sshd, sandbox: &mut Sandbox) {
    sandbox.set("COPAL_SSH_COMMAND", server.ssh());
}

/// The objects of the repository.
fn objects(sandbox: &Sandbox) -> BTreeMap<PathBuf, Vec<u8>> {
    client::files(&place(sandbox)).into_iter().filter(|(path, _)| !path.ends_with("reserve")).collect()
}

/// Whether all that was there is there still, with the same bytes.
fn assert_kept(before: &BTreeMap<PathBuf, Vec<u8>>, sandbox: &Sandbox) {
    let after = objects(sandbox);
    for (path, bytes) in before {
        assert!(after.get(path) == Some(bytes), "{} was removed or changed", path.display());
    }
}

#[test]
fn a_served_repository_lives_as_one_in_a_folder() {
    let server = Sshd::start();
    let sandbox = sandbox(&server);
    sandbox.run(["init"]).expect(0);
    sandbox.run(["init"]).expect(1);
    sandbox.back_up();
    sandbox.write("source/0", noise(99, 200_000));
    fs::remove_file(sandbox.path("source/5")).unwrap();
    let second = sandbox.back_up();
    assert_eq!(second["files_changed"], 1, "{second}");
    assert_same(&sandbox.source(), &sandbox.restore("latest"));
    sandbox.run(["check", "--read-data"]).expect(0);
    sandbox.run(["parity", "add", "5%"]).expect(0);
    sandbox.run(["key", "add", "--new-key-file", "second"]).expect(0);
    sandbox.run(["snapshots", "--key-file", "second"]).expect(0);
    sandbox.run(["doctor"]).expect(0);
    sandbox.run(["forget", "--keep-last", "1"]).expect(0);
    sandbox.run(["prune", "--grace", "0", "--max-unused", "0"]).expect(0);
    sandbox.run(["check", "--read-data"]).expect(0);
    assert_same(&sandbox.source(), &sandbox.restore("after"));
    // It is a folder like any other, and nothing is left behind.
    let own = place(&sandbox);
    sandbox.run(["check", "--read-data", "-r", own.to_str().unwrap()]).expect(0);
    let left: Vec<_> =
        fs::read_dir(own.join("tmp")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "reserve"), "{left:?}");
    // Over a damaged pack too.
    let packs = client::files(&own.join("packs"));
    let (pack, _) = packs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let mut bytes = fs::read(pack).unwrap();
    bytes[1000] ^= 1;
    fs::write(pack, bytes).unwrap();
    sandbox.run(["check", "--read-data"]).expect(5);
    sandbox.run(["parity", "repair"]).expect(0);
    sandbox.run(["check", "--read-data"]).expect(0);
}

#[test]
fn who_may_only_add_backs_up_and_restores_and_nothing_is_ever_lost() {
    let server = Sshd::start();
    let mut sandbox = sandbox(&server);
    restrict(&server, &mut sandbox, "--append-only");
    let refused = sandbox.run(["init"]).expect(1);
    assert!(refused.one_line().contains("the server takes additions only"), "{refused}");
    assert!(!place(&sandbox).exists());

    unrestrict(&server, &mut sandbox);
    sandbox.run(["init"]).expect(0);
    sandbox.run(["key", "add", "--new-key-file", "second"]).expect(0);
    let keys = sandbox.run(["key", "list", "--json"]).expect(0).messages("key");
    restrict(&server, &mut sandbox, "--append-only");
    let first = sandbox.back_up();
    sandbox.write("source/0", noise(50, 120_000));
    let second = sandbox.back_up();
    sandbox.write("source/0", noise(52, 120_000));
    sandbox.back_up();
    // So that there is something to prune.
    unrestrict(&server, &mut sandbox);
    sandbox.run(["forget", first["snapshot_id"].as_str().unwrap()]).expect(0);
    restrict(&server, &mut sandbox, "--append-only");
    assert_same(&sandbox.source(), &sandbox.restore("target"));
    sandbox.run(["check", "--read-data"]).expect(0);
    sandbox.run(["snapshots", "--no-cache"]).expect(0);

    let before = objects(&sandbox);
    let id = second["snapshot_id"].as_str().unwrap();
    let slot = keys.iter().find(|key| key["current"] == false).unwrap()["id"].as_str().unwrap();
    for words in [
        &["forget", id][..],
        &["forget", "--keep-last", "1"],
        &["forget", "--keep-last", "1", "--prune"],
        &["prune", "--grace", "0", "--max-unused", "0"],
        &["key", "remove", slot],
        &["key", "add", "--new-key-file", "third"],
        &["tag", "--add", "x", "latest"],
        &["protect", "latest"],
        &["repair", "records"],
    ] {
        let ended = sandbox.run(words);
        let is_idle = words[0] == "repair";
        assert!(ended.code == 1 || is_idle && ended.code == 0, "{words:?}: {ended}");
        if !is_idle {
            assert!(ended.one_line().contains("the server takes additions only: "), "{words:?}: {ended}");
        }
        assert_kept(&before, &sandbox);
    }
    assert_eq!(sandbox.run(["snapshots", "--json"]).expect(0).messages("snapshot").len(), 2);
    assert_same(&sandbox.source(), &sandbox.restore("still"));

    // Whoever has all rights forgets and prunes, and the others go on.
    unrestrict(&server, &mut sandbox);
    sandbox.run(["forget", "--keep-last", "1"]).expect(0);
    sandbox.run(["prune", "--grace", "0", "--max-unused", "0"]).expect(0);
    restrict(&server, &mut sandbox, "--append-only");
    sandbox.write("source/new", noise(51, 120_000));
    sandbox.back_up();
    sandbox.run(["check", "--read-data"]).expect(0);
    assert_same(&sandbox.source(), &sandbox.restore("after"));
}

#[test]
fn a_write_only_key_and_a_server_that_takes_additions_are_all_that_a_client_needs() {
    let server = Sshd::start();
    let mut sandbox = sandbox(&server);
    sandbox.run(["init"]).expect(0);
    sandbox.run(["key", "add", "--write-only", "--new-key-file", "writer"]).expect(0);
    restrict(&server, &mut sandbox, "--append-only");
    let (full, writer, caches) = (sandbox.key_file(), sandbox.path("writer"), sandbox.path("home/writer"));
    sandbox.set("COPAL_KEY_FILE", &writer);
    sandbox.set("XDG_CACHE_HOME", &caches);
    sandbox.back_up();
    sandbox.write("source/0", noise(50, 120_000));
    let second = sandbox.back_up();
    assert_eq!((&second["files_changed"], &second["files_new"]), (&1.into(), &0.into()), "{second}");
    assert!(second["data_added"].as_u64().unwrap() <= 120_000, "{second}");
    sandbox.run(["restore", "latest", "-t", "none"]).expect(6);

    unrestrict(&server, &mut sandbox);
    sandbox.set("COPAL_KEY_FILE", &full);
    sandbox.unset("XDG_CACHE_HOME");
    assert_same(&sandbox.source(), &sandbox.restore("target"));
    sandbox.run(["forget", "--keep-last", "1"]).expect(0);
    sandbox.run(["prune", "--grace", "0"]).expect(0);
    sandbox.run(["check", "--read-data"]).expect(0);
    assert_eq!(sandbox.run(["snapshots", "--json"]).expect(0).messages("snapshot").len(), 1);

    restrict(&server, &mut sandbox, "--append-only");
    sandbox.set("COPAL_KEY_FILE", &writer);
    sandbox.set("XDG_CACHE_HOME", &caches);
    assert_eq!(sandbox.back_up()["data_added"], 0);
}

#[test]
fn what_a_client_asks_ssh_to_run_or_to_serve_counts_for_nothing() {
    let server = Sshd::start();
    let mut sandbox = sandbox(&server);
    sandbox.run(["init"]).expect(0);
    restrict(&server, &mut sandbox, "--append-only");
    let other = format!("copal+ssh://server/{}", sandbox.path("other").display());
    let refused = sandbox.run(["init", "-r", &other]).expect(1);
    let line = refused.one_line();
    assert!(line.contains(&format!("serves {} to this client", place(&sandbox).display())), "{line}");
    assert!(!sandbox.path("other").exists());
    // Another command, a file of the server's, a tunnel: nothing of it.
    let ssh = |words: &[&str]| {
        let mut command = Command::new("ssh");
        command.arg("-F").arg(server.path("client_config")).args(words).stdin(Stdio::null());
        command.output().unwrap()
    };
    let ran = ssh(&["server", "cat /etc/passwd"]);
    assert!(ran.stdout.is_empty() && !ran.status.success(), "{ran:?}");
    assert!(String::from_utf8_lossy(&ran.stderr).contains("what asks is not copal"), "{ran:?}");
    let sftp = format!("sftp:server:{}", place(&sandbox).display());
    let refused = sandbox.run(["snapshots", "-r", &sftp]).expect(1);
    assert!(refused.one_line().contains("cannot"), "{refused}");
    sandbox.set("COPAL_SERVE_COMMAND", format!("{} server 'copal serve'", server.ssh_with("client_config")));
    sandbox.back_up();
    let refused = sandbox.run(["forget", "latest"]).expect(1);
    assert!(refused.one_line().contains("the server takes additions only"), "{refused}");
}

#[test]
fn who_may_only_read_restores() {
    let server = Sshd::start();
    let mut sandbox = sandbox(&server);
    sandbox.run(["init"]).expect(0);
    sandbox.back_up();
    restrict(&server, &mut sandbox, "--read-only");
    let before = objects(&sandbox);
    assert_same(&sandbox.source(), &sandbox.restore("target"));
    sandbox.run(["check", "--read-data"]).expect(0);
    sandbox.run(["snapshots"]).expect(0);
    sandbox.write("source/new", b"new");
    let refused = sandbox.run([Path::new("backup"), &sandbox.source()]).expect(1);
    assert!(refused.one_line().contains("the server lets this client read, and nothing else"), "{refused}");
    assert_eq!(objects(&sandbox), before);
}

#[test]
fn a_used_up_quota_is_a_full_disk() {
    let server = Sshd::start();
    let mut sandbox = sandbox(&server);
    sandbox.run(["init"]).expect(0);
    restrict(&server, &mut sandbox, "--append-only --quota 3M");
    sandbox.back_up();
    sandbox.write("source/large", noise(1234, 5 << 20));
    let full = sandbox.run([Path::new("backup"), &sandbox.source()]).expect(1);
    assert!(full.one_line().contains("no space left on the storage"), "{full}");
    let sum = |sandbox: &Sandbox| objects(sandbox).values().map(Vec::len).sum::<usize>();
    assert!(sum(&sandbox) <= 3 << 20, "{}", sum(&sandbox));
    let restored = sandbox.restore("target");
    (0..6).for_each(|number| {
        assert_eq!(fs::read(restored.join(number.to_string())).unwrap(), noise(number, 150_000))
    });
    sandbox.run(["check", "--read-data"]).expect(0);
    // More of it, and it goes on.
    restrict(&server, &mut sandbox, "--append-only --quota 30M");
    sandbox.back_up();
    assert_same(&sandbox.source(), &sandbox.restore("after"));
}

#[test]
fn two_clients_at_once_disturb_each_other_in_nothing() {
    let server = Sshd::start();
    let mut sandbox = sandbox(&server);
    sandbox.run(["init"]).expect(0);
    restrict(&server, &mut sandbox, "--append-only");
    let sandbox = &sandbox;
    for client in ["one", "two"] {
        sandbox.write(format!("{client}/shared"), noise(7, 2_000_000));
        sandbox.write(
            format!("{client}/own"),
            noise(client.len() as u64 + u64::from(client.as_bytes()[0]), 2_000_000),
        );
    }
    std::thread::scope(|scope| {
        for client in ["one", "two"] {
            scope.spawn(move || {
                for _ in 0..3 {
                    let source = sandbox.path(client);
                    let cache = sandbox.path(format!("cache-{client}"));
                    let words = ["backup", "-q", "--host", client, "--cache-dir", cache.to_str().unwrap()];
                    let words = words.into_iter().chain([source.to_str().unwrap()]);
                    sandbox.run(words).expect(0);
                }
            });
        }
    });
    sandbox.run(["check", "--read-data"]).expect(0);
    for client in ["one", "two"] {
        let target = sandbox.path(format!("restored-{client}"));
        sandbox.run(["restore", "--host", client, "latest", "-t", target.to_str().unwrap()]).expect(0);
        assert_same(&sandbox.path(client), &common::below(&target, &sandbox.path(client)));
    }
}

#[test]
fn what_is_wrong_at_the_server_is_told_in_a_line() {
    let mut server = Sshd::start();
    let mut sandbox = sandbox(&server);
    let none = sandbox.run(["snapshots"]).expect(10);
    assert!(none.one_line().contains("copal+ssh://server/"), "{none}");
    for (command, told) in [
        ("/no/such/copal serve", "copal has to be installed there too"),
        (
            "echo Welcome to this server; exec copal serve",
            "the server printed something before the protocol, where a login script must be silent: \"Welcome to this server",
        ),
        ("copal serve --no-such-option", ": ssh: copal: unexpected argument '--no-such-option' found"),
        ("copal no-such-command", ": ssh: copal: unrecognized subcommand 'no-such-command'"),
    ] {
        server.admit("stranger", command);
        server.configure_client("client_config", server.port, "stranger");
        sandbox.set("COPAL_SSH_COMMAND", server.ssh_with("client_config"));
        let ended = sandbox.run(["snapshots"]).expect(1);
        assert!(ended.one_line().contains(told), "{command}: {ended}");
    }
    server.stop();
    let away = sandbox.run(["snapshots"]).expect(1);
    assert!(away.one_line().contains("Connection refused"), "{away}");
    for location in [
        "copal+ssh://me:secret@server/x",
        "copal+ssh://server",
        "copal+ssh:server",
        "copal+ssh://-oProxyCommand=secret/x",
    ] {
        let refused = sandbox.run(["snapshots", "-r", location]).expect(2);
        assert!(refused.one_line().starts_with("copal: the location copal+ssh:...: "), "{refused}");
        assert!(!refused.text().contains("secret") && !refused.text().contains("sftp"), "{refused}");
    }
}

#[test]
fn a_command_takes_the_place_of_ssh_and_gets_no_secrets() {
    let mut sandbox = Sandbox::empty();
    let repository = sandbox.path("a folder/repository");
    sandbox.set("COPAL_REPOSITORY", format!("copal+ssh:anything:{}", repository.display()));
    sandbox.unset("COPAL_KEY_FILE");
    sandbox.set("COPAL_PASSWORD", "not to be told");
    let line = format!("sh -c 'env > \"$1\"; exec {}' sh 'the environment'", serve_command(""));
    sandbox.set("COPAL_SERVE_COMMAND", line);
    sandbox.write("source/file", noise(1, 100_000));
    sandbox.run(["init"]).expect(0);
    sandbox.back_up();
    assert_same(&sandbox.source(), &sandbox.restore("target"));
    let environment = fs::read_to_string(sandbox.path("the environment")).unwrap();
    assert!(environment.contains("HOME=") && !environment.contains("not to be told"), "{environment}");
}

#[test]
fn a_backup_goes_on_over_lines_that_are_reset() {
    let server = Sshd::start();
    let mut sandbox = sandbox(&server);
    sandbox.run(["init"]).expect(0);
    restrict(&server, &mut sandbox, "--append-only");
    // The first is cut within the greeting or the login, the others while packs are sent.
    for (breaks, after) in [(1, 500), (3, 200_000), (2, 600_000)] {
        let way = Way::to((Ipv4Addr::LOCALHOST, server.port).into());
        way.plan(vec![Plan { side: Side::FromClient, bytes: after, breaks: Break::Reset }; breaks]);
        server.configure_client("proxy_config", way.address.port(), "stranger");
        sandbox.set("COPAL_SSH_COMMAND", server.ssh_with("proxy_config"));
        sandbox.write("source/large", noise(after, 3_000_000));
        sandbox.back_up();
        assert_eq!(way.made(), breaks as u64 + 1);
        sandbox.set("COPAL_SSH_COMMAND", server.ssh_with("client_config"));
        sandbox.run(["check", "--read-data"]).expect(0);
        assert_same(&sandbox.source(), &sandbox.restore(&format!("target-{after}")));
    }
    // What was cut off left nothing.
    let left = fs::read_dir(place(&sandbox).join("tmp")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| name == "reserve"));
}

#[test]
fn whatever_is_asked_costs_one_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let served = servers::served(&serve_command(""), &folder.path().join("repository"));
    served.create().unwrap();
    let name = "ab".repeat(32);
    let bytes = noise(3, 1_000_000);
    let mut before = served.round_trips();
    let mut costs = |what: &str, trips: u64| {
        let now = served.round_trips();
        assert_eq!(now - std::mem::replace(&mut before, now), trips, "{what}");
    };
    served.put(Kind::Packs, &name, &bytes).unwrap();
    costs("storing an object", 1);
    served.put(Kind::Packs, &name, &bytes).unwrap();
    costs("storing it again", 1);
    for kind in [Kind::Index, Kind::Snapshots, Kind::Notes] {
        served.put(kind, &name, b"small").unwrap();
        costs("storing a small one", 1);
    }
    // As a synchronisation asks.
    let kinds = [Kind::Removals, Kind::Snapshots, Kind::Confirmed, Kind::Damage, Kind::Index, Kind::Notes];
    let mut listed = Vec::new();
    served.list_kinds(&kinds, &mut |kind, entry| listed.push((kind, entry.name))).unwrap();
    costs("listing several kinds", 1);
    assert_eq!(listed, [Kind::Snapshots, Kind::Index, Kind::Notes].map(|kind| (kind, name.clone())));
    assert_eq!(served.get_at_most(Kind::Index, &name, 9).unwrap(), b"small");
    assert_eq!(served.get_range(Kind::Packs, &name, 5, 7).unwrap(), bytes[5..12]);
    assert!(served.exists_repository().is_ok_and(|exists| !exists));
    served.stat(Kind::Packs, &name).unwrap();
    served.time().unwrap();
    served.space().unwrap();
    served.remove(Kind::Packs, &name).unwrap();
    costs("seven things", 7);
}

#[test]
fn nobody_talks_with_it_by_hand() {
    let sandbox = Sandbox::empty();
    let ended = sandbox.run_with_input(["serve"], b"help\n").expect(2);
    assert!(ended.one_line().contains("what asks is not copal: this is started by ssh"), "{ended}");
}
