//! What is done to an object, what must come of it, and how the cases of a matrix are gone through.

use std::fs;
use std::path::{Path, PathBuf};

use copal::backend::Kind;

use crate::program::{copal, temporary};
use crate::world::{Compared, Piece, Place, compare, names, random_bytes, world};

use Damage::{
    CutHalf, CutOne, Empty, FlipEnd, FlipMiddle, FlipQuarter, FlipStart, Garbage, Missing, OtherKind, Sibling,
};

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Damage {
    Missing,
    Empty,
    /// One bit flipped in the first byte.
    FlipStart,
    /// In the first quarter: of a pack, in its first block.
    FlipQuarter,
    FlipMiddle,
    FlipEnd,
    CutOne,
    CutHalf,
    Garbage,
    /// Exchanged with another object of the same kind.
    Sibling,
    /// Replaced by an object of another kind.
    OtherKind,
}

pub const ALL: [Damage; 11] = [
    Missing,
    Empty,
    FlipStart,
    FlipQuarter,
    FlipMiddle,
    FlipEnd,
    CutOne,
    CutHalf,
    Garbage,
    Sibling,
    OtherKind,
];

/// Damages a file; `sibling` is exchanged with it, `other` copied over it.
pub fn damage(path: &Path, damage: Damage, sibling: &Path, other: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let length = bytes.len();
    assert!(length >= 8, "{} is too short to be damaged", path.display());
    let flip = |mut bytes: Vec<u8>, place: usize| {
        bytes[place] ^= 0x10;
        bytes
    };
    match damage {
        Missing => return fs::remove_file(path).unwrap(),
        Empty => bytes.clear(),
        FlipStart => bytes = flip(bytes, 0),
        FlipQuarter => bytes = flip(bytes, length / 4),
        FlipMiddle => bytes = flip(bytes, length / 2),
        FlipEnd => bytes = flip(bytes, length - 1),
        CutOne => bytes.truncate(length - 1),
        CutHalf => bytes.truncate(length / 2),
        Garbage => bytes.extend_from_slice(&random_bytes(9, 100)),
        Sibling => {
            let before = std::mem::replace(&mut bytes, fs::read(sibling).unwrap());
            assert!(before != bytes, "siblings differ");
            fs::write(sibling, before).unwrap();
        }
        OtherKind => bytes = fs::read(other).unwrap(),
    }
    fs::write(path, bytes).unwrap();
}

/// The bytes of a file of `length` that the damage makes unreadable, as a question about stored blocks of it.
pub fn is_hit(damage: Damage, length: u64, piece: &Piece) -> bool {
    let flipped = |place: u64| (piece.start..piece.end).contains(&place);
    match damage {
        Missing | Empty | Sibling | OtherKind => true,
        FlipStart => flipped(0),
        FlipQuarter => flipped(length / 4),
        FlipMiddle => flipped(length / 2),
        FlipEnd => flipped(length - 1),
        CutOne => piece.end > length - 1,
        CutHalf => piece.end > length / 2,
        Garbage => false,
    }
}

/// Restores every snapshot into a new folder; all that is not hit must be there and equal, and the exit code must tell whether all is.
pub fn restore_all(place: &Place, what: &str, but: &[&str], hit: &dyn Fn(&Piece) -> bool) -> usize {
    let mut lost_in_all = 0;
    for (number, snapshot) in world().snapshots.iter().enumerate() {
        if but.contains(&snapshot.name.as_str()) {
            continue;
        }
        let target = temporary();
        let ran = place.run(&["restore", &snapshot.name, "-v", "-t", target.path().to_str().unwrap()]);
        let mut found = Compared::default();
        compare(&snapshot.root, target.path(), "", hit, &mut found);
        let Compared { lost, wrong } = found;
        assert!(
            wrong.is_empty(),
            "{what}: restoring snapshot {number} ended with {}; {wrong:?}:\n{}",
            ran.code,
            ran.text()
        );
        let wanted = if lost.is_empty() { 0 } else { 5 };
        assert_eq!(ran.code, wanted, "{what}: restoring snapshot {number}, lost {lost:?}:\n{}", ran.text());
        for path in &lost {
            assert!(
                ran.text().contains(path.as_str()),
                "{what}: restore does not name {path}:\n{}",
                ran.text()
            );
        }
        lost_in_all += lost.len();
    }
    lost_in_all
}

/// Backs the source up again, and restores the latest snapshot, which must then be whole.
pub fn heal(place: &Place, what: &str) {
    let source = world().source();
    let ran = place.run(&["backup", source.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{what}: the next backup:\n{}", ran.text());
    let target = temporary();
    let ran = place.run(&["restore", "latest", "-t", target.path().to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{what}: restoring the latest after the next backup:\n{}", ran.text());
    // The source is what the second snapshot holds; its folders above may have changed.
    let below = |root: &Path| root.join(source.strip_prefix("/").unwrap());
    let differs = std::process::Command::new("diff")
        .arg("-r")
        .arg("--no-dereference")
        .arg(&source)
        .arg(below(target.path()))
        .output()
        .unwrap();
    assert!(differs.status.success(), "{what}: after healing: {}", String::from_utf8_lossy(&differs.stdout));
}

/// Reads everything; must find errors, and name each of these objects.
pub fn check_names(place: &Place, what: &str, objects: &[&str]) {
    let ran = place.run(&["check", "--read-data"]);
    assert_eq!(ran.code, 5, "{what}: check:\n{}", ran.text());
    for object in objects {
        assert!(ran.text().contains(object), "{what}: check does not name {object}:\n{}", ran.text());
    }
}

/// Collects failures of the single cases, so that one of them does not hide the others.
#[derive(Default)]
pub struct Failures(Vec<String>);

impl Failures {
    pub fn case(&mut self, name: String, run: impl FnOnce(&str)) {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&name)));
        if let Err(panic) = result {
            let said = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            self.0.push(format!("[{name}] {}", said.unwrap_or("panicked")));
        }
    }

    pub fn end(self) {
        let count = self.0.len();
        assert!(count == 0, "{count} cases failed:\n\n{}", self.0.join("\n\n"));
    }
}

pub fn modes(cached: bool) -> &'static str {
    if cached { "with the cache" } else { "without a cache" }
}

/// All forms of damage to one object of a kind, with and without a cache; `each` looks at the outcome.
pub fn matrix(
    kind: Kind,
    name: &str,
    sibling: &str,
    other: (Kind, &str),
    each: impl Fn(&Place, Damage, u64, &str),
) {
    let mut failures = Failures::default();
    for form in ALL {
        for cached in [true, false] {
            failures.case(format!("{}: {form:?} {}", kind.folder(), modes(cached)), |what| {
                let place = world().copy(cached);
                let path = place.path_of(kind, name);
                let length = fs::metadata(&path).unwrap().len();
                damage(&path, form, &place.path_of(kind, sibling), &place.path_of(other.0, other.1));
                each(&place, form, length, what);
            });
        }
    }
    failures.end();
}

pub fn first_other<'n>(names: &'n [String], but: &str) -> &'n str {
    names.iter().find(|name| *name != but).unwrap()
}

pub fn prepared(kind: Kind) -> Vec<String> {
    names(&world().folder.join("prepared/repository"), kind)
}

/// The `config` of another repository.
pub fn foreign_repository() -> (tempfile::TempDir, PathBuf) {
    let home = temporary();
    let (repository, key) = (home.path().join("repository"), home.path().join("key"));
    let ran = copal(
        home.path(),
        &["init", "-r", repository.to_str().unwrap(), "--key-file", key.to_str().unwrap()],
    );
    assert_eq!(ran.code, 0, "{}", ran.text());
    (home, repository)
}
