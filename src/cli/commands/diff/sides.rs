//! The two sides that a person means: snapshots, paths in them, or a folder that is there now.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::cli::arguments::Diff;
use crate::cli::context::{Context, absolute, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::{paths, select};
use crate::diff::Side;
use crate::model::joined;
use crate::repository::Repository;
use crate::repository::snapshots::{Named, Snapshots};
use crate::terminal::escape::escape;

/// Both sides, with what is shown of them.
pub struct Sides {
    pub before: Side,
    pub after: Side,
    pub before_named: Named,
    /// None for a folder that is there now.
    pub after_named: Option<Named>,
    /// Where the sides lie; empty for a whole snapshot.
    pub before_path: Vec<u8>,
    pub after_path: Vec<u8>,
    /// The folder under which entries are counted together, below the sides.
    pub top: Vec<u8>,
    /// One of the snapshots may not be the one that was meant.
    pub in_doubt: bool,
}

/// Whether a text names a folder that is there, and no snapshot.
fn is_folder(text: &[u8]) -> bool {
    let (snapshot, _) = paths::split(text);
    matches!(text, b"." | b"..") || snapshot.contains(&b'/')
}

/// A snapshot, and the path in it that was given.
fn named(
    context: &Context<'_>,
    all: &Snapshots,
    wanted: &Diff,
    text: &OsStr,
) -> Result<(Named, Option<Vec<u8>>, bool), Failure> {
    let (snapshot, path) = paths::split(text.as_bytes());
    let snapshot = String::from_utf8_lossy(&snapshot);
    let host = wanted.host.as_ref().map(|host| host.as_bytes());
    let named = select::find(context, all, &snapshot, host)?;
    let doubtful = select::is_doubtful(context, all, &snapshot, &named);
    Ok((named, path, doubtful))
}

/// What lies at a path of a snapshot.
fn stored(repository: &Repository, named: &Named, names: &[Vec<u8>]) -> Result<Side, Failure> {
    let repaired = named.snapshot.stands_for.is_some();
    if names.is_empty() {
        return Ok(Side::Whole { tree: named.snapshot.root, repaired });
    }
    let slices: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let found = repository.find_node(named.snapshot.root, &slices).map_err(|error| failure(&error))?;
    let node = found.ok_or_else(|| {
        let path = joined(names);
        Failure::new(Code::Failed, format!("snapshot {} holds no {}", named.name.short(), escape(&path)))
    })?;
    Ok(Side::Stored { node: Box::new(node), repaired })
}

/// The folder that all sources of these snapshots lie in, or are.
fn common(snapshots: &[&Named]) -> Vec<u8> {
    let mut sources = snapshots.iter().flat_map(|named| &named.snapshot.sources);
    let names = |path: &[u8]| -> Vec<Vec<u8>> {
        path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let mut common = sources.next().map_or_else(Vec::new, |source| names(source));
    for source in sources {
        let equal = common.iter().zip(names(source)).take_while(|(one, other)| **one == *other).count();
        common.truncate(equal);
    }
    joined(&common)
}

/// Finds both sides.
pub fn find(
    context: &Context<'_>,
    repository: &Repository,
    all: &Snapshots,
    wanted: &Diff,
) -> Result<Sides, Failure> {
    if is_folder(wanted.before.as_bytes()) {
        return Err(Failure::usage("the snapshot comes first: copal diff SNAP FOLDER"));
    }
    let (before_named, mut before_path, doubtful) = named(context, all, wanted, &wanted.before)?;
    let look = |named: &Named, path: &Option<Vec<u8>>| match path {
        Some(path) => paths::find_among(repository, all, named, path),
        None => Ok(Vec::new()),
    };
    if is_folder(wanted.after.as_bytes()) {
        let path = absolute(&wanted.after)?;
        let before_names = look(&before_named, &before_path.or_else(|| Some(path.clone())))?;
        return Ok(Sides {
            before: stored(repository, &before_named, &before_names)?,
            after: Side::Live(PathBuf::from(OsString::from_vec(path.clone()))),
            before_named,
            after_named: None,
            before_path: joined(&before_names),
            after_path: if path == b"/" { Vec::new() } else { path },
            top: Vec::new(),
            in_doubt: doubtful,
        });
    }
    if wanted.content {
        return Err(Failure::usage("--content is for a folder that is there: what snapshots hold is known"));
    }
    let (after_named, mut after_path, also_doubtful) = named(context, all, wanted, &wanted.after)?;
    before_path = before_path.or_else(|| after_path.clone());
    after_path = after_path.or_else(|| before_path.clone());
    let before_names = look(&before_named, &before_path)?;
    let after_names = look(&after_named, &after_path)?;
    let is_whole = before_names.is_empty() && after_names.is_empty();
    Ok(Sides {
        before: stored(repository, &before_named, &before_names)?,
        after: stored(repository, &after_named, &after_names)?,
        before_path: joined(&before_names),
        after_path: joined(&after_names),
        top: if is_whole { common(&[&before_named, &after_named]) } else { Vec::new() },
        before_named,
        after_named: Some(after_named),
        in_doubt: doubtful || also_doubtful,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_told_from_snapshots() {
        for folder in [".", "..", "./latest", "/home", "docs/", "a/b:c", "../x"] {
            assert!(is_folder(folder.as_bytes()), "{folder}");
        }
        for snapshot in ["latest", "latest:docs/a", "2026-11-03 14:00:/home", "1a2b3c4d:./x", "3 days ago"] {
            assert!(!is_folder(snapshot.as_bytes()), "{snapshot}");
        }
    }
}
