//! What is true: the folders, what each saved snapshot must hold, and which were forgotten.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use copal::backend::{Backend, Kind, Memory};
use copal::crypto::password::Cost;
use copal::crypto::{Keys, MasterKey};
use copal::format::slot::{self, Description, Unlock};
use copal::model::Cutter;
use copal::model::clock::{Clock, SystemClock};
use copal::repository::{self, Creation};

pub use copal::model::Id;

use super::random::Random;

/// What went wrong.
#[derive(Clone, Debug)]
pub enum Failure {
    /// Something that was saved does not come back.
    Loss(String),
    /// Nothing is lost, and the repository is not as it should be.
    Untidy(String),
    /// An actor ended with an error that nothing explains.
    Unexplained(String),
    /// The harness: somebody hangs, or does two things at once.
    Stuck(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Loss(what) => write!(f, "something is lost: {what}"),
            Failure::Untidy(what) => write!(f, "not as it should be: {what}"),
            Failure::Unexplained(what) => write!(f, "nothing explains this: {what}"),
            Failure::Stuck(what) => write!(f, "the harness: {what}"),
        }
    }
}

/// Paths of sources, with the files below each: relative path and number of the content.
pub type Model = Arc<Vec<(PathBuf, BTreeMap<String, u64>)>>;

/// A snapshot that was reported as saved.
#[derive(Clone)]
pub struct Saved {
    pub name: Id,
    pub model: Model,
    pub at: i64,
    pub forgotten: bool,
}

#[derive(Default)]
pub struct World {
    pub saved: Vec<Saved>,
    /// Actors in the midst of a round.
    pub busy: u64,
    /// How often things came out that way, for the summary.
    pub counts: BTreeMap<&'static str, u64>,
}

impl World {
    pub fn save(&mut self, name: Id, model: Model, at: i64) -> u64 {
        self.saved.push(Saved { name, model, at, forgotten: false });
        self.count("saved");
        self.saved.len() as u64
    }

    pub fn find(&self, name: Id) -> Option<&Saved> {
        self.saved.iter().find(|saved| saved.name == name)
    }

    pub fn is_forgotten(&self, name: Id) -> bool {
        self.find(name).is_some_and(|saved| saved.forgotten)
    }

    pub fn count(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    pub fn add(&mut self, what: &'static str, times: u64) {
        *self.counts.entry(what).or_default() += times;
    }
}

/// An empty repository, from which every simulation begins.
pub struct Template {
    pub memory: Memory,
    pub key: [u8; 32],
}

pub fn template() -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let key = MasterKey::generate().unwrap();
        let (bytes, memory) = (*key.bytes(), Memory::new());
        let description = Description {
            label: String::new(),
            made: SystemClock.now(),
            user: String::new(),
            host: String::new(),
            writer: 0,
            shares: false,
        };
        let creation = Creation {
            unlock: Unlock::KeyFile(&key),
            cost: Cost::default(),
            cutter: Cutter::gear(64 << 10),
            pack_target: 1 << 20,
            description,
        };
        repository::create(&memory, &creation, &SystemClock).unwrap();
        Template { memory, key: bytes }
    })
}

/// The keys of the repository, for actors that read objects themselves.
pub fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let Template { memory, key } = template();
        let mut slots = Vec::new();
        memory.list(Kind::Keys, &mut |entry| slots.push(entry.name)).unwrap();
        let object = memory.get(Kind::Keys, &slots[0]).unwrap();
        let key = MasterKey::from_bytes(*key);
        let master = slot::open(&object, Unlock::KeyFile(&key)).unwrap().unwrap();
        master.keys(slot::decode(&object).unwrap().repository)
    })
}

/// How many contents there are; few, so that clients often have the same.
pub const CONTENTS: u64 = 24;

/// A content: each of another length, so that a change never hides behind equal times. Compressible, so that all go into one pack.
pub fn content(number: u64) -> Vec<u8> {
    let line = format!("content {number} of a small pool\n");
    line.bytes().cycle().take(400 + 137 * number as usize).collect()
}

/// A folder of real files that changes by the seed.
pub struct Folder {
    pub path: PathBuf,
    pub files: BTreeMap<String, u64>,
    ticks: u64,
}

impl Folder {
    pub fn new(path: PathBuf, random: &mut Random, changes: u64) -> Folder {
        fs::create_dir_all(&path).unwrap();
        let mut folder = Folder { path, files: BTreeMap::new(), ticks: 0 };
        folder.change(random, changes);
        folder
    }

    /// Sets another time than any before: the system's clock may stand still between two changes.
    fn stamp(&mut self, path: &Path) {
        self.ticks += 1;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000 + self.ticks);
        File::open(path).unwrap().set_modified(time).unwrap();
    }

    /// Changes so many things.
    pub fn change(&mut self, random: &mut Random, times: u64) {
        for _ in 0..times {
            let folder = format!("d{}", random.below(3));
            match random.below(10) {
                0..=6 => self.write(&format!("{folder}/f{}", random.below(4)), random.below(CONTENTS)),
                7 => self.write(&format!("{folder}/deep/f{}", random.below(2)), random.below(CONTENTS)),
                8 => self.remove(&format!("{folder}/f{}", random.below(4))),
                _ => self.rename(&folder, &format!("d{}", 3 + random.below(2))),
            }
        }
    }

    pub fn write(&mut self, name: &str, number: u64) {
        let path = self.path.join(name);
        let parent = path.parent().unwrap().to_path_buf();
        fs::create_dir_all(&parent).unwrap();
        fs::write(&path, content(number)).unwrap();
        self.stamp(&path);
        self.files.insert(name.to_owned(), number);
        self.stamp_up(&parent);
    }

    fn stamp_up(&mut self, folder: &Path) {
        for above in folder
            .ancestors()
            .take_while(|above| above.starts_with(&self.path))
            .map(Path::to_path_buf)
            .collect::<Vec<_>>()
        {
            self.stamp(&above);
        }
    }

    fn remove(&mut self, name: &str) {
        if self.files.remove(name).is_some() {
            let path = self.path.join(name);
            fs::remove_file(&path).unwrap();
            self.stamp_up(path.parent().unwrap());
        }
    }

    /// Renames a folder, unless one of that name is there.
    fn rename(&mut self, from: &str, to: &str) {
        let (one, other) = (self.path.join(from), self.path.join(to));
        if one.exists() && !other.exists() {
            fs::rename(one, &other).unwrap();
            self.stamp_up(&other);
            let moved = std::mem::take(&mut self.files);
            self.files = moved
                .into_iter()
                .map(|(name, number)| match name.strip_prefix(&format!("{from}/")) {
                    Some(rest) => (format!("{to}/{rest}"), number),
                    None => (name, number),
                })
                .collect();
        }
    }
}
