//! Names of users and groups and back, as the system's name service knows them; each asked for once.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::hash::Hash;
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::{Arc, PoisonError, RwLock};

/// Longest answer taken from the name service: a group with a hundred thousand members.
const ANSWER_MAX: usize = 4 << 20;

/// A cache of users and groups that threads share.
#[derive(Debug, Default)]
pub struct Owners {
    users: Cache<u32, Arc<[u8]>>,
    groups: Cache<u32, Arc<[u8]>>,
    user_ids: Cache<Vec<u8>, u32>,
    group_ids: Cache<Vec<u8>, u32>,
}

impl Owners {
    /// An empty cache.
    pub fn new() -> Owners {
        Owners::default()
    }

    /// The name of a user; `None` when the system knows none.
    pub fn user(&self, uid: u32) -> Option<Arc<[u8]>> {
        self.users.get(&uid, |uid| user_name(*uid))
    }

    /// The name of a group.
    pub fn group(&self, gid: u32) -> Option<Arc<[u8]>> {
        self.groups.get(&gid, |gid| group_name(*gid))
    }

    /// The id of the user of that name on this machine.
    pub fn user_id(&self, name: &[u8]) -> Option<u32> {
        self.user_ids.get(name, user_id)
    }

    /// The id of the group of that name on this machine.
    pub fn group_id(&self, name: &[u8]) -> Option<u32> {
        self.group_ids.get(name, group_id)
    }
}

/// Answers by question; that there is none is an answer too.
#[derive(Debug)]
struct Cache<K, V>(RwLock<HashMap<K, Option<V>>>);

impl<K, V> Default for Cache<K, V> {
    fn default() -> Cache<K, V> {
        Cache(RwLock::new(HashMap::new()))
    }
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    fn get<Q>(&self, key: &Q, ask: impl FnOnce(&Q) -> Option<V>) -> Option<V>
    where
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        K: std::borrow::Borrow<Q>,
    {
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            return known.clone();
        }
        let answer = ask(key);
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), answer.clone());
        answer
    }
}

/// Calls one of the `get..._r` functions with a growing buffer and takes what is wanted out of its answer while the buffer lives.
fn ask<R, T>(
    call: impl Fn(*mut R, *mut c_char, usize, *mut *mut R) -> c_int,
    take: impl Fn(&R) -> Option<T>,
) -> Option<T> {
    let mut record = MaybeUninit::<R>::uninit();
    let mut buffer: Vec<c_char> = vec![0; 1024];
    loop {
        let mut found = null_mut();
        match call(record.as_mut_ptr(), buffer.as_mut_ptr(), buffer.len(), &mut found) {
            // SAFETY: on success `found` is null or points to `record`, now filled in, whose strings lie in `buffer`.
            0 => return unsafe { found.as_ref() }.and_then(take),
            libc::EINTR => {}
            libc::ERANGE if buffer.len() < ANSWER_MAX => buffer.resize(buffer.len() * 4, 0),
            _ => return None,
        }
    }
}

/// The bytes of a C string out of a record; an empty name is no name.
fn text(name: *const c_char) -> Option<Arc<[u8]>> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the name service ends its strings with NUL, and the caller holds the buffer they lie in.
    let bytes = unsafe { CStr::from_ptr(name) }.to_bytes();
    (!bytes.is_empty()).then(|| bytes.into())
}

// SAFETY of the four calls: every pointer is valid for the call, and the length given is the buffer's.

fn user_name(uid: u32) -> Option<Arc<[u8]>> {
    ask(
        |record, buffer, length, found| unsafe { libc::getpwuid_r(uid, record, buffer, length, found) },
        |record: &libc::passwd| text(record.pw_name),
    )
}

fn group_name(gid: u32) -> Option<Arc<[u8]>> {
    ask(
        |record, buffer, length, found| unsafe { libc::getgrgid_r(gid, record, buffer, length, found) },
        |record: &libc::group| text(record.gr_name),
    )
}

fn user_id(name: &[u8]) -> Option<u32> {
    let name = CString::new(name).ok()?;
    ask(
        |record, buffer, length, found| unsafe {
            libc::getpwnam_r(name.as_ptr(), record, buffer, length, found)
        },
        |record: &libc::passwd| Some(record.pw_uid),
    )
}

fn group_id(name: &[u8]) -> Option<u32> {
    let name = CString::new(name).ok()?;
    ask(
        |record, buffer, length, found| unsafe {
            libc::getgrnam_r(name.as_ptr(), record, buffer, length, found)
        },
        |record: &libc::group| Some(record.gr_gid),
    )
}
