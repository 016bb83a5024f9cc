//! Finding the path that a person means inside a snapshot: as given, from where they stand, or as the end of a stored path.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::context::failure;
use super::exit::{Code, Failure};
use crate::model::NodeType;
use crate::repository::Repository;
use crate::repository::snapshots::{Named, Snapshots};
use crate::terminal::escape::escape;
use crate::terminal::time;

/// Other snapshots that are looked into for a path that one lacks.
const LOOKED_AT: usize = 100;

/// The bytes of a path as typed, absolute and without `.` and `..`; symlinks are kept, as people name folders by them.
pub fn absolute(path: &OsStr) -> Result<Vec<u8>, Failure> {
    let path = Path::new(path);
    let whole =
        std::path::absolute(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    let mut clean = PathBuf::from("/");
    for component in whole.components() {
        match component {
            std::path::Component::Normal(name) => clean.push(name),
            std::path::Component::ParentDir => {
                // `..` of a symlinked folder is not what the text says: the system knows.
                clean = std::fs::canonicalize(&clean).unwrap_or(clean);
                clean.pop();
            }
            _ => {}
        }
    }
    Ok(clean.as_os_str().as_bytes().to_vec())
}

/// Splits `SNAP:PATH`. A time may hold colons, so the path begins at the first colon that is followed by something that no time has there.
pub fn split(wanted: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    for (place, byte) in wanted.iter().enumerate() {
        let after = &wanted[place + 1..];
        let in_a_time = place > 0
            && wanted[place - 1].is_ascii_digit()
            && after.first().is_some_and(u8::is_ascii_digit)
            && wanted[..place].iter().any(|byte| matches!(byte, b'-' | b' ' | b'T'));
        if *byte == b':' && !in_a_time {
            return (wanted[..place].to_vec(), Some(after.to_vec()));
        }
    }
    (wanted.to_vec(), None)
}

/// The snapshot and the path in it that a person typed; with a time given apart, all of it is the path.
pub fn wanted(typed: &[u8], at: Option<&str>) -> (String, Option<Vec<u8>>) {
    match at {
        Some(at) => (at.to_owned(), Some(typed.to_vec())),
        None => {
            let (snapshot, path) = split(typed);
            (String::from_utf8_lossy(&snapshot).into_owned(), path)
        }
    }
}

/// The single names of a path; none when it goes up again.
pub fn names(path: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return None,
            name => names.push(name.to_vec()),
        }
    }
    Some(names)
}

fn exists(repository: &Repository, named: &Named, names: &[Vec<u8>]) -> Result<bool, Failure> {
    let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let found = repository.find_node(named.snapshot.root, &names).map_err(|error| failure(&error))?;
    Ok(names.is_empty() || found.is_some())
}

/// The names from the snapshot's root down to what `path` means.
pub fn find(repository: &Repository, named: &Named, path: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
    if let Some(names) = names(path)
        && exists(repository, named, &names)?
    {
        return Ok(names);
    }
    let shown = escape(path).into_owned();
    let missing = || {
        Failure::new(Code::Failed, format!("snapshot {} holds no {shown}", named.name.short()))
            .with_hint(format!("See what it holds: copal ls {}", named.name.short()))
    };
    if path.starts_with(b"/") {
        return Err(missing());
    }
    let from_here = absolute(std::ffi::OsStr::from_bytes(path))?;
    if let Some(names) = names(&from_here)
        && exists(repository, named, &names)?
    {
        return Ok(names);
    }
    let Some(wanted) = names(path).filter(|names| !names.is_empty()) else { return Err(missing()) };
    let matching = ends_with(repository, named, &wanted)?;
    match &matching[..] {
        [one] => Ok(one.clone()),
        [] => Err(missing()),
        several => {
            let shown: Vec<String> = several
                .iter()
                .map(|names| escape(&[&b"/"[..], &names.join(&b'/')].concat()).into_owned())
                .collect();
            Err(Failure::usage("several stored paths end so; give the whole path")
                .with_hint(format!("Some of them:\n  {}", shown.join("\n  "))))
        }
    }
}

/// Like `find`; when that snapshot lacks the path, the failure names the newest other one that has it.
pub fn find_among(
    repository: &Repository,
    all: &Snapshots,
    named: &Named,
    path: &[u8],
) -> Result<Vec<Vec<u8>>, Failure> {
    let failure = match find(repository, named, path) {
        Err(failure) if failure.code == Code::Failed => failure,
        other => return other,
    };
    let others = all.confirmed.iter().rev().filter(|other| other.name != named.name).take(LOOKED_AT);
    for other in others {
        let Some(wanted) = names(path) else { break };
        let here = absolute(std::ffi::OsStr::from_bytes(path)).ok().and_then(|path| names(&path));
        let direct = [Some(wanted.clone()), here].into_iter().flatten();
        let mut found = false;
        for candidate in direct {
            found = found || exists(repository, other, &candidate).unwrap_or(false);
        }
        if found || below_sources(repository, other, &wanted).is_ok_and(|paths| !paths.is_empty()) {
            let short = other.name.short();
            return Err(failure.with_hint(format!(
                "Snapshot {short} of {} has it: {short}:{}",
                time::show(other.snapshot.time),
                escape(path)
            )));
        }
    }
    Err(failure)
}

/// Paths that are named so, counted from a source or from the folder it lies in.
fn below_sources(
    repository: &Repository,
    named: &Named,
    wanted: &[Vec<u8>],
) -> Result<Vec<Vec<Vec<u8>>>, Failure> {
    let mut found: Vec<Vec<Vec<u8>>> = Vec::new();
    for source in &named.snapshot.sources {
        let Some(source) = names(source) else { continue };
        for above in [source.len(), source.len().saturating_sub(1)] {
            let path: Vec<Vec<u8>> = source[..above].iter().chain(wanted).cloned().collect();
            if !found.contains(&path) && exists(repository, named, &path)? {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// Paths that are named so: a source's name and what follows, else, searched through the whole snapshot, any that end so (a few of them).
fn ends_with(
    repository: &Repository,
    named: &Named,
    wanted: &[Vec<u8>],
) -> Result<Vec<Vec<Vec<u8>>>, Failure> {
    let mut found = below_sources(repository, named, wanted)?;
    if !found.is_empty() {
        return Ok(found);
    }
    let Some((last, before)) = wanted.split_last() else { return Ok(found) };
    let mut stack = vec![(named.snapshot.root, Vec::<Vec<u8>>::new())];
    let mut damage = None;
    while let Some((tree, path)) = stack.pop() {
        for node in repository.nodes(tree) {
            let node = match node {
                Ok(node) => node,
                Err(error) if error.is_damage() => {
                    damage = damage.or(Some(error));
                    continue;
                }
                Err(error) => return Err(failure(&error)),
            };
            let mut below = path.clone();
            below.push(node.name.clone());
            if node.name == *last && path.ends_with(before) {
                found.push(below.clone());
                if found.len() > 4 {
                    return Ok(found);
                }
            }
            if let (NodeType::Directory, Some(tree)) = (node.kind, node.tree) {
                stack.push((tree, below));
            }
        }
    }
    match damage {
        // What is asked for may be in the part that is hit.
        Some(error) if found.is_empty() => Err(failure(&error)),
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_keeps_its_colons() {
        let cases: [(&str, &str, Option<&str>); 6] = [
            ("latest", "latest", None),
            ("latest:/home/ann", "latest", Some("/home/ann")),
            ("2026-11-03 14:00:docs", "2026-11-03 14:00", Some("docs")),
            ("2026-11-03T14:00:05", "2026-11-03T14:00:05", None),
            ("3 days ago:a:b", "3 days ago", Some("a:b")),
            ("1a2b3c4d:5", "1a2b3c4d", Some("5")),
        ];
        for (text, snapshot, path) in cases {
            assert_eq!(
                split(text.as_bytes()),
                (snapshot.as_bytes().to_vec(), path.map(|path| path.as_bytes().to_vec())),
                "{text}"
            );
        }
    }
}
