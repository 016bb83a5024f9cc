//! An SFTP server between whose requests and replies something goes wrong: OpenSSH's own, with a filter on its pipes that counts, cuts, lies and
//! waits.

mod servers;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use copal::backend::sftp::{Line, Lost, Options, Peer, Place, Why};
use copal::backend::{Backend, Entry, Error, Kind, Patience, Sftp};
use servers::{QUICK, SFTP_SERVER};

/// Kinds of requests, as the protocol numbers them.
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const WRITE: u8 = 6;
const LSTAT: u8 = 7;
const REMOVE: u8 = 13;
const EXTENDED: u8 = 200;

/// What becomes of a request.
enum Fate {
    Passes,
    /// The connection ends before the server gets it.
    CutBefore,
    /// The server does it, and the connection ends before it says so.
    CutAfter,
    /// The server never gets it, and the connection stays.
    Lost,
    /// The server gets another one.
    Becomes(Vec<u8>),
}

/// What is done to requests and replies; both are whole packets with their lengths.
trait Filter: Send + Sync {
    fn request(&self, _packet: &[u8]) -> Fate {
        Fate::Passes
    }
    fn reply(&self, packet: Vec<u8>) -> Vec<u8> {
        packet
    }
}

struct Server {
    child: Mutex<Child>,
}

impl Peer for Server {
    fn cut(&self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
    fn leave(&self) {
        // It ends when it gets nothing more.
        let _ = self.child.lock().unwrap().wait();
    }
    fn last_words(&self) -> Lost {
        Lost { why: Why::Gone, words: "the line was cut".to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cut();
    }
}

/// What goes to the server. None once it is cut.
struct Requests {
    to: Option<std::process::ChildStdin>,
    filter: Arc<dyn Filter>,
    is_cut: Arc<AtomicU64>,
}

impl Write for Requests {
    fn write(&mut self, packet: &[u8]) -> io::Result<usize> {
        let Some(to) = &mut self.to else { return Err(io::ErrorKind::BrokenPipe.into()) };
        assert_eq!(
            packet.len(),
            4 + u32::from_be_bytes(packet[..4].try_into().unwrap()) as usize,
            "one packet at a time"
        );
        match self.filter.request(packet) {
            Fate::Passes => to.write_all(packet)?,
            Fate::Lost => {}
            Fate::Becomes(other) => to.write_all(&other)?,
            Fate::CutBefore => {
                self.is_cut.store(1, Ordering::SeqCst);
                self.to = None;
            }
            Fate::CutAfter => {
                self.is_cut.store(1, Ordering::SeqCst);
                to.write_all(packet)?;
                // The server does what it was told until its input ends, and then ends.
                self.to = None;
            }
        }
        Ok(packet.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What comes from the server.
struct Replies {
    from: std::process::ChildStdout,
    filter: Arc<dyn Filter>,
    is_cut: Arc<AtomicU64>,
    ready: Vec<u8>,
    given: usize,
}

impl Read for Replies {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.ready.len() {
            let mut length = [0; 4];
            if self.from.read_exact(&mut length).is_err() {
                return Ok(0);
            }
            let mut packet = length.to_vec();
            packet.resize(4 + u32::from_be_bytes(length) as usize, 0);
            self.from.read_exact(&mut packet[4..])?;
            if self.is_cut.load(Ordering::SeqCst) == 1 {
                // The rest is not heard; the server ends by itself when it has done what it was told.
                io::copy(&mut self.from, &mut io::sink())?;
                return Ok(0);
            }
            (self.ready, self.given) = (self.filter.reply(packet), 0);
        }
        let count = buffer.len().min(self.ready.len() - self.given);
        buffer[..count].copy_from_slice(&self.ready[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

fn dial(filter: &Arc<dyn Filter>, umask: &str) -> Line {
    let mut child = Command::new(SFTP_SERVER)
        .args(["-u", umask])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssh-server is not installed: see tests/install");
    let is_cut = Arc::new(AtomicU64::new(0));
    let (to, from) = (child.stdin.take(), child.stdout.take().unwrap());
    Line {
        output: Box::new(Requests { to, filter: Arc::clone(filter), is_cut: Arc::clone(&is_cut) }),
        input: Box::new(Replies { from, filter: Arc::clone(filter), is_cut, ready: Vec::new(), given: 0 }),
        peer: Box::new(Server { child: Mutex::new(child) }),
    }
}

/// A folder in memory where there is one: what is tested here is not the disk.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn options() -> Options {
    Options { patience: QUICK, ..Options::default() }
}

fn through(folder: &Path, filter: Arc<dyn Filter>) -> Sftp {
    with_umask(folder, filter, "077")
}

fn with_umask(folder: &Path, filter: Arc<dyn Filter>, umask: &'static str) -> Sftp {
    let place = Place::parse(&format!("server:{}", folder.join("repository").display())).unwrap();
    Sftp::with_dial(place, options(), Box::new(move || Ok(dial(&filter, umask))))
}

/// Does nothing.
struct Plain;

impl Filter for Plain {}

/// Ends the connection at a request of that number, counted over all connections.
struct Cut {
    at: u64,
    after: bool,
    count: AtomicU64,
}

impl Filter for Cut {
    fn request(&self, _: &[u8]) -> Fate {
        match self.count.fetch_add(1, Ordering::SeqCst) == self.at {
            false => Fate::Passes,
            true if self.after => Fate::CutAfter,
            true => Fate::CutBefore,
        }
    }
}

/// Changes replies.
struct Changed<F: Fn(Vec<u8>) -> Vec<u8> + Send + Sync>(F);

impl<F: Fn(Vec<u8>) -> Vec<u8> + Send + Sync> Filter for Changed<F> {
    fn reply(&self, packet: Vec<u8>) -> Vec<u8> {
        (self.0)(packet)
    }
}

/// Answers requests of a kind (of extensions: of a name) with a status; they are done nevertheless.
struct Says {
    what: &'static [u8],
    code: u8,
    ids: Mutex<Vec<Vec<u8>>>,
}

impl Says {
    fn of(what: &'static [u8], code: u8) -> Arc<Says> {
        Arc::new(Says { what, code, ids: Mutex::default() })
    }
}

fn is_of(packet: &[u8], what: &[u8]) -> bool {
    match what {
        [kind] => packet[4] == *kind,
        name => packet[4] == EXTENDED && packet[13..].starts_with(name),
    }
}

impl Filter for Says {
    fn request(&self, packet: &[u8]) -> Fate {
        if is_of(packet, self.what) {
            self.ids.lock().unwrap().push(packet[5..9].to_vec());
        }
        Fate::Passes
    }
    fn reply(&self, packet: Vec<u8>) -> Vec<u8> {
        let mut ids = self.ids.lock().unwrap();
        match ids.iter().position(|id| packet[5..9] == id[..]) {
            None => packet,
            Some(place) => {
                let id = ids.remove(place);
                [&[0, 0, 0, 17, 101][..], &id, &[0, 0, 0, self.code, 0, 0, 0, 0, 0, 0, 0, 0]].concat()
            }
        }
    }
}

fn name(kind: Kind, seed: u8) -> String {
    format!("{seed:02x}").repeat(kind.name_length() / 2)
}

fn listing(backend: &dyn Backend, kind: Kind) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    backend.list(kind, &mut |Entry { name, size }| assert_eq!(found.insert(name, size), None)).unwrap();
    found
}

fn leftovers(folder: &Path) -> usize {
    fs::read_dir(folder.join("repository/tmp")).unwrap().count()
}

fn object(folder: &Path, kind: Kind, seed: u8) -> PathBuf {
    folder.join("repository").join(kind.path_of(&name(kind, seed)))
}

/// All that a backend can do; the bytes of what is there in the end.
fn everything(sftp: &Sftp) -> Result<(), Error> {
    let pack = vec![7; 300_000];
    sftp.create()?;
    for (kind, seed, bytes) in [
        (Kind::Config, 1, &b"config"[..]),
        (Kind::Packs, 2, &pack),
        (Kind::Packs, 3, b"pack"),
        (Kind::Index, 4, b"x"),
    ] {
        sftp.put(kind, &name(kind, seed), bytes)?;
        assert_eq!(sftp.get(kind, &name(kind, seed))?, bytes);
    }
    assert_eq!(sftp.get_range(Kind::Packs, &name(Kind::Packs, 2), 1000, 200_000)?, pack[1000..201_000]);
    assert_eq!(sftp.stat(Kind::Packs, &name(Kind::Packs, 2))?, 300_000);
    sftp.replace(Kind::Index, &name(Kind::Index, 4), b"put back")?;
    sftp.time()?;
    sftp.space()?;
    sftp.remove(Kind::Packs, &name(Kind::Packs, 3))?;
    let mut found = Vec::new();
    sftp.list(Kind::Packs, &mut |entry| found.push(entry))?;
    assert_eq!(found, [Entry { name: name(Kind::Packs, 2), size: 300_000 }]);
    assert!(sftp.exists_repository()?);
    let before = sftp.time()?.plus_seconds(-3600);
    assert_eq!(sftp.remove_leftovers(before)?, 0);
    Ok(())
}

// ---- connections that end ----

#[test]
fn wherever_a_connection_ends_everything_goes_on_over_another() {
    for after in [false, true] {
        for at in 1.. {
            let folder = scratch();
            let cut = Arc::new(Cut { at, after, count: AtomicU64::new(0) });
            let sftp = through(folder.path(), cut.clone());
            everything(&sftp).unwrap_or_else(|error| panic!("cut at request {at} (after: {after}): {error}"));
            assert_eq!(fs::read(object(folder.path(), Kind::Index, 4)).unwrap(), b"put back");
            assert!(!object(folder.path(), Kind::Packs, 3).exists());
            drop(sftp);
            // What stays is never under an object's name.
            assert!(leftovers(folder.path()) <= 2);
            if cut.count.load(Ordering::SeqCst) <= at {
                assert!(at > 50, "only {at} requests");
                break;
            }
        }
    }
}

#[test]
fn a_half_written_object_never_has_its_name() {
    // Writes until the cut, none of which may show.
    for at in 1..12 {
        let folder = scratch();
        through(folder.path(), Arc::new(Plain)).create().unwrap();
        let writes = AtomicU64::new(0);
        struct AtWrite(u64, AtomicU64);
        impl Filter for AtWrite {
            fn request(&self, packet: &[u8]) -> Fate {
                let is_late = self.1.load(Ordering::SeqCst) >= self.0;
                if packet[4] == WRITE && self.1.fetch_add(1, Ordering::SeqCst) + 1 >= self.0 || is_late {
                    return Fate::CutBefore;
                }
                Fate::Passes
            }
        }
        let filter: Arc<dyn Filter> = Arc::new(AtWrite(at, writes));
        let place = Place::parse(&format!("server:{}/repository", folder.path().display())).unwrap();
        let patience = Patience { total: Duration::ZERO, ..QUICK };
        let sftp = Sftp::with_dial(
            place,
            Options { patience, ..options() },
            Box::new(move || Ok(dial(&filter, "077"))),
        );
        let error = sftp.put(Kind::Packs, &name(Kind::Packs, 1), &[1; 1_500_000]).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        assert!(error.to_string().contains("the line was cut"), "{error}");
        assert!(listing(&through(folder.path(), Arc::new(Plain)), Kind::Packs).is_empty());
    }
}

#[test]
fn a_server_that_says_nothing_any_more_is_given_up() {
    let folder = scratch();
    struct Mute(AtomicU64);
    impl Filter for Mute {
        fn request(&self, packet: &[u8]) -> Fate {
            // The first request to look is never answered.
            let is_first = packet[4] == LSTAT && self.0.fetch_add(1, Ordering::SeqCst) == 0;
            if is_first { Fate::Lost } else { Fate::Passes }
        }
    }
    through(folder.path(), Arc::new(Plain)).create().unwrap();
    let filter: Arc<dyn Filter> = Arc::new(Mute(AtomicU64::new(0)));
    let place = Place::parse(&format!("server:{}/repository", folder.path().display())).unwrap();
    let silence = Duration::from_millis(300);
    let dialled = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&dialled);
    let sftp = Sftp::with_dial(
        place,
        Options { silence, ..options() },
        Box::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(dial(&filter, "077"))
        }),
    );
    sftp.put(Kind::Index, &name(Kind::Index, 1), b"x").unwrap();
    assert_eq!(dialled.load(Ordering::SeqCst), 2);
    assert_eq!(fs::read(object(folder.path(), Kind::Index, 1)).unwrap(), b"x");
}

#[test]
fn a_first_connection_is_not_tried_for_long_and_a_refused_one_only_once() {
    for (why, tries) in [(Why::Gone, 2), (Why::Refused, 1), (Why::Broken, 1)] {
        let dialled = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dialled);
        let sftp = Sftp::with_dial(
            Place::parse("server:x").unwrap(),
            options(),
            Box::new(move || {
                counted.fetch_add(1, Ordering::SeqCst);
                Err(Lost { why, words: "ssh: no".to_owned() })
            }),
        );
        let error = sftp.exists_repository().unwrap_err();
        assert_eq!(dialled.load(Ordering::SeqCst), tries, "{error}");
        assert!(
            error.to_string().starts_with("sftp:server:x: cannot look for a repository: ssh: no"),
            "{error}"
        );
    }
}

#[test]
fn a_server_that_refuses_later_is_tried_a_few_times() {
    for (why, tries) in [(Why::Refused, 3), (Why::Broken, 3)] {
        let folder = scratch();
        let filter: Arc<dyn Filter> = Arc::new(Cut { at: 30, after: false, count: AtomicU64::new(0) });
        let dialled = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dialled);
        let place = Place::parse(&format!("server:{}/repository", folder.path().display())).unwrap();
        let sftp = Sftp::with_dial(
            place,
            options(),
            Box::new(move || match counted.fetch_add(1, Ordering::SeqCst) {
                0 => Ok(dial(&filter, "077")),
                _ => Err(Lost { why, words: "ssh: no".to_owned() }),
            }),
        );
        let error = everything(&sftp).unwrap_err();
        assert_eq!(dialled.load(Ordering::SeqCst), 1 + tries, "{error}");
    }
}

// ---- servers that lie ----

#[test]
fn replies_that_can_not_be_end_the_connection_and_nothing_panics() {
    type Lie = fn(Vec<u8>) -> Vec<u8>;
    let lies: [(&str, Lie); 8] = [
        ("a length of 4 GiB", |_| vec![0xff; 64]),
        ("no length at all", |_| vec![0; 64]),
        ("a reply of no kind", |mut packet| {
            packet[4] = 99;
            packet
        }),
        ("an id that nobody has", |mut packet| {
            packet[5] ^= 0x80;
            packet
        }),
        ("every reply twice", |packet| [&packet[..], &packet].concat()),
        ("a reply of another kind", |packet| [&[0, 0, 0, 9, 103][..], &packet[5..9], &[0, 0, 0, 0]].concat()),
        ("a list with more names than bytes", |packet| {
            [&[0, 0, 0, 9, 104][..], &packet[5..9], &[0xff; 4]].concat()
        }),
        ("text", |_| b"Welcome to this server!\r\n".to_vec()),
    ];
    for (lie, change) in lies {
        for from in [0, 3] {
            let folder = scratch();
            let count = AtomicU64::new(0);
            let filter =
                Changed(
                    move |packet: Vec<u8>| {
                        if count.fetch_add(1, Ordering::SeqCst) >= from { change(packet) } else { packet }
                    },
                );
            let sftp = through(folder.path(), Arc::new(filter));
            let error = everything(&sftp).expect_err(lie);
            assert!(matches!(error, Error::Io { .. } | Error::Short { .. }), "{lie}: {error}");
            assert!(!error.to_string().contains('\n'), "{lie}: {error}");
        }
    }
}

#[test]
fn names_that_lead_elsewhere_are_passed_over() {
    let folder = scratch();
    let plain = through(folder.path(), Arc::new(Plain));
    plain.create().unwrap();
    let good = name(Kind::Index, 0xab);
    plain.put(Kind::Index, &good, b"x").unwrap();
    fs::write(folder.path().join("repository/tmp/tmp-0123"), b"left").unwrap();
    // Names of the same length that are none.
    let evil = format!("../keys/{}", &good[8..]);
    let (from, to) = (good.clone(), evil);
    let filter = Changed(move |packet: Vec<u8>| {
        let change = |packet: Vec<u8>, from: &[u8], to: &[u8]| match packet
            .windows(from.len())
            .position(|part| part == from)
        {
            Some(place) => [&packet[..place], to, &packet[place + from.len()..]].concat(),
            None => packet,
        };
        let packet = change(packet, from.as_bytes(), to.as_bytes());
        change(packet, b"tmp-0123", b"../../x/")
    });
    let sftp = through(folder.path(), Arc::new(filter));
    assert!(listing(&sftp, Kind::Index).is_empty());
    let later = sftp.time().unwrap().plus_seconds(1 << 40);
    assert_eq!(sftp.remove_leftovers(later).unwrap(), 0);
}

#[test]
fn a_name_that_the_server_only_says_to_have_given_is_not_believed() {
    // As servers do that answer "done" to what they do not know.
    struct OnlySays {
        names: &'static [&'static [u8]],
        said: Mutex<Vec<Vec<u8>>>,
    }
    impl Filter for OnlySays {
        fn request(&self, packet: &[u8]) -> Fate {
            if self.names.iter().any(|name| is_of(packet, name)) {
                self.said.lock().unwrap().push(packet[5..9].to_vec());
                // A look at its folder does no harm.
                return Fate::Becomes(
                    [&[0, 0, 0, 10, LSTAT][..], &packet[5..9], &[0, 0, 0, 1, b'.']].concat(),
                );
            }
            Fate::Passes
        }
        fn reply(&self, packet: Vec<u8>) -> Vec<u8> {
            match self.said.lock().unwrap().iter().any(|id| packet[5..9] == id[..]) {
                true => [&[0, 0, 0, 17, 101][..], &packet[5..9], &[0; 12]].concat(),
                false => packet,
            }
        }
    }
    let says = |names: &'static [&'static [u8]]| Arc::new(OnlySays { names, said: Mutex::default() });
    let folder = scratch();
    through(folder.path(), Arc::new(Plain)).create().unwrap();
    // Links: renamed then.
    let sftp = through(folder.path(), says(&[b"hardlink@openssh.com"]));
    sftp.put(Kind::Index, &name(Kind::Index, 1), b"abc").unwrap();
    assert_eq!(sftp.get(Kind::Index, &name(Kind::Index, 1)).unwrap(), b"abc");
    // Neither: an error.
    let sftp = through(folder.path(), says(&[b"hardlink@openssh.com", &[18]]));
    let error = sftp.put(Kind::Index, &name(Kind::Index, 2), b"abc").unwrap_err();
    assert!(error.to_string().contains("it is not there"), "{error}");
    let sftp = through(folder.path(), says(&[b"posix-rename@openssh.com"]));
    let error = sftp.replace(Kind::Index, &name(Kind::Index, 1), b"xyz").unwrap_err();
    assert!(error.to_string().contains("it is not there"), "{error}");
    assert_eq!(sftp.get(Kind::Index, &name(Kind::Index, 1)).unwrap(), b"abc");
    drop(sftp);
    assert_eq!(leftovers(folder.path()), 0);
}

/// Extensions that a greeting has: taken away by making their names others.
fn without(names: &'static [&'static str]) -> Arc<dyn Filter> {
    Arc::new(Changed(move |mut packet: Vec<u8>| {
        if packet[4] == 2 {
            for name in names {
                if let Some(place) = packet.windows(name.len()).position(|part| part == name.as_bytes()) {
                    packet[place] = b'X';
                }
            }
        }
        packet
    }))
}

#[test]
fn servers_without_extensions_serve_too_and_overwrite_nothing() {
    for names in [
        &["hardlink@openssh.com"][..],
        &["posix-rename@openssh.com"],
        &["fsync@openssh.com"],
        &["statvfs@openssh.com"],
        &["limits@openssh.com"],
        &["hardlink@", "posix-rename@", "fsync@", "statvfs@", "limits@"],
    ] {
        let folder = scratch();
        let sftp = through(folder.path(), without(names));
        everything(&sftp).unwrap_or_else(|error| panic!("without {names:?}: {error}"));
        sftp.put(Kind::Index, &name(Kind::Index, 4), b"PUT BACK").unwrap();
        let error = sftp.put(Kind::Index, &name(Kind::Index, 4), b"longer than that").unwrap_err();
        assert!(matches!(error, Error::Exists { .. }), "{error}");
        assert_eq!(fs::read(object(folder.path(), Kind::Index, 4)).unwrap(), b"put back");
        assert_eq!(sftp.is_unsynced(), names.iter().any(|name| name.starts_with("fsync")));
        drop(sftp);
        let left: Vec<_> = fs::read_dir(folder.path().join("repository/tmp")).unwrap().flatten().collect();
        assert!(left.is_empty(), "without {names:?}: {left:?}");
    }
}

#[test]
fn each_part_of_storing_that_fails_leaves_no_object() {
    for what in [&[OPEN][..], &[WRITE], &[CLOSE], b"fsync@openssh.com"] {
        let folder = scratch();
        through(folder.path(), Arc::new(Plain)).create().unwrap();
        let sftp = through(folder.path(), Says::of(what, 4));
        let error = sftp.put(Kind::Index, &name(Kind::Index, 1), b"abc").unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{what:?}: {error}");
        drop(sftp);
        let plain = through(folder.path(), Arc::new(Plain));
        assert!(listing(&plain, Kind::Index).is_empty(), "{what:?}");
    }
    let folder = scratch();
    through(folder.path(), Arc::new(Plain)).create().unwrap();
    // That nothing can be removed is no reason not to store.
    let sftp = through(folder.path(), Says::of(&[REMOVE], 3));
    sftp.put(Kind::Index, &name(Kind::Index, 1), b"abc").unwrap();
    // Codes of later versions are known.
    let full = through(folder.path(), Says::of(&[WRITE], 14));
    assert!(full.put(Kind::Index, &name(Kind::Index, 2), b"abc").unwrap_err().is_no_space());
    let denied = through(folder.path(), Says::of(&[OPEN], 3));
    let error = denied.put(Kind::Index, &name(Kind::Index, 2), b"abc").unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    // A sync that the server's file system does not know is noted.
    let unsynced = through(folder.path(), Says::of(b"fsync@openssh.com", 8));
    unsynced.put(Kind::Index, &name(Kind::Index, 2), b"abc").unwrap();
    assert!(unsynced.is_unsynced());
}

#[test]
fn pieces_that_come_shorter_than_asked_for_are_put_together() {
    let folder = scratch();
    struct Shortened;
    impl Filter for Shortened {
        fn reply(&self, packet: Vec<u8>) -> Vec<u8> {
            if packet[4] != 103 || packet.len() < 40 {
                return packet;
            }
            let data = &packet[13..];
            let data = &data[..data.len() / 3 + 1];
            let count = |count: usize| (count as u32).to_be_bytes();
            [&count(9 + data.len())[..], &[103], &packet[5..9], &count(data.len()), data].concat()
        }
    }
    let sftp = through(folder.path(), Arc::new(Shortened));
    everything(&sftp).unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    sftp.put(Kind::Packs, &name(Kind::Packs, 9), &bytes).unwrap();
    assert_eq!(sftp.get(Kind::Packs, &name(Kind::Packs, 9)).unwrap(), bytes);
    assert_eq!(
        sftp.get_range(Kind::Packs, &name(Kind::Packs, 9), 17, 2_900_000).unwrap(),
        bytes[17..2_900_017]
    );
}

#[test]
fn an_end_of_file_that_comes_early_is_short_and_not_wrong() {
    let folder = scratch();
    let plain = through(folder.path(), Arc::new(Plain));
    plain.create().unwrap();
    plain.put(Kind::Packs, &name(Kind::Packs, 1), &[1; 500_000]).unwrap();
    let sftp = through(folder.path(), Says::of(&[READ], 1));
    for error in [
        sftp.get(Kind::Packs, &name(Kind::Packs, 1)).unwrap_err(),
        sftp.get_range(Kind::Packs, &name(Kind::Packs, 1), 0, 500_000).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Short { wanted: 500_000, got: 0, .. }), "{error}");
    }
}

#[test]
fn a_folder_whose_sync_failed_is_not_trusted_again() {
    /// Lets the second sync fail: that of the folder.
    struct Second(AtomicU64, Mutex<Vec<u8>>);
    impl Filter for Second {
        fn request(&self, packet: &[u8]) -> Fate {
            if is_of(packet, b"fsync@openssh.com") && self.0.fetch_add(1, Ordering::SeqCst) == 1 {
                *self.1.lock().unwrap() = packet[5..9].to_vec();
            }
            Fate::Passes
        }
        fn reply(&self, packet: Vec<u8>) -> Vec<u8> {
            match packet[5..9] == self.1.lock().unwrap()[..] {
                true => [&[0, 0, 0, 17, 101][..], &packet[5..9], &[0, 0, 0, 4], &[0; 8]].concat(),
                false => packet,
            }
        }
    }
    let folder = scratch();
    through(folder.path(), Arc::new(Plain)).create().unwrap();
    let sftp = through(folder.path(), Arc::new(Second(AtomicU64::new(0), Mutex::default())));
    // The second time it is there, and its sync would succeed, and mean nothing.
    for (kind, seed) in [(Kind::Index, 1), (Kind::Index, 1), (Kind::Index, 2)] {
        let error = sftp.put(kind, &name(kind, seed), b"abc").unwrap_err();
        assert!(
            matches!(error, Error::Io { .. }) && error.to_string().contains("sync the folder"),
            "{error}"
        );
    }
    sftp.remove(Kind::Index, &name(Kind::Index, 1)).unwrap_err();
    sftp.put(Kind::Notes, &name(Kind::Notes, 1), b"abc").unwrap();
}

// ---- what it costs, and modes ----

#[test]
fn round_trips_are_few() {
    let folder = scratch();
    let sftp = through(folder.path(), Arc::new(Plain));
    sftp.create().unwrap();
    let mut last = sftp.round_trips();
    let mut cost = |sftp: &Sftp| {
        let now = sftp.round_trips();
        let cost = now - last;
        last = now;
        cost
    };
    let pack = name(Kind::Packs, 1);
    sftp.put(Kind::Packs, &pack, &[1; 100_000]).unwrap();
    assert_eq!(cost(&sftp), 3, "the first object of a folder");
    sftp.put(Kind::Index, &name(Kind::Index, 1), b"x").unwrap();
    assert_eq!(cost(&sftp), 3, "put");
    sftp.put(Kind::Index, &name(Kind::Index, 1), b"x").unwrap();
    assert_eq!(cost(&sftp), 2, "put of what is there");
    sftp.get(Kind::Index, &name(Kind::Index, 1)).unwrap();
    assert_eq!(cost(&sftp), 2, "get");
    sftp.get_range(Kind::Packs, &pack, 0, 90_000).unwrap();
    assert_eq!(cost(&sftp), 2, "a first range");
    sftp.get_range(Kind::Packs, &pack, 5, 9).unwrap();
    assert_eq!(cost(&sftp), 1, "another range");
    sftp.stat(Kind::Packs, &pack).unwrap();
    assert_eq!(cost(&sftp), 1, "stat");
    sftp.remove(Kind::Packs, &pack).unwrap();
    assert_eq!(cost(&sftp), 1, "remove of a pack");
    sftp.remove(Kind::Index, &name(Kind::Index, 1)).unwrap();
    assert_eq!(cost(&sftp), 2, "remove");
    sftp.time().unwrap();
    assert_eq!(cost(&sftp), 2, "time");
    sftp.space().unwrap();
    assert_eq!(cost(&sftp), 1, "space");
    sftp.exists_repository().unwrap();
    assert_eq!(cost(&sftp), 2, "is there a repository");
    for seed in 0..250 {
        sftp.put(Kind::Packs, &name(Kind::Packs, seed), b"x").unwrap();
    }
    cost(&sftp);
    assert_eq!(listing(&sftp, Kind::Packs).len(), 250);
    assert!(cost(&sftp) <= 16, "a list of packs in 250 folders");
}

/// What a listing of several kinds gives, by kind.
fn listed_kinds(sftp: &Sftp, kinds: &[Kind]) -> Vec<(Kind, String)> {
    let mut found = Vec::new();
    sftp.list_kinds(kinds, &mut |kind, entry| found.push((kind, entry.name))).unwrap();
    found.sort_unstable_by(|a, b| (a.0.number(), &a.1).cmp(&(b.0.number(), &b.1)));
    found
}

#[test]
fn several_kinds_are_listed_one_after_the_other_and_cost_a_round_trip_each() {
    let folder = scratch();
    let log = folder.path().join("calls");
    let command =
        format!("strace -qq -y -s 4096 -e trace=openat,getdents64 -o {} {SFTP_SERVER}", log.display());
    let sftp = servers::through(&command, &folder.path().join("repository"));
    sftp.create().unwrap();
    let kinds = [
        Kind::Removals,
        Kind::Confirmed,
        Kind::Copies,
        Kind::Damage,
        Kind::Index,
        Kind::Notes,
        Kind::Snapshots,
    ];
    for (kind, count) in [(Kind::Removals, 1), (Kind::Index, 3), (Kind::Snapshots, 2)] {
        (0..count).for_each(|seed| sftp.put(kind, &name(kind, seed), b"x").unwrap());
    }
    std::fs::remove_dir(folder.path().join("repository/copies")).unwrap();
    let before = sftp.round_trips();
    assert_eq!(listed_kinds(&sftp, &kinds).len(), 6);
    // One more for the first.
    assert_eq!(sftp.round_trips() - before, kinds.len() as u64 + 1);

    // A folder that takes more than is asked for at once.
    (0..250).for_each(|seed| sftp.put(Kind::Damage, &name(Kind::Damage, seed), b"x").unwrap());
    let seen = std::fs::read_to_string(&log).unwrap().len();
    let found = listed_kinds(&sftp, &kinds);
    assert_eq!(found.len(), 256);
    assert_eq!(found.iter().filter(|(kind, _)| *kind == Kind::Damage).count(), 250);
    let calls = std::fs::read_to_string(&log).unwrap()[seen..].to_owned();
    let lines: Vec<&str> = calls.lines().collect();
    let of = |kind: Kind| format!("/{}>", kind.folder());
    let mut last_end = 0;
    for kind in kinds.into_iter().filter(|kind| *kind != Kind::Copies) {
        let opened = lines.iter().rposition(|line| line.contains("openat(") && line.contains(&of(kind)));
        let ended = lines.iter().rposition(|line| {
            line.contains("getdents64(") && line.contains(&of(kind)) && line.ends_with("= 0")
        });
        let (opened, ended) = (opened.unwrap(), ended.unwrap());
        assert!(
            last_end <= opened && opened < ended,
            "{kind:?} was opened before the others were read: {calls}"
        );
        last_end = ended;
    }
}

#[test]
fn every_name_is_synced_with_its_folder_before_it_counts() {
    let folder = scratch();
    let log = folder.path().join("calls");
    let command = format!(
        "strace -qq -y -s 4096 -e trace=link,linkat,fsync,rename,unlink,unlinkat,mkdir -o {} {SFTP_SERVER}",
        log.display()
    );
    let sftp = servers::through(&command, &folder.path().join("repository"));
    sftp.create().unwrap();
    for kind in [Kind::Index, Kind::Packs] {
        sftp.put(kind, &name(kind, 1), b"x").unwrap();
        // Also one that is there, as another may just have put it.
        sftp.put(kind, &name(kind, 1), b"x").unwrap();
        sftp.replace(kind, &name(kind, 1), b"y").unwrap();
    }
    sftp.remove(Kind::Index, &name(Kind::Index, 1)).unwrap();
    assert!(!sftp.is_unsynced());
    drop(sftp);
    let calls = fs::read_to_string(&log).unwrap();
    // Short calls are padded.
    let calls: Vec<String> =
        calls.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let synced = |below: &str| format!("/repository{below}>) = 0");
    // What each change of names must be followed by.
    let mut changes = 0;
    for (place, call) in calls.iter().enumerate() {
        let is_link = call.starts_with("link") || call.starts_with("rename");
        let needs = match () {
            () if is_link && call.contains("/index/") => vec![synced("/index")],
            () if is_link && call.contains("/packs/01/") => vec![synced("/packs/01")],
            () if call.starts_with("mkdir") && call.contains("/packs/01\"") => vec![synced("/packs")],
            () if call.starts_with("mkdir") && call.contains("/index\"") => vec![synced("")],
            () if call.starts_with("unlink") && call.contains("/index/") => vec![synced("/index")],
            () => continue,
        };
        changes += 1;
        for need in needs {
            let is_met = calls[place..].iter().any(|call| call.starts_with("fsync") && call.ends_with(&need));
            assert!(is_met, "{call} is not followed by a sync of {need}: {calls:#?}");
        }
        // The bytes were synced before.
        if is_link {
            assert!(
                calls[..place].iter().any(|call| call.starts_with("fsync") && call.contains("/tmp/tmp-"))
            );
        }
    }
    // Two links, two renames, one removal, two folders at least.
    assert!(changes >= 7, "{calls:#?}");
    assert_eq!(calls.iter().filter(|call| call.ends_with(&synced("/index"))).count(), 4, "{calls:#?}");
}

#[test]
fn folders_are_0700_and_files_0600_whatever_the_umask_of_the_server() {
    use std::os::unix::fs::PermissionsExt;
    for umask in ["000", "077", "0777", "0277"] {
        let folder = scratch();
        let sftp = with_umask(folder.path(), Arc::new(Plain), umask);
        everything(&sftp).unwrap();
        drop(sftp);
        let mut seen = 0;
        for entry in walkdir::WalkDir::new(folder.path().join("repository")) {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
            let expected = if entry.file_type().is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode, expected, "{} under {umask}", entry.path().display());
            seen += 1;
        }
        assert!(seen > 15);
    }
}

#[test]
fn what_is_no_regular_file_is_no_object() {
    let folder = scratch();
    let sftp = through(folder.path(), Arc::new(Plain));
    sftp.create().unwrap();
    sftp.put(Kind::Index, &name(Kind::Index, 1), b"x").unwrap();
    std::os::unix::fs::symlink(object(folder.path(), Kind::Index, 1), object(folder.path(), Kind::Index, 2))
        .unwrap();
    fs::create_dir(object(folder.path(), Kind::Index, 3)).unwrap();
    fs::write(folder.path().join("repository/packs/02"), b"a file where a folder belongs").unwrap();
    fs::create_dir(folder.path().join("repository/packs/zz")).unwrap();
    assert_eq!(listing(&sftp, Kind::Index).len(), 1);
    assert!(listing(&sftp, Kind::Packs).is_empty());
    for seed in [2, 3] {
        let name = name(Kind::Index, seed);
        assert!(sftp.get(Kind::Index, &name).unwrap_err().is_not_found());
        assert!(sftp.get_range(Kind::Index, &name, 0, 1).unwrap_err().is_not_found());
        assert!(sftp.stat(Kind::Index, &name).unwrap_err().is_not_found());
        let error = sftp.put(Kind::Index, &name, b"x").unwrap_err();
        assert!(matches!(error, Error::Exists { .. }), "{error}");
    }
}

#[test]
fn folders_that_were_lost_are_made_again_but_not_where_no_repository_is() {
    let folder = scratch();
    let sftp = through(folder.path(), Arc::new(Plain));
    assert!(sftp.put(Kind::Index, &name(Kind::Index, 1), b"x").unwrap_err().is_not_found());
    assert!(sftp.time().unwrap_err().is_not_found());
    assert!(!folder.path().join("repository").exists());
    sftp.create().unwrap();
    for lost in ["packs", "tmp", "index"] {
        fs::remove_dir_all(folder.path().join("repository").join(lost)).unwrap();
        for kind in [Kind::Packs, Kind::Index] {
            sftp.put(kind, &name(kind, 1), b"x").unwrap();
            assert_eq!(listing(&sftp, kind).len(), 1, "{lost}");
        }
    }
    // The disk is gone, and its mount point is empty.
    fs::remove_dir_all(folder.path().join("repository")).unwrap();
    fs::create_dir(folder.path().join("repository")).unwrap();
    assert!(sftp.put(Kind::Packs, &name(Kind::Packs, 1), b"x").unwrap_err().is_not_found());
    assert_eq!(fs::read_dir(folder.path().join("repository")).unwrap().count(), 0);
}

#[test]
fn a_folder_with_other_things_is_no_place_for_a_repository() {
    let folder = scratch();
    fs::create_dir(folder.path().join("repository")).unwrap();
    fs::write(folder.path().join("repository/letters"), b"x").unwrap();
    let error = through(folder.path(), Arc::new(Plain)).create().unwrap_err();
    assert!(matches!(&error, Error::Occupied { name, .. } if name == "letters"), "{error}");
}

#[test]
fn leftovers_are_removed_when_they_are_old_and_nothing_else_is() {
    let folder = scratch();
    let sftp = through(folder.path(), Arc::new(Plain));
    sftp.create().unwrap();
    let put = |name: &str, days_ago: u64| {
        let path = folder.path().join("repository/tmp").join(name);
        let then = std::time::SystemTime::now() - Duration::from_secs(days_ago * 24 * 3600);
        fs::File::create(&path).unwrap().set_modified(then).unwrap();
        path
    };
    let (old, young, foreign) = (put("tmp-old", 3), put("tmp-young", 1), put("notes.txt", 99));
    let before = sftp.time().unwrap().plus_seconds(-2 * 24 * 3600);
    assert_eq!(sftp.remove_leftovers(before).unwrap(), 1);
    assert!(!old.exists() && young.exists() && foreign.exists());
}
