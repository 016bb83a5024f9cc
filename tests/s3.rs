//! Repositories in an object store: the whole program against a real server, and everything that can go wrong on the way there.

mod common;
#[path = "network/mod.rs"]
mod network;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Sandbox, assert_same, below, noise};
use copal::backend::{Backend, Error, Kind, Patience, S3};
use network::front::{Asked, Fate, Front};
use network::server::{BUCKET, Server, options};
use network::tcp::{Break, Plan, Side, Way};

/// How long nothing may come in these tests. It only has to be longer than what the server here takes, and what takes longer is tried again.
const STALL: Duration = Duration::from_millis(700);

/// A server, what stands before it, and a sandbox whose repository is there.
struct World {
    front: Front,
    server: Server,
    sandbox: Sandbox,
    _folder: tempfile::TempDir,
}

impl World {
    /// Without a repository.
    fn empty() -> World {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let server = Server::s3s(folder.path());
        let front = Front::before(server.address);
        let mut sandbox = Sandbox::empty()
            .with("AWS_ACCESS_KEY_ID", server.key.clone())
            .with("AWS_SECRET_ACCESS_KEY", server.secret.clone())
            .with("COPAL_TEST_STALL_MILLISECONDS", "3000");
        sandbox.set("COPAL_REPOSITORY", format!("s3:{}", server.location_by(front.address, "laptop")));
        World { front, server, sandbox, _folder: folder }
    }

    fn new() -> World {
        let world = World::empty();
        world.sandbox.run(["init"]).expect(0);
        world
    }

    /// The same place, without anything before the server.
    fn direct(&self) -> S3 {
        S3::new(&self.server.location("laptop"), self.server.options()).unwrap()
    }

    /// By way of what stands before the server.
    fn storage(&self) -> S3 {
        let patience = Patience {
            first: Duration::from_millis(1),
            most: Duration::from_millis(20),
            total: Duration::from_secs(100),
            ..Patience::default()
        };
        let options = self.server.options().with_waits(STALL, patience);
        S3::new(&self.server.location_by(self.front.address, "laptop"), options).unwrap()
    }

    /// How many snapshots are there.
    fn snapshots(&self) -> usize {
        self.sandbox.run(["snapshots", "--json"]).expect(0).messages("snapshot").len()
    }
}

fn fill(sandbox: &Sandbox, seed: u64) {
    sandbox.write("source/text", format!("text {seed}").repeat(100));
    sandbox.write("source/folder/noise", noise(seed, 700_000));
    sandbox.write(format!("source/folder/file {seed}"), noise(seed + 1000, 50_000));
}

#[test]
fn the_program_does_there_what_it_does_in_folders() {
    let world = World::new();
    let sandbox = &world.sandbox;
    sandbox.run(["init"]).expect(1);
    fill(sandbox, 1);
    sandbox.back_up();
    let first = sandbox.path("as it was");
    assert!(
        std::process::Command::new("cp")
            .arg("-a")
            .arg(sandbox.source())
            .arg(&first)
            .status()
            .unwrap()
            .success()
    );
    fill(sandbox, 2);
    sandbox.back_up();
    assert_eq!(world.snapshots(), 2);
    assert_same(&sandbox.source(), &sandbox.restore("target"));
    sandbox.run(["restore", "latest~1", "-t", "older"]).expect(0);
    assert_same(&first, &below(&sandbox.path("older"), &sandbox.source()));
    sandbox.run(["check", "--read-data"]).expect(0);
    sandbox.run(["key", "add", "--new-key-file", "second"]).expect(0);
    sandbox.run(["--key-file", "second", "ls", "latest"]).expect(0);
    sandbox.run(["forget", "--keep-last", "1"]).expect(0);
    sandbox.run(["prune", "--grace", "0"]).expect(0);
    sandbox.run(["check", "--read-data"]).expect(0);
    sandbox.run(["doctor"]).expect(0);
    // From another machine, which has no cache.
    std::fs::remove_dir_all(sandbox.cache()).unwrap();
    assert_same(&sandbox.source(), &sandbox.restore("again"));
    assert!(world.direct().list(Kind::Packs, &mut |_| ()).is_ok());
    assert!(world.front.asked().iter().all(|asked| !asked.target.contains("tmp-") || asked.method != "POST"));
}

#[test]
fn keys_that_may_not_remove_are_enough_to_back_up() {
    let world = World::new();
    world.front.rule(|asked, _| match asked.method.as_str() {
        "DELETE" => answered("403 Forbidden", "AccessDenied"),
        _ => Fate::Passed,
    });
    for seed in 1..4 {
        fill(&world.sandbox, seed);
        world.sandbox.back_up();
    }
    assert_same(&world.sandbox.source(), &world.sandbox.restore("target"));
    world.sandbox.run(["check", "--read-data"]).expect(0);
    world.sandbox.run(["forget", "--keep-last", "1"]).expect(0);
    let refused = world.sandbox.run(["prune", "--grace", "0"]);
    assert!(![0, 101].contains(&refused.code), "{refused}");
    assert_eq!(world.snapshots(), 1);
    world.front.rule(|_, _| Fate::Passed);
    world.sandbox.run(["prune", "--grace", "0"]).expect(0);
    world.sandbox.run(["check", "--read-data"]).expect(0);
    assert_same(&world.sandbox.source(), &world.sandbox.restore("again"));
}

/// Kinds of objects to which a policy can hold a client that only backs up: docs/storage.md.
#[test]
fn a_backup_stores_only_what_the_docs_say() {
    let world = World::new();
    world.front.rule(|asked, _| {
        let of_a_backup = ["packs", "parity", "index", "snapshots", "confirmed", "sessions", "copies"];
        match asked.method == "PUT" && !of_a_backup.iter().any(|folder| asked.is("PUT", folder)) {
            true => answered("403 Forbidden", "AccessDenied"),
            false => Fate::Passed,
        }
    });
    for seed in 1..4 {
        fill(&world.sandbox, seed);
        world.sandbox.back_up();
    }
    assert_same(&world.sandbox.source(), &world.sandbox.restore("target"));
    world.sandbox.run(["check", "--read-data"]).expect(0);
    assert_ne!(world.sandbox.run(["forget", "--keep-last", "1"]).code, 0);
    assert_eq!(world.snapshots(), 3);
}

#[test]
fn nothing_is_removed_where_listings_are_behind() {
    let world = World::new();
    fill(&world.sandbox, 1);
    world.sandbox.back_up();
    // Removals are answered, and not done.
    world.front.rule(|asked, _| match asked.is("DELETE", "tmp") {
        true => Fate::Answered("204 No Content", String::new(), String::new()),
        false => Fate::Passed,
    });
    world.sandbox.run(["prune", "--grace", "0"]).expect(6).warns("nothing can be removed safely");
    world.front.rule(|_, _| Fate::Passed);
    world.sandbox.run(["prune", "--grace", "0"]).expect(0);
}

#[test]
fn what_is_wrong_with_a_place_is_told_with_what_to_do() {
    let mut world = World::empty();
    let sandbox = &world.sandbox;
    sandbox.run(["snapshots"]).expect(10).warns("no repository at s3:http://127.0.0.1");
    sandbox.run(["backup", "source"]).expect(10);
    world.sandbox.set("AWS_SECRET_ACCESS_KEY", "another");
    let ended =
        world.sandbox.run(["init"]).expect(1).warns("SignatureDoesNotMatch").warns("AWS_SECRET_ACCESS_KEY");
    assert!(!ended.text().contains("another\"") && !ended.text().contains("X-Amz"), "{ended}");
    world.sandbox.unset("AWS_SECRET_ACCESS_KEY");
    world.sandbox.run(["init"]).expect(1).warns("AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not");
    world.sandbox.set("COPAL_REPOSITORY", "s3:https://key:hidden@localhost/bucket");
    let ended = world.sandbox.run(["init"]).expect(2).warns("a location holds no keys");
    assert!(!ended.text().contains("hidden"), "{ended}");
}

#[test]
fn a_repository_is_made_once_and_two_clients_share_it() {
    let world = World::new();
    let other = Sandbox::empty();
    std::fs::copy(world.sandbox.key_file(), other.key_file()).unwrap();
    let mut variables = world.sandbox.variables.clone();
    variables.retain(|(name, _)| name != "COPAL_KEY_FILE");
    let other = variables.into_iter().fold(other, |other, (name, value)| other.with(&name, value));
    let other = other.with("COPAL_REPOSITORY", format!("s3:{}", world.server.location("laptop")));
    fill(&world.sandbox, 1);
    fill(&other, 2);
    std::thread::scope(|scope| {
        for sandbox in [&world.sandbox, &other] {
            let mut command = sandbox.command(["backup", "source"]);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            scope.spawn(move || common::end(command).expect(0));
        }
    });
    assert_eq!(world.snapshots(), 2);
    for sandbox in [&world.sandbox, &other] {
        sandbox.back_up();
        assert_same(&sandbox.source(), &sandbox.restore("target"));
        sandbox.run(["check", "--read-data"]).expect(0);
    }
}

fn xml(code: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>so it is</Message></Error>")
}

fn answered(status: &'static str, code: &str) -> Fate {
    Fate::Answered(status, "content-type: application/xml\r\n".to_owned(), xml(code))
}

/// What passes, whatever was asked for.
fn passing() -> Vec<Fate> {
    let now = "retry-after: 0\r\n".to_owned();
    vec![
        Fate::Reset,
        Fate::ReplyLost,
        Fate::Stall,
        answered("500 Internal Server Error", "InternalError"),
        answered("503 Slow Down", "SlowDown"),
        answered("400 Bad Request", "RequestTimeout"),
        answered("409 Conflict", "OperationAborted"),
        Fate::Answered("503 Service Unavailable", now.clone(), "<html>busy</html>".to_owned()),
        Fate::Answered("429 Too Many Requests", now, String::new()),
        Fate::Answered("502 Bad Gateway", String::new(), String::new()),
    ]
}

fn name(kind: Kind, seed: u8) -> String {
    format!("{seed:02x}").repeat(kind.name_length() / 2)
}

fn entries(storage: &dyn Backend, kind: Kind) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    storage
        .list(kind, &mut |entry| assert_eq!(found.insert(entry.name, entry.size), None, "listed twice"))
        .unwrap();
    found
}

#[test]
fn writes_come_through_what_passes_and_are_never_seen_half() {
    let world = World::new();
    let (storage, direct) = (world.storage(), world.direct());
    let refused = [200_000, 10].map(|bytes| Fate::RefusedEarly(bytes, "503 Slow Down", xml("SlowDown")));
    // A success with an error in its body.
    let late = Fate::Answered("200 OK", "content-type: application/xml\r\n".to_owned(), xml("InternalError"));
    for (number, fate) in passing().into_iter().chain(refused).chain([late]).enumerate() {
        for (kind, length) in [(Kind::Packs, 900_000), (Kind::Index, 20_000), (Kind::Fences, 30)] {
            let (name, bytes) = (name(kind, number as u8), noise(number as u64, length));
            world.front.strike(2, fate.clone(), move |asked| asked.is("PUT", kind.folder()));
            storage.put(kind, &name, &bytes).unwrap_or_else(|error| panic!("{fate:?}: {error}"));
            assert_eq!(world.front.struck(), 2, "{fate:?} did not happen");
            assert_eq!(direct.get(kind, &name).unwrap(), bytes, "{fate:?}");
        }
    }
}

#[test]
fn bytes_that_are_spoiled_on_their_way_up_are_refused_by_the_server_and_sent_again() {
    let world = World::new();
    let (storage, direct) = (world.storage(), world.direct());
    let bytes = noise(1, 300_000);
    // What a spoiled body is to a server: another checksum than the header's.
    world.front.strike(1, answered("400 Bad Request", "BadDigest"), |asked| asked.is("PUT", "packs"));
    storage.put(Kind::Packs, &name(Kind::Packs, 1), &bytes).unwrap();
    assert_eq!(
        (world.front.struck(), direct.get(Kind::Packs, &name(Kind::Packs, 1)).unwrap()),
        (1, bytes.clone())
    );
    // A server that stored something else says so.
    let other = "x-amz-checksum-sha256: 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\r\n".to_owned();
    world.front.strike(1, Fate::Replaced("200 OK", other, String::new()), |asked| asked.is("PUT", "packs"));
    storage.put(Kind::Packs, &name(Kind::Packs, 2), &bytes).unwrap();
    assert_eq!((world.front.struck(), world.front.asked().len()), (1, 2));
}

#[test]
fn reads_come_through_what_passes_and_are_never_cut_short() {
    let world = World::new();
    let (storage, direct) = (world.storage(), world.direct());
    let (pack, bytes) = (name(Kind::Packs, 1), noise(1, 400_000));
    direct.put(Kind::Packs, &pack, &bytes).unwrap();
    let late = |content: &str| Fate::Answered("200 OK", content.to_owned(), xml("InternalError"));
    let broken = [0, 1, 1000, 399_999]
        .into_iter()
        .flat_map(|at| [Fate::ResetAfter(at), Fate::CutAfter(at), Fate::StallAfter(at)]);
    let lengths = [1, 4096].map(Fate::Longer);
    for fate in passing()
        .into_iter()
        .chain(broken)
        .chain(lengths)
        .chain([late("content-type: application/xml\r\n"), late("")])
    {
        world.front.strike(2, fate.clone(), |asked| asked.is("GET", "packs"));
        let got = storage.get(Kind::Packs, &pack).unwrap_or_else(|error| panic!("{fate:?}: {error}"));
        assert!(got == bytes, "{fate:?}");
        assert_eq!(world.front.struck(), 2, "{fate:?} did not happen");
    }
    for fate in passing().into_iter().chain([
        Fate::ResetAfter(7),
        Fate::CutAfter(7),
        Fate::StallAfter(7),
        Fate::Longer(3),
        Fate::Longer(-3),
    ]) {
        world.front.strike(2, fate.clone(), |asked| asked.is("GET", "packs"));
        let got = storage
            .get_range(Kind::Packs, &pack, 1234, 5678)
            .unwrap_or_else(|error| panic!("{fate:?}: {error}"));
        assert!(got == bytes[1234..][..5678], "{fate:?}");
        assert_eq!(world.front.struck(), 2, "{fate:?} did not happen");
        world.front.strike(2, fate.clone(), |asked| asked.is("HEAD", "packs"));
        if !matches!(fate, Fate::ResetAfter(_) | Fate::CutAfter(_) | Fate::StallAfter(_) | Fate::Longer(_)) {
            assert_eq!(storage.stat(Kind::Packs, &pack).unwrap(), 400_000);
            assert_eq!(world.front.struck(), 2, "{fate:?} did not happen");
        }
    }
    // One that sends everything when a part is asked for, and one that gives another part.
    world.front.rule(|asked, _| if asked.method == "GET" { Fate::Without("range") } else { Fate::Passed });
    assert!(storage.get_range(Kind::Packs, &pack, 399_000, 1000).unwrap() == bytes[399_000..]);
    let error = storage.get_range(Kind::Packs, &pack, 399_000, 1001).unwrap_err();
    assert!(matches!(error, Error::Short { got: 1000, .. }), "{error}");
    let other =
        Fate::Answered("206 Partial Content", "content-range: bytes 0-4/400000\r\n".into(), "abcde".into());
    world.front.strike(1, other, |asked| asked.is("GET", "packs"));
    assert!(storage.get_range(Kind::Packs, &pack, 5, 5).unwrap() == bytes[5..10]);
    assert_eq!(world.front.struck(), 1);
}

#[test]
fn listings_come_through_what_passes_and_nothing_comes_twice() {
    let world = World::new();
    let (storage, direct) = (world.storage(), world.direct());
    let mut expected = BTreeMap::new();
    for seed in 0..40 {
        direct.put(Kind::Notes, &name(Kind::Notes, seed), &vec![1; usize::from(seed)]).unwrap();
        expected.insert(name(Kind::Notes, seed), u64::from(seed));
    }
    let late = Fate::Answered("200 OK", String::new(), xml("InternalError"));
    let page = Fate::Answered("200 OK", String::new(), "<html>it works</html>".to_owned());
    let broken = [
        Fate::ResetAfter(900),
        Fate::CutAfter(900),
        Fate::StallAfter(900),
        Fate::Longer(1),
        Fate::Longer(-1),
        Fate::Spoiled(0),
    ];
    for fate in passing().into_iter().chain(broken).chain([late, page]) {
        world.front.strike(2, fate.clone(), Asked::is_listing);
        assert_eq!(entries(&storage, Kind::Notes), expected, "{fate:?}");
        assert_eq!(world.front.struck(), 2, "{fate:?} did not happen");
    }
    let circle = "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>a</NextContinuationToken></ListBucketResult>";
    world.front.rule(move |_, _| Fate::Answered("200 OK", String::new(), circle.to_owned()));
    let error = storage.list(Kind::Notes, &mut |_| ()).unwrap_err();
    assert!(error.to_string().contains("in a circle"), "{error}");
}

#[test]
fn removals_come_through_what_passes() {
    let world = World::new();
    let (storage, direct) = (world.storage(), world.direct());
    for fate in passing() {
        direct.put(Kind::Notes, &name(Kind::Notes, 1), b"x").unwrap();
        world.front.strike(2, fate.clone(), |asked| asked.is("DELETE", "notes"));
        storage
            .remove(Kind::Notes, &name(Kind::Notes, 1))
            .unwrap_or_else(|error| panic!("{fate:?}: {error}"));
        assert_eq!(world.front.struck(), 2, "{fate:?} did not happen");
        assert!(direct.stat(Kind::Notes, &name(Kind::Notes, 1)).unwrap_err().is_not_found());
    }
}

#[test]
fn connections_that_break_anywhere_lose_nothing() {
    let world = World::new();
    let direct = world.direct();
    let way = Way::to(world.server.address);
    let (pack, bytes) = (name(Kind::Packs, 1), noise(3, 120_000));
    for breaks in [Break::Reset, Break::Close, Break::Stall] {
        for at in [0, 1, 300, 1500, 60_000] {
            for side in [Side::FromClient, Side::FromServer] {
                let patience = Patience {
                    first: Duration::from_millis(1),
                    most: Duration::from_millis(20),
                    total: Duration::from_secs(100),
                    ..Patience::default()
                };
                let options = world.server.options().with_waits(STALL, patience);
                let storage = S3::new(&world.server.location_by(way.address, "laptop"), options).unwrap();
                let plan = Plan { side, bytes: at, breaks };
                // An answer to a write is short: that breaks before it, or not at all.
                let answers = side == Side::FromClient || at <= 1;
                way.plan(if answers { vec![plan; 2] } else { vec![plan] });
                let broken = way.broken();
                storage
                    .replace(Kind::Packs, &pack, &bytes)
                    .unwrap_or_else(|error| panic!("{plan:?}: {error}"));
                assert!(direct.get(Kind::Packs, &pack).unwrap() == bytes, "{plan:?}");
                assert!(way.broken() > broken || !answers, "{plan:?}");
                way.drop_all();
                way.plan([plan]);
                assert!(storage.get(Kind::Packs, &pack).unwrap() == bytes, "{plan:?}");
                way.drop_all();
            }
        }
    }
}

#[test]
fn what_will_not_pass_is_told_at_once() {
    let world = World::new();
    let storage = world.storage();
    for (fate, expected) in [
        (answered("403 Forbidden", "AccessDenied"), "the server answers 403: AccessDenied: so it is"),
        (answered("403 Forbidden", "InvalidAccessKeyId"), "the server does not know AWS_ACCESS_KEY_ID"),
        (answered("400 Bad Request", "ExpiredToken"), "the keys have run out"),
        (answered("400 Bad Request", "InvalidRequest"), "the server answers 400: InvalidRequest"),
        (answered("301 Moved Permanently", "PermanentRedirect"), "give the endpoint of the bucket's region"),
        (answered("507 Insufficient Storage", "StorageFull"), "no space left on the storage"),
        (Fate::RefusedEarly(0, "403 Forbidden", xml("AccessDenied")), "AccessDenied"),
    ] {
        world.front.rule(move |_, _| fate.clone());
        for error in [
            storage.put(Kind::Packs, &name(Kind::Packs, 1), &[7; 900_000]).unwrap_err(),
            storage.put(Kind::Index, &name(Kind::Index, 1), b"x").unwrap_err(),
            storage.get(Kind::Index, &name(Kind::Index, 1)).unwrap_err(),
            storage.list(Kind::Index, &mut |_| ()).unwrap_err(),
        ] {
            let text = error.to_string();
            assert!(text.contains(expected) && !text.contains('\n') && !text.contains("X-Amz"), "{text}");
        }
        assert_eq!(world.front.asked().len(), 4, "{expected}");
    }
}

#[test]
fn a_host_that_is_not_there_is_told_before_long() {
    let (listener, address) = network::listen();
    drop(listener);
    let patience = Patience {
        first: Duration::ZERO,
        most: Duration::ZERO,
        total: Duration::ZERO,
        ..Patience::default()
    };
    let options = options("k", "s").with_waits(STALL, patience);
    let storage = S3::new(&format!("http://{address}/{BUCKET}"), options).unwrap();
    let error = storage.exists_repository().unwrap_err().to_string();
    assert!(error.contains("refused") && error.contains(&address.to_string()), "{error}");
}

#[test]
fn a_region_that_the_server_names_is_taken() {
    let world = World::new();
    let direct = world.direct();
    direct.put(Kind::Index, &name(Kind::Index, 1), b"there").unwrap();
    let told =
        "<Error><Code>AuthorizationHeaderMalformed</Code><Message>x</Message><Region>garage</Region></Error>"
            .to_owned();
    let header = "x-amz-bucket-region: garage\r\n".to_owned();
    for (headers, body) in [(String::new(), told.clone()), (header, String::new())] {
        for head_first in [false, true] {
            let (headers, body) = (headers.clone(), body.clone());
            world.front.rule(move |asked, _| match asked.target.contains("%2Fgarage%2Fs3") {
                true => Fate::Passed,
                false => Fate::Answered("400 Bad Request", headers.clone(), body.clone()),
            });
            let storage = world.storage();
            if head_first {
                assert_eq!(storage.stat(Kind::Index, &name(Kind::Index, 1)).unwrap(), 5);
            }
            assert_eq!(storage.get(Kind::Index, &name(Kind::Index, 1)).unwrap(), b"there");
            let refused = world.front.struck();
            storage.put(Kind::Index, &name(Kind::Index, 2), b"x").unwrap();
            assert_eq!(world.front.struck(), refused, "the region is kept");
        }
    }
}

#[test]
fn keys_that_run_out_are_read_again_and_new_ones_are_taken() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    let write = |key: &str, secret: &str| {
        std::fs::write(&file, format!("[default]\naws_access_key_id={key}\naws_secret_access_key={secret}\n"))
            .unwrap()
    };
    let look = |name: &str| (name == "AWS_SHARED_CREDENTIALS_FILE").then(|| file.clone().into_os_string());
    let options = copal::backend::s3::Options::from_environment(&look);
    let storage = S3::new(&world.server.location_by(world.front.address, "laptop"), options).unwrap();
    let has_run_out = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&has_run_out);
    let empty = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
    world.front.rule(move |asked, _| match (asked.target.contains("old-key"), flag.load(Ordering::SeqCst)) {
        (false, _) => Fate::Passed,
        (true, false) => Fate::Answered("200 OK", String::new(), empty.to_owned()),
        (true, true) if asked.method == "HEAD" => {
            Fate::Answered("403 Forbidden", String::new(), String::new())
        }
        (true, true) => answered("400 Bad Request", "ExpiredToken"),
    });
    write("old-key", "x");
    storage.list(Kind::Index, &mut |_| ()).unwrap();
    has_run_out.store(true, Ordering::SeqCst);
    let error = storage.put(Kind::Index, &name(Kind::Index, 1), b"x").unwrap_err();
    assert!(
        matches!(error, Error::Denied { .. }) && error.to_string().contains("the keys have run out"),
        "{error}"
    );
    write(&world.server.key, &world.server.secret);
    storage.put(Kind::Index, &name(Kind::Index, 1), b"x").unwrap();
    assert_eq!(storage.stat(Kind::Index, &name(Kind::Index, 1)).unwrap(), 1);
    // The same where the first to notice is a request whose answer has no words.
    let options = copal::backend::s3::Options::from_environment(&look);
    write("old-key", "x");
    has_run_out.store(false, Ordering::SeqCst);
    let storage = S3::new(&world.server.location_by(world.front.address, "laptop"), options).unwrap();
    storage.list(Kind::Index, &mut |_| ()).unwrap();
    has_run_out.store(true, Ordering::SeqCst);
    write(&world.server.key, &world.server.secret);
    assert_eq!(storage.stat(Kind::Index, &name(Kind::Index, 1)).unwrap(), 1);
}

#[test]
fn a_machine_with_a_wrong_clock_works() {
    let world = World::new();
    let sandbox = &world.sandbox;
    fill(sandbox, 1);
    for clock in ["+3d", "-3d", "+400d"] {
        world.front.rule(|_, _| Fate::Passed);
        let target = format!("target{clock}");
        common::end(sandbox.command_through(&["faketime", "-f", clock], ["backup", "source"])).expect(0);
        common::end(
            sandbox.command_through(&["faketime", "-f", clock], ["restore", "latest", "-t", &target]),
        )
        .expect(0);
        assert_same(&sandbox.source(), &below(&sandbox.path(&target), &sandbox.source()));
        let asked = world.front.asked();
        assert!(asked.iter().filter(|asked| asked.target.contains("X-Amz-Date")).count() > 10);
    }
    sandbox.run(["check", "--read-data"]).expect(0);
    // Here nothing is off, and nothing is asked twice.
    let right = world.storage();
    world.front.rule(|_, _| Fate::Passed);
    right.put(Kind::Index, &name(Kind::Index, 1), b"x").unwrap();
    assert_eq!(world.front.asked().len(), 1);
}

#[test]
fn backups_and_restores_come_through_a_bad_network() {
    for (number, fate) in [
        Fate::Reset,
        Fate::ReplyLost,
        Fate::ResetAfter(100),
        Fate::CutAfter(100),
        answered("503 Slow Down", "SlowDown"),
        Fate::Answered("500 Internal Server Error", String::new(), String::new()),
    ]
    .into_iter()
    .enumerate()
    {
        let world = World::new();
        let sandbox = &world.sandbox;
        // Answers without a body have nothing to be cut: those requests just succeed.
        let of_them = fate.clone();
        world.front.rule(move |_, number| if number % 3 == 0 { of_them.clone() } else { Fate::Passed });
        fill(sandbox, number as u64);
        sandbox.back_up();
        fill(sandbox, number as u64 + 1);
        sandbox.back_up();
        assert_same(&sandbox.source(), &sandbox.restore("target"));
        sandbox.run(["check", "--read-data"]).expect(0);
        assert!(world.front.struck() > 10, "{fate:?}");
        world.front.rule(|_, _| Fate::Passed);
        sandbox.run(["check", "--read-data"]).expect(0);
        assert_eq!(world.snapshots(), 2);
    }
}

#[test]
fn bytes_that_are_spoiled_on_their_way_down_are_found_and_read_again() {
    let world = World::new();
    let sandbox = &world.sandbox;
    fill(sandbox, 1);
    sandbox.back_up();
    std::fs::remove_dir_all(sandbox.cache()).unwrap();
    // The first answer for each object and part is spoiled.
    let seen = Mutex::new(Vec::new());
    world.front.rule(move |asked, _| {
        let what = format!("{} {:?}", asked.target.split('?').next().unwrap(), asked.header("range"));
        let mut seen = seen.lock().unwrap();
        let is_first = asked.method == "GET" && !asked.is_listing() && !seen.contains(&what);
        seen.push(what);
        if is_first { Fate::Spoiled(90) } else { Fate::Passed }
    });
    assert_same(&sandbox.source(), &sandbox.restore("target"));
    sandbox.run(["check", "--read-data"]).expect(0);
    assert!(world.front.struck() > 3);
    world.front.rule(|_, _| Fate::Passed);
    sandbox.run(["check", "--read-data"]).expect(0);
}

#[test]
fn what_was_reported_as_saved_restores_whenever_keys_run_out() {
    let world = World::new();
    let sandbox = &world.sandbox;
    let (mut saved, mut failed) = (0, 0);
    for last in 0.. {
        fill(sandbox, last);
        let count = AtomicU64::new(0);
        world.front.rule(move |_, _| match count.fetch_add(1, Ordering::SeqCst) < 2 * last {
            true => Fate::Passed,
            false => answered("400 Bad Request", "ExpiredToken"),
        });
        let ended = sandbox.run(["backup", "source"]);
        let is_through = world.front.struck() == 0;
        world.front.rule(|_, _| Fate::Passed);
        match ended.code {
            0 => saved += 1,
            _ => {
                failed += 1;
                assert!(ended.err().contains("the keys have run out"), "{ended}");
            }
        }
        assert_eq!(world.snapshots(), saved, "{ended}");
        if ended.code == 0 {
            assert_same(&sandbox.source(), &sandbox.restore(&format!("target {last}")));
        }
        if is_through {
            break;
        }
    }
    assert!(failed > 5 && saved > 0, "{failed} {saved}");
    sandbox.run(["check", "--read-data"]).expect(0);
}
