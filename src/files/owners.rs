//! Names of users and groups, asked of the system once each.

use std::collections::HashMap;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::RwLock;

/// Names and numbers that were looked up.
#[derive(Default)]
pub struct Owners {
    users: RwLock<HashMap<u32, Option<Vec<u8>>>>,
    groups: RwLock<HashMap<u32, Option<Vec<u8>>>>,
    user_ids: RwLock<HashMap<Vec<u8>, Option<u32>>>,
    group_ids: RwLock<HashMap<Vec<u8>, Option<u32>>>,
}

fn cached<K: Clone + Eq + std::hash::Hash, V: Clone>(
    cache: &RwLock<HashMap<K, V>>,
    key: &K,
    look_up: impl FnOnce() -> V,
) -> V {
    if let Ok(cache) = cache.read()
        && let Some(value) = cache.get(key)
    {
        return value.clone();
    }
    let value = look_up();
    if let Ok(mut cache) = cache.write() {
        cache.insert(key.clone(), value.clone());
    }
    value
}

impl Owners {
    pub fn user_name(&self, uid: u32) -> Option<Vec<u8>> {
        cached(&self.users, &uid, || uzers::get_user_by_uid(uid).map(|user| user.name().to_os_string().into_vec()))
    }

    pub fn group_name(&self, gid: u32) -> Option<Vec<u8>> {
        cached(&self.groups, &gid, || uzers::get_group_by_gid(gid).map(|group| group.name().to_os_string().into_vec()))
    }

    pub fn user_id(&self, name: &[u8]) -> Option<u32> {
        cached(&self.user_ids, &name.to_vec(), || {
            uzers::get_user_by_name(std::ffi::OsStr::from_bytes(name)).map(|user| user.uid())
        })
    }

    pub fn group_id(&self, name: &[u8]) -> Option<u32> {
        cached(&self.group_ids, &name.to_vec(), || {
            uzers::get_group_by_name(std::ffi::OsStr::from_bytes(name)).map(|group| group.gid())
        })
    }
}
