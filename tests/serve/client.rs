//! A client made by hand, which says to a server whatever it likes: bytes as docs/decisions/0013-serve.md has them, not those of the library.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use copal::backend::{Backend, Kind, Local};

const MAGIC: &[u8] = b"\x8bcopal\r\n";
const PUT: u8 = 1;
const PART: u8 = 2;
const GET: u8 = 3;
const RANGE: u8 = 4;
const LIST: u8 = 5;
const STAT: u8 = 6;
const REMOVE: u8 = 7;
const TIME: u8 = 8;
const SPACE: u8 = 9;
const CREATE: u8 = 11;
const LEFTOVERS: u8 = 12;
const RESERVE: u8 = 13;
const GIVEN: u8 = 128;
const DONE: u8 = 129;
const FAILED: u8 = 130;
// Why something failed.
const NOT_FOUND: u8 = 1;
const EXISTS: u8 = 3;
const SHORT: u8 = 5;
const TOO_LONG: u8 = 6;
const NO_SPACE: u8 = 7;
const DENIED: u8 = 8;
const UNSUPPORTED: u8 = 9;

struct Client {
    child: Child,
    to: Option<ChildStdin>,
    from: ChildStdout,
}

fn frame(what: u8, id: u32, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    [&(body.len() as u32 + 5).to_le_bytes()[..], &[what], &id.to_le_bytes(), &body].concat()
}

/// A request: what, its number, kind of object, two numbers, and the rest.
fn request(what: u8, id: u32, kind: u8, numbers: (u64, u64), rest: &[u8]) -> Vec<u8> {
    frame(what, id, &[&[kind], &numbers.0.to_le_bytes(), &numbers.1.to_le_bytes(), rest])
}

fn part(id: u32, bytes: &[u8]) -> Vec<u8> {
    request(PART, id, 0, (0, 0), bytes)
}

fn put(kind: Kind, over: u8, size: u64, name: &str) -> Vec<u8> {
    request(PUT, 7, kind.number(), (size, over.into()), name.as_bytes())
}

/// The body of a reply that gives two numbers.
fn both(first: u64, second: u64) -> Vec<u8> {
    [first.to_le_bytes(), second.to_le_bytes()].concat()
}

fn hello(path: &str) -> Vec<u8> {
    [MAGIC, &1_u32.to_le_bytes(), &[0], &(path.len() as u16).to_le_bytes(), path.as_bytes()].concat()
}

impl Client {
    fn start(options: &[&str]) -> Client {
        let mut command = Command::new(env!("CARGO_BIN_EXE_copal"));
        command.arg("serve").args(options).env_clear().env("HOME", "/nonexistent");
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take(), child.stdout.take().unwrap());
        Client { child, to, from }
    }

    /// Greeted, for that folder.
    fn greeted(options: &[&str], path: &str) -> Client {
        let mut client = Client::start(options);
        client.say(&hello(path));
        let mut answer = [0; 15];
        client.from.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, &[MAGIC, &[1, 0, 0, 0, 0, 0, 0]].concat()[..]);
        client
    }

    /// A server that may have ended is said to as well.
    fn say(&mut self, bytes: &[u8]) {
        let _ = self.to.as_mut().unwrap().write_all(bytes);
    }

    fn hear(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut length = [0; 4];
        self.from.read_exact(&mut length).ok()?;
        let mut body = vec![0; u32::from_le_bytes(length) as usize];
        self.from.read_exact(&mut body).unwrap();
        let id = u32::from_le_bytes(body[1..5].try_into().unwrap());
        Some((body[0], id, body[5..].to_vec()))
    }

    fn ask(&mut self, what: u8, kind: u8, numbers: (u64, u64), rest: &str) -> (u8, Vec<u8>) {
        self.say(&request(what, 7, kind, numbers, rest.as_bytes()));
        let (answer, id, body) = self.hear().expect("the server ended");
        assert_eq!(id, 7);
        (answer, body)
    }

    /// Why it is refused.
    fn refused(&mut self, what: u8, kind: u8, numbers: (u64, u64), rest: &str) -> u8 {
        let (answer, body) = self.ask(what, kind, numbers, rest);
        assert_eq!(answer, FAILED);
        body[0]
    }

    fn put(&mut self, kind: Kind, name: &str, bytes: &[u8]) -> (u8, Vec<u8>) {
        self.say(&put(kind, 0, bytes.len() as u64, name));
        for piece in bytes.chunks(100_000) {
            self.say(&part(7, piece));
        }
        let (kind, _, body) = self.hear().expect("the server ended");
        (kind, body)
    }

    /// Hangs up; the exit code, and what it said.
    fn end(mut self) -> (i32, String) {
        self.to = None;
        let mut rest = Vec::new();
        self.from.read_to_end(&mut rest).unwrap();
        let output = self.child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("panic") && !said.contains("bug"), "{said}");
        (output.status.code().unwrap(), said)
    }
}

fn name(kind: Kind, seed: u8) -> String {
    format!("{:02x}", 0xa0 + seed).repeat(kind.name_length() / 2)
}

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// A repository's folder with one object of each kind, beside something that is not to be touched.
    fn new() -> Place {
        let place = Place { folder: tempfile::tempdir().unwrap() };
        fs::write(place.folder.path().join("beside"), "untouched").unwrap();
        let local = Local::new(place.path());
        local.create().unwrap();
        for kind in Kind::ALL {
            local.put(kind, &name(kind, 1), b"stored").unwrap();
        }
        place
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn text(&self) -> String {
        self.path().display().to_string()
    }

    fn client(&self, options: &[&str]) -> Client {
        let path = self.text();
        Client::greeted(&[options, &[&path]].concat(), &path)
    }

    /// All files, with what is in them.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        files(self.folder.path())
    }
}

pub fn files(below: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = (walkdir::WalkDir::new(below).into_iter().map(Result::unwrap))
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| (entry.path().to_owned(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn who_may_only_add_neither_removes_nor_replaces_nor_says_what_is_to_go() {
    let place = Place::new();
    let before = place.files();
    let mut client = place.client(&["--append-only"]);
    for kind in Kind::ALL {
        let (there, new) = (name(kind, 1), name(kind, 2));
        if kind != Kind::Copies {
            assert_eq!(client.refused(REMOVE, kind.number(), (0, 0), &there), DENIED, "{kind:?}");
        }
        for over in [&there, &new] {
            client.say(&put(kind, 1, 6, over));
            client.say(&part(7, b"forged"));
            let (answer, _, body) = client.hear().unwrap();
            assert_eq!((answer, body[0]), (FAILED, DENIED), "{kind:?}");
        }
        if matches!(
            kind,
            Kind::Config | Kind::Keys | Kind::Fences | Kind::Removals | Kind::Notes | Kind::Damage
        ) {
            let (answer, body) = client.put(kind, &new, b"forged");
            assert_eq!((answer, body[0]), (FAILED, DENIED), "{kind:?}");
            assert!(String::from_utf8_lossy(&body).contains("the server takes additions only"));
        } else {
            // What is there stays: of its length it counts as stored, of another it is told.
            assert_eq!(client.put(kind, &there, b"forged").0, DONE, "{kind:?}");
            let (answer, body) = client.put(kind, &there, b"cut");
            assert_eq!((answer, body[0]), (FAILED, EXISTS), "{kind:?}");
        }
    }
    assert_eq!(client.refused(CREATE, 0, (0, 0), ""), DENIED);
    assert_eq!(client.refused(LEFTOVERS, 0, (i64::MAX as u64, 0), ""), DENIED);
    assert_eq!(client.refused(RESERVE, 0, (0, 0), ""), DENIED);
    assert_eq!(place.files(), before);

    // And what a backup adds is there.
    let long: Vec<u8> = (0..300_000).map(|at| (at % 251) as u8).collect();
    assert_eq!(client.put(Kind::Packs, &name(Kind::Packs, 3), &long).0, DONE);
    assert_eq!(Local::new(place.path()).get(Kind::Packs, &name(Kind::Packs, 3)).unwrap(), long);
    assert_eq!(client.end(), (0, String::new()));
    assert_eq!(place.files().len(), before.len() + 1);
}

#[test]
fn names_that_lead_elsewhere_are_refused_whoever_asks() {
    let place = Place::new();
    let before = place.files();
    for options in [&[][..], &["--append-only"], &["--read-only"]] {
        let mut client = place.client(options);
        let good = name(Kind::Index, 1);
        for bad in [
            "",
            "..",
            "../../beside",
            "../config/../../beside",
            "/etc/passwd",
            "tmp-1",
            "a/b",
            "\0",
            &good[1..],
            &good.to_uppercase(),
            &format!("{good}/"),
            &format!("../index/{good}"),
        ] {
            let index = Kind::Index.number();
            assert_eq!(client.refused(STAT, index, (0, 0), bad), UNSUPPORTED, "{bad:?}");
            assert_eq!(client.refused(GET, index, (u64::MAX, 0), bad), UNSUPPORTED);
            assert_eq!(client.refused(RANGE, index, (0, 1), bad), UNSUPPORTED);
            let removed = client.refused(REMOVE, index, (0, 0), bad);
            assert!([UNSUPPORTED, DENIED].contains(&removed));
            let (answer, body) = client.put(Kind::Index, bad, b"forged");
            assert!(answer == FAILED && [UNSUPPORTED, DENIED].contains(&body[0]), "{bad:?}");
        }
        // It still answers.
        assert_eq!(client.refused(STAT, 0, (0, 0), &good), UNSUPPORTED);
        client.say(&request(STAT, 7, 4, (0, 0), &[0xff, 0xfe]));
        assert_eq!(client.hear().unwrap().2[0], UNSUPPORTED);
        assert_eq!(client.ask(STAT, Kind::Index.number(), (0, 0), &good), (DONE, both(6, 0)));
        assert_eq!(client.end().0, 0);
    }
    assert_eq!(place.files(), before);
}

#[test]
fn only_the_folder_of_the_command_is_served_whatever_is_asked_for() {
    let place = Place::new();
    let own = place.text();
    let other = place.folder.path().join("other").display().to_string();
    for asked in [&other[..], "", "/", &format!("{own}/config"), &format!("{own}/.."), "repository"] {
        let mut client = Client::start(&["--append-only", &own]);
        client.say(&hello(asked));
        let mut answer = Vec::new();
        client.from.read_to_end(&mut answer).unwrap();
        assert_eq!(answer[12], 1, "{asked}");
        assert!(
            String::from_utf8_lossy(&answer).contains(&format!("serves {own} to this client")),
            "{asked}"
        );
        assert_eq!(client.end().0, 6);
    }
    // Said in another way it is the same.
    for asked in [format!("{own}/"), format!("{own}/../repository"), format!("{own}/./config/..")] {
        assert_eq!(Client::greeted(&[&own], &asked).end(), (0, String::new()));
    }
    assert!(!Path::new(&other).exists());
    // Without a folder it is the one that is asked for.
    let mut client = Client::greeted(&[], &own);
    assert_eq!(client.ask(STAT, 4, (0, 0), &name(Kind::Index, 1)).0, DONE);
}

#[test]
fn what_is_no_protocol_ends_the_server_and_leaves_nothing() {
    let place = Place::new();
    let before = place.files();
    let pack = name(Kind::Packs, 9);
    for (what, wrong) in [
        ("a frame that is far too long", [&u32::MAX.to_le_bytes()[..], &[0; 100]].concat()),
        ("one that is a little too long", [&(200_000_u32).to_le_bytes()[..], &vec![2; 200_000]].concat()),
        ("one that is too short", vec![4, 0, 0, 0, 8, 0, 0, 0]),
        ("a request that is not known", request(99, 1, 3, (0, 0), pack.as_bytes())),
        ("a kind that is not known", request(STAT, 1, 14, (0, 0), pack.as_bytes())),
        ("a request that is cut off", frame(GET, 1, &[&[3], &[0; 15]])),
        ("one that is nothing", frame(GET, 1, &[])),
        ("a part of nothing", part(7, b"x")),
        ("more bytes than were promised", [put(Kind::Packs, 0, 3, &pack), part(7, b"four")].concat()),
        ("a part after all of it", [put(Kind::Packs, 0, 0, &name(Kind::Packs, 1)), part(7, b"x")].concat()),
        ("a part of another", [put(Kind::Packs, 0, 3, &pack), part(8, b"x")].concat()),
        ("an object within another", [put(Kind::Packs, 0, 3, &pack), put(Kind::Packs, 0, 3, &pack)].concat()),
    ] {
        let mut client = place.client(&[]);
        client.say(&wrong);
        while client.hear().is_some() {}
        let (code, said) = client.end();
        assert_eq!(code, 1, "{what}: {said}");
        assert!(said.starts_with("copal: the client does not keep to the protocol: "), "{what}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(place.files(), before, "{what}");
    }
    for first in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\n", b"", &hello("x")[..5]] {
        let mut client = Client::start(&[&place.text()]);
        client.say(first);
        let (code, said) = client.end();
        assert!(code == 2 && said.contains("what asks is not copal"), "{said}");
    }
    assert_eq!(place.files(), before);
}

#[test]
fn of_an_object_whose_client_hangs_up_nothing_is_left() {
    let place = Place::new();
    let before = place.files();
    let pack = name(Kind::Packs, 9);
    let (head, piece) = (put(Kind::Packs, 0, 250_000, &pack), part(7, &[5; 100_000]));
    for cut in [
        head[..9].to_vec(),
        head.clone(),
        [&head[..], &piece].concat(),
        [&head[..], &piece, &piece[..50_000]].concat(),
    ] {
        let mut client = place.client(&["--append-only"]);
        client.say(&cut);
        assert_eq!(client.end(), (0, String::new()));
        assert_eq!(place.files(), before);
    }
    // The last byte makes it an object, durable also when nobody waits for the answer.
    let mut client = place.client(&["--append-only"]);
    client.say(&[&head[..], &piece, &piece, &part(7, &[5; 50_000])].concat());
    assert_eq!(client.end().0, 0);
    assert_eq!(Local::new(place.path()).stat(Kind::Packs, &pack).unwrap(), 250_000);
    assert_eq!(place.files().len(), before.len() + 1);
}

#[test]
fn replies_to_others_come_while_an_object_is_on_its_way() {
    let place = Place::new();
    let mut client = place.client(&[]);
    client.say(&put(Kind::Packs, 0, 200, &name(Kind::Packs, 9)));
    client.say(&part(7, &[5; 100]));
    client.say(&request(STAT, 8, 4, (0, 0), name(Kind::Index, 1).as_bytes()));
    assert_eq!(client.hear().unwrap(), (DONE, 8, both(6, 0)));
    client.say(&request(LIST, 9, 0, (0, 0), &[4, 13]));
    let listed = client.hear().unwrap();
    let entry = |kind: Kind| [&[kind.number()][..], &6_u64.to_le_bytes(), name(kind, 1).as_bytes()].concat();
    assert_eq!(listed, (GIVEN, 9, [entry(Kind::Index), entry(Kind::Copies)].concat()));
    assert_eq!(client.hear().unwrap(), (DONE, 9, both(0, 0)));
    client.say(&part(7, &[5; 100]));
    assert_eq!(client.hear().unwrap(), (DONE, 7, both(0, 0)));
    for kinds in [&[0][..], &[14], &[3; 14]] {
        client.say(&request(LIST, 9, 0, (0, 0), kinds));
        assert_eq!(client.hear().unwrap().2[0], UNSUPPORTED);
    }
}

#[test]
fn what_is_claimed_takes_no_memory_and_what_is_missing_is_told() {
    let place = Place::new();
    let mut client = place.client(&[]);
    client.say(&put(Kind::Packs, 0, u64::MAX, &name(Kind::Packs, 9)));
    assert_eq!(client.hear().unwrap().2[0], TOO_LONG);
    // Its parts would be passed over; whoever has none to send begins anew.
    drop(client);
    let mut client = place.client(&[]);
    let pack = name(Kind::Packs, 1);
    for (offset, length) in [(0, u64::MAX), (u64::MAX, u64::MAX), (3, 1 << 40), (7, 0)] {
        assert_eq!(client.refused(RANGE, 3, (offset, length), &pack), SHORT);
    }
    assert_eq!(client.refused(GET, 3, (5, 0), &pack), TOO_LONG);
    assert_eq!(client.refused(STAT, 3, (0, 0), &name(Kind::Packs, 2)), NOT_FOUND);
}

#[test]
fn a_long_object_passes_through_little_memory() {
    let place = Place::new();
    let mut client = place.client(&[]);
    let (pack, piece, count) = (name(Kind::Packs, 9), vec![7; 128 << 10], 1000);
    client.say(&put(Kind::Packs, 0, (piece.len() * count) as u64, &pack));
    (0..count).for_each(|_| client.say(&part(7, &piece)));
    assert_eq!(client.hear().unwrap().0, DONE);
    client.say(&request(GET, 8, 3, (u64::MAX, 0), pack.as_bytes()));
    let mut given = 0;
    while let Some((GIVEN, 8, bytes)) = client.hear() {
        given += bytes.len();
    }
    assert_eq!(given, piece.len() * count);
    let status = fs::read_to_string(format!("/proc/{}/status", client.child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 64 << 10, "{peak} KiB of memory for 125 MiB");
    assert_eq!(client.end().0, 0);
}

#[test]
fn a_quota_is_a_full_disk_and_holds_for_all_who_write_there() {
    let place = Place::new();
    // Thirteen objects of six bytes.
    let mut client = place.client(&["--append-only", "--quota", "1078"]);
    let index = |seed| name(Kind::Index, seed);
    assert_eq!(client.put(Kind::Index, &index(2), &[1; 600]).0, DONE);
    let (answer, body) = client.put(Kind::Index, &index(3), &[1; 401]);
    assert_eq!((answer, body[0]), (FAILED, NO_SPACE));
    // What is there takes no more.
    assert_eq!(client.put(Kind::Index, &index(2), &[1; 600]).0, DONE);
    let mut second = place.client(&["--append-only", "--quota", "1078"]);
    assert_eq!(second.put(Kind::Index, &index(4), &[1; 401]).1[0], NO_SPACE);
    assert_eq!(second.put(Kind::Index, &index(4), &[1; 400]).0, DONE);
    assert_eq!(second.put(Kind::Index, &index(5), &[1; 1]).1[0], NO_SPACE);
    assert_eq!(second.ask(SPACE, 0, (0, 0), ""), (DONE, both(1078, 0)));
    drop((client, second));
    assert_eq!(fs::read_dir(place.path().join("tmp")).unwrap().count(), 0);
    // Who may remove makes room.
    let mut owner = place.client(&["--quota", "1078"]);
    assert_eq!(owner.ask(REMOVE, 4, (0, 0), &index(2)).0, DONE);
    assert_eq!(owner.put(Kind::Index, &index(6), &[1; 600]).0, DONE);
}

#[test]
fn who_may_read_reads_and_writes_nothing() {
    let place = Place::new();
    let before = place.files();
    let mut client = place.client(&["--read-only"]);
    assert_eq!(client.put(Kind::Packs, &name(Kind::Packs, 2), b"x").1[0], DENIED);
    for (what, first) in [(TIME, 0), (CREATE, 0), (RESERVE, 1), (RESERVE, 0), (LEFTOVERS, 1 << 40)] {
        assert_eq!(client.refused(what, 0, (first, 0), ""), DENIED);
    }
    assert_eq!(client.refused(REMOVE, 13, (0, 0), &name(Kind::Copies, 1)), DENIED);
    let got = client.ask(GET, 4, (u64::MAX, 0), &name(Kind::Index, 1));
    assert_eq!(got, (GIVEN, b"stored".to_vec()));
    assert_eq!(client.hear().unwrap(), (DONE, 7, both(6, 0)));
    assert_eq!(client.end().0, 0);
    assert_eq!(place.files(), before);
}

/// Numbers that only look like chance, the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }
}

#[test]
fn streams_that_were_changed_anywhere_harm_nothing() {
    let place = Place::new();
    let before = place.files();
    let stream = [
        request(LIST, 1, 0, (0, 0), &[3, 4]),
        put(Kind::Packs, 0, 3, &name(Kind::Packs, 1)),
        part(7, b"abc"),
        request(GET, 2, 4, (u64::MAX, 0), name(Kind::Index, 1).as_bytes()),
        request(REMOVE, 3, 4, (0, 0), name(Kind::Index, 1).as_bytes()),
        request(STAT, 4, 3, (0, 0), name(Kind::Packs, 1).as_bytes()),
    ]
    .concat();
    let mut numbers = Numbers(42);
    for _ in 0..150 {
        let mut changed = stream.clone();
        for _ in 0..=numbers.next(3) {
            let place = numbers.next(changed.len());
            match numbers.next(3) {
                0 => changed[place] ^= 1 << numbers.next(8),
                1 => changed.truncate(place.max(1)),
                _ => changed[place] = numbers.next(256) as u8,
            }
        }
        let mut client = place.client(&["--read-only"]);
        client.say(&changed);
        let (code, said) = client.end();
        assert!(code == 0 || code == 1, "{code}: {said}");
    }
    assert_eq!(place.files(), before);
}
