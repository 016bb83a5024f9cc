//! Whether a folder's own entries say that it is to be left out: a cache that says so, or a marker.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::exclude::{CACHE_TAG_NAME, Excludes, is_cache_tag};
use crate::files::{self, Names};
use crate::model::NodeType;

/// Bytes of a `CACHEDIR.TAG` that are read.
const TAG_BYTES: usize = 64;

/// Whether a directory says that it is a cache or is marked to be left out.
pub fn is_marked(excludes: &Excludes, handle: &OwnedFd, names: &Names) -> bool {
    let first_bytes = |name: &[u8], most: usize| read_small(handle.as_fd(), name, most).unwrap_or_default();
    if excludes.caches
        && names.contains(CACHE_TAG_NAME)
        && is_cache_tag(&first_bytes(CACHE_TAG_NAME, TAG_BYTES))
    {
        return true;
    }
    excludes.if_present.iter().any(|marker| {
        names.contains(marker.name())
            && (marker.content_length() == 0
                || marker.is_marked_by(&first_bytes(marker.name(), marker.content_length())))
    })
}

/// The first bytes of a small regular file, or none.
pub(super) fn read_small(handle: BorrowedFd<'_>, name: &[u8], most: usize) -> Option<Vec<u8>> {
    let stat = files::stat(handle, name).ok().filter(|stat| stat.kind == NodeType::File)?;
    let (file, _) = files::open_file(handle, name, &stat).ok()?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(std::fs::File::from(file), most as u64), &mut bytes)
        .ok()?;
    Some(bytes)
}
