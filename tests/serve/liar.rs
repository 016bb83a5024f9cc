//! A server made by hand that lies, stalls, breaks off and says what it should not; and what the client makes of it.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use copal::backend::ssh::{Line, Lost, Options, Peer, Place, Why};
use copal::backend::{Backend, Error, Kind, Served};

use crate::servers::QUICK;

struct End(UnixStream);

impl Peer for End {
    fn cut(&self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
    fn leave(&self) {
        self.cut();
    }
    fn last_words(&self) -> Lost {
        Lost { why: Why::Gone, words: "the line was cut".to_owned() }
    }
}

const HELLO: [u8; 15] = *b"\x8bcopal\r\n\x01\0\0\0\0\0\0";

fn frame(kind: u8, id: u32, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 5).to_le_bytes()[..], &[kind], &id.to_le_bytes(), body].concat()
}

fn part(id: u32, body: &[u8]) -> Vec<u8> {
    frame(128, id, body)
}

fn done(id: u32, first: u64) -> Vec<u8> {
    frame(129, id, &[first.to_le_bytes(), [0; 8]].concat())
}

/// What it does about a frame of the client: of which connection, the kind and number of the request, and its body.
type Answer = dyn Fn(u32, u8, u32, &[u8]) -> Act + Send + Sync;

enum Act {
    Says(Vec<u8>),
    /// Hangs up after it.
    Ends(Vec<u8>),
}

/// A server that greets like that, and then answers.
fn liar(
    first: &'static [u8],
    answer: impl Fn(u32, u8, u32, &[u8]) -> Act + Send + Sync + 'static,
) -> (Served, Arc<AtomicU32>) {
    with(first, Options { patience: QUICK, ..Options::default() }, answer)
}

fn with(
    first: &'static [u8],
    options: Options,
    answer: impl Fn(u32, u8, u32, &[u8]) -> Act + Send + Sync + 'static,
) -> (Served, Arc<AtomicU32>) {
    let answer: Arc<Answer> = Arc::new(answer);
    let connections = Arc::new(AtomicU32::new(0));
    let made = Arc::clone(&connections);
    let dial = move || {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (answer, number) = (Arc::clone(&answer), made.fetch_add(1, Ordering::SeqCst) + 1);
        std::thread::spawn(move || serve(theirs, first, number, &*answer));
        Ok(Line {
            input: Box::new(ours.try_clone().unwrap()),
            output: Box::new(ours.try_clone().unwrap()),
            peer: Box::new(End(ours)),
        })
    };
    let place = Place::parse_as("copal+ssh", "//server//repository").unwrap();
    (Served::with_dial(place, options, Box::new(dial)), connections)
}

fn serve(mut stream: UnixStream, first: &[u8], number: u32, answer: &Answer) -> Option<()> {
    let mut hello = [0; 15];
    stream.read_exact(&mut hello).ok()?;
    assert!(hello.starts_with(b"\x8bcopal\r\n\x01\0\0\0"));
    let mut path = vec![0; usize::from(u16::from_le_bytes([hello[13], hello[14]]))];
    stream.read_exact(&mut path).ok()?;
    assert_eq!(path, b"/repository");
    stream.write_all(first).ok()?;
    if first != HELLO {
        return None;
    }
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).ok()?;
        let mut body = vec![0; u32::from_le_bytes(length) as usize];
        stream.read_exact(&mut body).ok()?;
        let id = u32::from_le_bytes(body[1..5].try_into().unwrap());
        match answer(number, body[0], id, &body[5..]) {
            Act::Says(bytes) => stream.write_all(&bytes).ok()?,
            Act::Ends(bytes) => {
                stream.write_all(&bytes).ok()?;
                return None;
            }
        }
    }
}

fn name() -> String {
    "ab".repeat(32)
}

/// The error of a look at an object, in words.
fn look(served: &Served) -> String {
    served.stat(Kind::Packs, &name()).unwrap_err().to_string()
}

fn silent(_: u32, _: u8, _: u32, _: &[u8]) -> Act {
    Act::Says(Vec::new())
}

#[test]
fn what_speaks_before_the_protocol_is_shown_and_not_tried_again() {
    for (first, shown) in [
        (&b"Welcome to this server\x1b[31m\n"[..], "Welcome to this server\\\\u{1b}[31m"),
        (b"\x8bcopal", "copal"),
        (b"\0\0\0\x05\x02\0\0\0\x03", "\\u{0}"),
    ] {
        let (served, made) = liar(first, silent);
        let told = look(&served);
        assert!(told.contains("the server printed something before the protocol"), "{told}");
        assert!(told.contains(shown) && !told.contains('\x1b') && !told.contains('\n'), "{told}");
        assert_eq!(made.load(Ordering::SeqCst), 1);
    }
    let (served, made) = liar(b"\x8bcopal\r\n\x01\0\0\0\x01\x04\0nope", silent);
    assert!(look(&served).ends_with("cannot look at: nope"));
    assert_eq!(made.load(Ordering::SeqCst), 1);
    let (served, _) = liar(b"\x8bcopal\r\n\x02\0\0\0\0\0\0", silent);
    assert!(look(&served).contains("it needs a later copal here"));
    for first in [
        &b"\x8bcopal\r\n\x01\0\0\0\x02\0\0"[..],
        b"\x8bcopal\r\n\x01\0\0\0\x01\xff\xff",
        b"\x8bcopal\r\n\x01\0\0\0\x01\x01\0\xff",
    ] {
        let (served, _) = liar(first, silent);
        assert!(look(&served).contains("does not keep to the protocol: how it begins"), "{}", look(&served));
    }
    // That nothing comes may be the network: once more.
    let (served, made) = liar(b"", silent);
    assert!(look(&served).contains("the line was cut"));
    assert_eq!(made.load(Ordering::SeqCst), 2);
}

#[test]
fn replies_that_can_not_be_end_the_connection_and_nothing_panics() {
    type Lie = fn(u32) -> Vec<u8>;
    let lies: [(&str, Lie); 10] = [
        ("too long", |_| u32::MAX.to_le_bytes().to_vec()),
        ("a little too long", |_| [&200_000_u32.to_le_bytes()[..], &[128; 200_000]].concat()),
        ("too short", |_| vec![4, 0, 0, 0, 1, 2, 3, 4]),
        ("no such reply", |id| frame(131, id, b"")),
        ("not asked", |id| done(id + 1, 5)),
        ("half a number", |id| frame(129, id, b"123")),
        ("no such failure", |id| frame(130, id, &[99, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("a failure that is cut off", |id| frame(130, id, &[1, 0])),
        ("bytes where there are none", |id| part(id, b"x")),
        ("parts without end that give nothing", |id| part(id, b"").repeat(100)),
    ];
    for (what, lie) in lies {
        let (served, made) = liar(&HELLO, move |_, _, id, _| Act::Says(lie(id)));
        let error = served.stat(Kind::Packs, &name()).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{what}: {error}");
        assert!(error.to_string().contains("the server"), "{what}: {error}");
        // A server may be in the middle of an upgrade; but not for long.
        assert_eq!(made.load(Ordering::SeqCst), 3, "{what}");
    }
}

#[test]
fn lengths_are_held_to_what_was_asked_for() {
    let (served, _) = liar(&HELLO, |_, _, id, _| Act::Says([part(id, &[1; 11]), done(id, 11)].concat()));
    let error = served.get_range(Kind::Packs, &name(), 0, 10).unwrap_err();
    assert!(error.to_string().contains("more than was asked for"), "{error}");
    let error = served.get_at_most(Kind::Packs, &name(), 10).unwrap_err();
    assert!(error.to_string().contains("more than was asked for"), "{error}");
    assert_eq!(served.get(Kind::Packs, &name()).unwrap(), [1; 11]);
    let (served, _) = liar(&HELLO, |_, _, id, _| Act::Says([part(id, &[1; 9]), done(id, 9)].concat()));
    let error = served.get_range(Kind::Packs, &name(), 0, 10).unwrap_err();
    assert!(matches!(error, Error::Short { offset: 0, wanted: 10, got: 9, .. }), "{error}");
    let (served, _) = liar(&HELLO, |_, _, id, _| Act::Says([part(id, &[1; 9]), done(id, 10)].concat()));
    served.get(Kind::Packs, &name()).unwrap_err();
    // Without an end it fills no memory: what may come is held to what was asked for.
    let begun = Instant::now();
    let (served, _) = liar(&HELLO, |_, _, id, _| Act::Says(part(id, &[1; 100_000]).repeat(1000)));
    served.get_at_most(Kind::Packs, &name(), 1 << 20).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn listings_have_only_what_was_asked_for_under_names_that_objects_have() {
    let entry =
        |kind: Kind, name: &str| [&[kind.number()][..], &5_u64.to_le_bytes(), name.as_bytes()].concat();
    for listing in [
        entry(Kind::Packs, &name()),
        entry(Kind::Index, &format!("../{}", &name()[3..])),
        entry(Kind::Index, &name().to_uppercase()),
        entry(Kind::Index, &name()[1..]),
        vec![99; 80],
        entry(Kind::Index, "")[..5].to_vec(),
    ] {
        let (served, _) =
            liar(&HELLO, move |_, _, id, _| Act::Says([part(id, &listing), done(id, 0)].concat()));
        let error = served.list(Kind::Index, &mut |entry| panic!("{entry:?}")).unwrap_err();
        assert!(error.to_string().contains("not one to what was asked"), "{error}");
    }
    let good = entry(Kind::Index, &name());
    let (served, _) = liar(&HELLO, move |_, _, id, _| Act::Says([part(id, &good), done(id, 0)].concat()));
    let mut listed = Vec::new();
    served.list(Kind::Index, &mut |entry| listed.push((entry.name, entry.size))).unwrap();
    assert_eq!(listed, [(name(), 5)]);
}

#[test]
fn what_the_server_says_of_a_failure_is_shown_without_what_a_terminal_acts_on() {
    let failed = |id, why: u8, text: &str| frame(130, id, &[&[why][..], &[0; 8], text.as_bytes()].concat());
    // Of an object, when its bytes have come.
    let fails = move |why: u8, text: &'static str| {
        liar(&HELLO, move |_, kind, id, _| {
            Act::Says(if kind == 2 { failed(id, why, text) } else { Vec::new() })
        })
    };
    let (served, made) = fails(8, "not\x1b[2J for\nyou");
    let error = served.put(Kind::Packs, &name(), b"x").unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    assert!(error.to_string().ends_with(": not\\u{1b}[2J for\\nyou"), "{error}");
    assert_eq!(made.load(Ordering::SeqCst), 1);
    let (served, _) = fails(7, "");
    assert!(served.put(Kind::Packs, &name(), b"x").unwrap_err().is_no_space());
    let (served, _) = fails(2, "");
    let error = served.put(Kind::Packs, &name(), b"x").unwrap_err();
    assert!(
        error.is_not_found() && error.to_string() == "copal+ssh://server//repository: not found",
        "{error}"
    );
}

#[test]
fn a_server_that_dies_midway_is_asked_again_and_each_thing_is_done_once() {
    // It dies while it takes an object, and while it gives one.
    let (served, made) = liar(&HELLO, |connection, kind, id, _| match (connection, kind) {
        (1, 2) => Act::Ends(Vec::new()),
        (2, 3) => Act::Ends([part(id, &[9; 3]), vec![7, 0]].concat()),
        (_, 2) => Act::Says(done(id, 0)),
        (_, 3) => Act::Says([part(id, &[1; 6]), done(id, 6)].concat()),
        (3, 7) => Act::Ends(Vec::new()),
        // Removed already, and the reply was lost.
        (_, 7) => Act::Says(frame(130, id, &[1, 0, 0, 0, 0, 0, 0, 0, 0])),
        _ => Act::Says(Vec::new()),
    });
    served.put(Kind::Packs, &name(), b"object").unwrap();
    assert!(!served.is_unsynced());
    assert_eq!(served.get(Kind::Packs, &name()).unwrap(), [1; 6]);
    served.remove(Kind::Packs, &name()).unwrap();
    assert_eq!(made.load(Ordering::SeqCst), 4);
    // What was gone at the first try is told.
    assert!(served.remove(Kind::Packs, &name()).unwrap_err().is_not_found());
}

#[test]
fn a_server_that_says_nothing_any_more_is_given_up() {
    let options = Options { patience: QUICK, silence: Duration::from_millis(300), ..Options::default() };
    let (served, made) = with(&HELLO, options, |connection, _, id, _| match connection {
        1 => Act::Says(Vec::new()),
        _ => Act::Says(done(id, 5)),
    });
    let begun = Instant::now();
    assert_eq!(served.stat(Kind::Packs, &name()).unwrap(), 5);
    assert!(begun.elapsed() >= Duration::from_millis(250) && begun.elapsed() < Duration::from_secs(10));
    assert_eq!(made.load(Ordering::SeqCst), 2);
}

#[test]
fn a_long_way_up_is_no_silence() {
    // It takes each part only after a while, and answers at the end alone.
    let options = Options { patience: QUICK, silence: Duration::from_millis(600), ..Options::default() };
    let (served, made) = with(&HELLO, options, |_, kind, id, body| {
        let is_last = body.len() < 100_000;
        if kind == 2 {
            std::thread::sleep(Duration::from_millis(60));
        }
        Act::Says(if kind == 2 && is_last { done(id, 0) } else { Vec::new() })
    });
    let begun = Instant::now();
    served.put(Kind::Packs, &name(), &vec![1; ((20 * 128) << 10) + 1]).unwrap();
    assert!(begun.elapsed() > Duration::from_millis(1200));
    assert_eq!(made.load(Ordering::SeqCst), 1);
}

#[test]
fn a_server_that_can_not_sync_is_known() {
    let (served, _) =
        liar(&HELLO, |_, kind, id, _| Act::Says(if kind == 2 { done(id, 1) } else { Vec::new() }));
    assert!(!served.is_unsynced());
    served.put(Kind::Packs, &name(), b"object").unwrap();
    assert!(served.is_unsynced());
}
