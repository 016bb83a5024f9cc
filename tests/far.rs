//! Repositories on other machines as people use them: one profile for all of them, and many clients at once.

mod common;
#[path = "network/mod.rs"]
mod network;
mod profiled;
mod servers;

use std::ffi::OsString;

use common::{Sandbox, assert_same, below, noise};
use network::server::Server;
use profiled::BASE;
use servers::Sshd;

/// A sandbox for a profile, with what reaches both servers.
fn sandbox(sshd: &Sshd, store: &Server) -> Sandbox {
    let mut sandbox = profiled::bare(Sandbox::empty().trusting_fresh_files());
    sandbox.set("COPAL_SSH_COMMAND", sshd.ssh());
    sandbox.set("AWS_ACCESS_KEY_ID", store.key.clone());
    sandbox.set("AWS_SECRET_ACCESS_KEY", store.secret.clone());
    sandbox
}

/// Three nights of the same profile at each of these places.
fn nights(sandbox: &Sandbox, places: &[String]) {
    let rest = "[forget]\nkeep-last = 2\n[prune]\nevery = \"1d\"\n[check]\nbudget = \"1m\"\n[drill]\nevery = \"1d\"\n";
    for place in places {
        let text = BASE.replace("REPOSITORY", place);
        profiled::profile(sandbox, "home", &format!("{text}{rest}"));
        let _ = std::fs::remove_dir_all(sandbox.path("home/state"));
        sandbox.run(["init", "--profile", "home"]).expect(0);
        for round in 0..3 {
            sandbox.write("source/file", noise(round, 200_000));
            let said = sandbox.run(["run", "home", "--all"]).expect(0).out();
            for step in ["backup", "forget", "prune", "check", "drill"] {
                assert!(said.lines().any(|line| line.starts_with(step)), "{place}: {said}");
            }
        }
        assert_eq!(profiled::snapshots(sandbox).len(), 2, "{place}");
        let target = sandbox.path("restored");
        sandbox.run(["restore", "--profile", "home", "latest", "-t", target.to_str().unwrap()]).expect(0);
        assert_same(&sandbox.source(), &below(&target, &sandbox.source()));
        sandbox.run(["check", "--read-data", "--profile", "home"]).expect(0);
        std::fs::remove_dir_all(target).unwrap();
    }
}

#[test]
fn one_profile_serves_a_disk_servers_and_an_object_store_by_one_line() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let (sshd, store) = (Sshd::start(), Server::s3s(folder.path()));
    let sandbox = sandbox(&sshd, &store);
    let places = [
        sandbox.path("disk").display().to_string(),
        format!("sftp:server:{}", sandbox.path("served").display()),
        format!("copal+ssh:server:{}", sandbox.path("served by copal").display()),
        format!("s3:{}", store.location("nightly")),
    ];
    nights(&sandbox, &places);
}

#[test]
#[ignore = "needs Garage, see tests/install --all"]
fn the_same_profile_serves_garage() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let (sshd, store) = (Sshd::start(), Server::garage(folder.path()));
    let sandbox = sandbox(&sshd, &store);
    nights(&sandbox, &[format!("s3:{}", store.location("nightly"))]);
}

/// Clients of one repository.
const CLIENTS: u64 = 20;
/// Backups of each.
const ROUNDS: u64 = 3;

#[test]
fn twenty_clients_write_to_one_repository_while_it_is_pruned() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let store = Server::s3s(folder.path());
    let mut sandbox = Sandbox::empty().trusting_fresh_files();
    sandbox.set("AWS_ACCESS_KEY_ID", store.key.clone());
    sandbox.set("AWS_SECRET_ACCESS_KEY", store.secret.clone());
    sandbox.set("COPAL_REPOSITORY", format!("s3:{}", store.location("shared")));
    sandbox.run(["init"]).expect(0);
    let sandbox = &sandbox;
    let words = |client: u64, words: &[&str]| {
        let cache = sandbox.path(format!("cache {client}"));
        let mut all: Vec<OsString> = words.iter().map(OsString::from).collect();
        all.extend(["--cache-dir".into(), cache.into()]);
        all
    };
    let source = |client: u64| sandbox.path(format!("source/{client}"));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        // Some is everybody's, some changes with each round, and what goes gives the pruner something to do.
                        sandbox.write(format!("source/{client}/shared"), noise(1, 300_000));
                        sandbox.write(
                            format!("source/{client}/own"),
                            noise(100 + client * ROUNDS + round, 200_000),
                        );
                        let (host, path) = (format!("host{client}"), source(client));
                        let backup =
                            words(client, &["backup", "-q", "--host", &host, path.to_str().unwrap()]);
                        sandbox.run(backup).expect(0);
                        let forget = ["forget", "-q", "--host", &host, "--keep-last", "1"];
                        sandbox.run(words(client, &forget)).expect(0);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let mut pruned = 0;
            while !done.load(std::sync::atomic::Ordering::SeqCst) || pruned == 0 {
                sandbox.run(words(CLIENTS, &["prune", "-q", "--grace", "0", "--max-unused", "0"])).expect(0);
                pruned += 1;
            }
        });
        let results: Vec<_> = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(results.iter().all(Result::is_ok), "a client failed");
    });
    sandbox.run(words(CLIENTS, &["prune", "-q", "--grace", "0", "--max-unused", "0"])).expect(0);
    sandbox.run(words(CLIENTS, &["check", "--read-data"])).expect(0);
    let listed = sandbox.run(words(CLIENTS, &["snapshots", "--json"])).expect(0).messages("snapshot");
    assert_eq!(listed.len() as u64, CLIENTS);
    for client in 0..CLIENTS {
        let (target, host) = (sandbox.path(format!("restored {client}")), format!("host{client}"));
        let restore = ["restore", "-q", "--host", &host, "latest", "-t", target.to_str().unwrap()];
        // With a cache that knows nothing.
        sandbox.run(words(CLIENTS + 1, &restore)).expect(0);
        assert_same(&source(client), &below(&target, &source(client)));
    }
}
