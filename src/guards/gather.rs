//! What the guards have to know, asked of the system and of the repository.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::io::Errno;

use super::before::{Found, Place};
use crate::files;
use crate::model::{NodeType, Snapshot, Time};
use crate::repository::snapshots::Snapshots;
use crate::repository::{Error, Repository};

/// The sources as they are now.
pub fn places(sources: &[Vec<u8>]) -> Vec<Place> {
    sources.iter().map(|source| place(source)).collect()
}

fn place(source: &[u8]) -> Place {
    let mut place =
        Place { path: source.to_vec(), found: Found::Unknown, file_system: None, kind: String::new() };
    let path = Path::new(OsStr::from_bytes(source));
    place.found = match std::fs::symlink_metadata(path) {
        Ok(about) if !about.is_dir() => Found::Something,
        // Opening it is what mounts an automounted one.
        Ok(_) => match std::fs::read_dir(path).map(|mut entries| entries.next()) {
            Ok(None) => Found::Empty,
            Ok(Some(Ok(_))) => Found::Something,
            _ => Found::Unknown,
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Found::Missing,
        Err(_) => Found::Unknown,
    };
    let folder = match place.found {
        Found::Missing | Found::Unknown => return place,
        _ if path.is_symlink() || !path.is_dir() => path.parent().unwrap_or(path),
        _ => path,
    };
    if let Ok(handle) = files::open_root(folder)
        && let Ok(system) = files::filesystem(handle.as_fd())
    {
        // Where it is not told apart from others by something that stays, it is no alarm that it differs.
        place.file_system = system.reuse.then(|| blake3::hash(&system.identity).to_hex()[..32].to_owned());
        place.kind = system.name;
    }
    place
}

/// Whether these folders are mount points.
pub fn mounts(folders: &[Vec<u8>]) -> Vec<(Vec<u8>, bool)> {
    let is_mounted = |folder: &[u8]| -> Result<bool, Errno> {
        let path = Path::new(OsStr::from_bytes(folder));
        let own = files::stat_fd(files::open_root(path)?.as_fd())?;
        let Some(above) = path.parent() else { return Ok(true) };
        let above = files::stat_fd(files::open_root(above)?.as_fd())?;
        // Bind mounts have the device of what they show.
        Ok(own.mount_root || own.dev != above.dev)
    };
    folders.iter().map(|folder| (folder.clone(), is_mounted(folder).unwrap_or(false))).collect()
}

/// The sources as a snapshot holds them, where no run before is remembered.
pub fn places_of(repository: &Repository, snapshot: &Snapshot) -> Result<Vec<Place>, Error> {
    let mut places = Vec::new();
    for source in &snapshot.sources {
        let names: Vec<&[u8]> = source.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
        let tree = match names.is_empty() {
            true => Some(snapshot.root),
            false => match repository.find_node(snapshot.root, &names)? {
                Some(node) if node.kind == NodeType::Directory => node.tree,
                _ => None,
            },
        };
        let found = match tree.map(|tree| repository.nodes(tree).next()) {
            Some(None) => Found::Empty,
            _ => Found::Something,
        };
        places.push(Place { path: source.clone(), found, file_system: None, kind: String::new() });
    }
    Ok(places)
}

/// The time of the newest snapshot of a host, of those whose time was not given by hand.
pub fn newest(all: &Snapshots, host: &[u8], writer: u32) -> Option<Time> {
    let own = all.confirmed.iter().filter(|named| {
        let snapshot = &named.snapshot;
        snapshot.host == host && !snapshot.time_given && snapshot.teller() == writer
    });
    own.map(|named| named.snapshot.time).max()
}
