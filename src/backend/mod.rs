//! Storage: named, immutable byte strings. Knows names and bytes, nothing of what they mean.

mod error;
mod fault;
mod kind;
mod layout;
mod local;
mod location;
mod memory;
mod read_only;
mod retry;
pub mod s3;
pub mod serve;
pub mod sftp;
pub mod ssh;
mod throttle;

use std::sync::Arc;

use crate::model::Time;

pub use error::Error;
pub use fault::{Fault, Faulty};
pub use kind::{Kind, listed_together};
pub use local::Local;
pub use location::Location;
pub use memory::Memory;
pub use read_only::ReadOnly;
pub use retry::{Failed, Patience};
pub use s3::S3;
pub use serve::Served;
pub use sftp::Sftp;
pub use throttle::{Limits, Throttled};

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The object's name, without folders: lower-case hex digits.
    pub name: String,
    /// The object's length in bytes.
    pub size: u64,
}

/// How much room there is where objects lie, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub total: u64,
    /// What this user may still fill.
    pub free: u64,
}

/// A place that holds a repository's objects. Only what every storage can do: no rename, no lock, no compare-and-swap.
///
/// A name that the kind cannot have (`Kind::is_name`) is refused with `Error::Unsupported`, so no name leads elsewhere.
/// After `Error::Io` it is not known whether a `put` or `remove` took effect.
pub trait Backend: Send + Sync {
    /// Where this is, for messages. Holds no secrets.
    fn location(&self) -> String;

    /// Stores an object: wholly or not at all, and durable when this returns `Ok`. Contents are not compared.
    ///
    /// Where names are not hashes (`Config`, `Fences`), an object of the same name and length is left as it is (`Ok`, durable too), one of
    /// another length gives `Error::Exists`: the first writer's bytes stay. In folders and in memory that holds at any moment, and for
    /// objects of all kinds. Object stores ask before they store, and of two that come at the same moment the second one's bytes may stay
    /// where the server knows no conditions: whoever must know reads them back. Objects of other kinds they replace, by the same bytes.
    fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error>;

    /// Puts an object's own bytes back in its place: what storage changed or lost is as it was stored again. Wholly or not at all, and durable
    /// when this returns `Ok`. Only for healing: the bytes have to be those of that name, which the caller has proved.
    fn replace(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let _ = bytes;
        Err(Error::Unsupported {
            object: format!("{}/{}", self.location(), kind.path_of(name)),
            reason: "this storage can not put an object back in its place".to_owned(),
        })
    }

    /// All bytes of an object. Errors: `NotFound`. The size is the storage's word: where it is not trusted, `stat` first.
    fn get(&self, kind: Kind, name: &str) -> Result<Vec<u8>, Error>;

    /// The same of an object of at most so many bytes, in one request where the storage has one that says the length first. Errors: also
    /// `TooLong`, and then nothing was read.
    fn get_at_most(&self, kind: Kind, name: &str, most: u64) -> Result<Vec<u8>, Error> {
        if self.stat(kind, name)? > most {
            return Err(Error::TooLong { object: format!("{}/{}", self.location(), kind.path_of(name)) });
        }
        self.get(kind, name)
    }

    /// Exactly `length` bytes from byte `offset` on. Errors: `NotFound`; `Short` when the object ends before that.
    fn get_range(&self, kind: Kind, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, Error>;

    /// Calls `each` for every object of a kind, in no promised order; anything without a well-formed name is passed over,
    /// and a missing folder is empty. An object put or removed meanwhile may or may not come. After an error, what
    /// came before is true, but not all.
    fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), Error>;

    /// The same of several kinds, in fewer requests where the storage can: each kind is listed after those before it in `kinds`, or
    /// together with them.
    fn list_kinds(&self, kinds: &[Kind], each: &mut dyn FnMut(Kind, Entry)) -> Result<(), Error> {
        kinds.iter().try_for_each(|kind| self.list(*kind, &mut |entry| each(*kind, entry)))
    }

    /// An object's length in bytes. Errors: `NotFound`.
    fn stat(&self, kind: Kind, name: &str) -> Result<u64, Error>;

    /// Removes an object. Errors: `NotFound`, where the storage tells; object stores mostly do not. Durable when this returns, except that a
    /// pack or its parity may come back after a power failure, as garbage.
    fn remove(&self, kind: Kind, name: &str) -> Result<(), Error>;

    /// The storage's clock, to compare with the ages of objects. May need to write.
    fn time(&self) -> Result<Time, Error>;

    /// Seconds after which every listing has what was put, and not what was removed; none when that is not known.
    fn listing_lag_seconds(&self) -> Option<u64> {
        Some(0)
    }

    /// Whether `put` takes the place of an object that has the name, but for `config` and `fences`.
    fn puts_over(&self) -> bool {
        false
    }

    /// How many requests at a time are worth while: one where each is answered at once, more where answers take their time.
    fn requests_at_once(&self) -> usize {
        1
    }

    /// How much room there is; none where the storage does not tell.
    fn space(&self) -> Result<Option<Space>, Error> {
        Ok(None)
    }

    /// Removes what interrupted `put`s left that were begun before that time (by the storage's clock), where such things lie; how
    /// many. Never an object.
    fn remove_leftovers(&self, _before: Time) -> Result<u64, Error> {
        Ok(0)
    }

    /// Keeps a little room aside, where there is plenty and storage can be full; or gives it back, so that what makes room can be
    /// written. Whether it was there to be given back, or was taken only now.
    fn reserve(&self, _keep: bool) -> bool {
        false
    }

    /// Whether something that was stored since this was opened may be lost by a power failure, since the file system or server does not
    /// know how to sync.
    fn is_unsynced(&self) -> bool {
        false
    }

    /// Whether a repository is here: any object in `config/` or `keys/`.
    fn exists_repository(&self) -> Result<bool, Error> {
        for kind in [Kind::Config, Kind::Keys] {
            let mut found = false;
            match self.list(kind, &mut |_| found = true) {
                // Not even the place is there.
                Err(error) if error.is_not_found() => return Ok(false),
                other => other?,
            }
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Prepares an empty place: makes the folders, for the owner alone. What is there already stays.
    fn create(&self) -> Result<(), Error>;
}

/// A shared backend is a backend, so that one storage can stand under several wrappers.
impl<B: Backend + ?Sized> Backend for Arc<B> {
    fn location(&self) -> String {
        (**self).location()
    }
    fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
        (**self).put(kind, name, bytes)
    }
    fn replace(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
        (**self).replace(kind, name, bytes)
    }
    fn get(&self, kind: Kind, name: &str) -> Result<Vec<u8>, Error> {
        (**self).get(kind, name)
    }
    fn get_at_most(&self, kind: Kind, name: &str, most: u64) -> Result<Vec<u8>, Error> {
        (**self).get_at_most(kind, name, most)
    }
    fn get_range(&self, kind: Kind, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        (**self).get_range(kind, name, offset, length)
    }
    fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        (**self).list(kind, each)
    }
    fn list_kinds(&self, kinds: &[Kind], each: &mut dyn FnMut(Kind, Entry)) -> Result<(), Error> {
        (**self).list_kinds(kinds, each)
    }
    fn stat(&self, kind: Kind, name: &str) -> Result<u64, Error> {
        (**self).stat(kind, name)
    }
    fn remove(&self, kind: Kind, name: &str) -> Result<(), Error> {
        (**self).remove(kind, name)
    }
    fn time(&self) -> Result<Time, Error> {
        (**self).time()
    }
    fn listing_lag_seconds(&self) -> Option<u64> {
        (**self).listing_lag_seconds()
    }
    fn requests_at_once(&self) -> usize {
        (**self).requests_at_once()
    }
    fn puts_over(&self) -> bool {
        (**self).puts_over()
    }
    fn space(&self) -> Result<Option<Space>, Error> {
        (**self).space()
    }
    fn remove_leftovers(&self, before: Time) -> Result<u64, Error> {
        (**self).remove_leftovers(before)
    }
    fn reserve(&self, keep: bool) -> bool {
        (**self).reserve(keep)
    }
    fn is_unsynced(&self) -> bool {
        (**self).is_unsynced()
    }
    fn exists_repository(&self) -> Result<bool, Error> {
        (**self).exists_repository()
    }
    fn create(&self) -> Result<(), Error> {
        (**self).create()
    }
}

/// What storage on other machines needs to be reached, that a location does not say.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub s3: s3::Options,
    pub sftp: ssh::Options,
    pub serve: ssh::Options,
}

/// The backend of a location as the user writes it (`Location::parse`). Touches nothing yet.
/// Errors: `Unsupported` for what is not a location.
pub fn open(location: &str, options: &Options) -> Result<Box<dyn Backend>, Error> {
    match Location::parse(location)? {
        Location::Folder(path) => Ok(Box::new(Local::new(path))),
        Location::Sftp(rest) => Ok(Box::new(Sftp::new(ssh::Place::parse(&rest)?, options.sftp.clone()))),
        Location::Served(rest) => {
            Ok(Box::new(Served::new(ssh::Place::parse_as(location::SERVED, &rest)?, options.serve.clone())))
        }
        Location::S3(address) => Ok(Box::new(S3::new(&address, options.s3.clone())?)),
    }
}

/// The name's path below the repository, or `Unsupported` when no object of this kind can have this name.
fn checked_path(location: &str, kind: Kind, name: &str) -> Result<String, Error> {
    if kind.is_name(name) {
        return Ok(kind.path_of(name));
    }
    Err(Error::Unsupported {
        object: format!("{location}/{}", kind.folder()),
        reason: format!("{name:?} is not a name that an object there can have"),
    })
}

/// `wanted` bytes of room without the abort that a huge `Vec::with_capacity` is.
fn room(object: &str, wanted: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let fits = usize::try_from(wanted).is_ok_and(|wanted| bytes.try_reserve_exact(wanted).is_ok());
    if fits { Ok(bytes) } else { Err(Error::sort(object, "read", std::io::ErrorKind::OutOfMemory.into())) }
}
