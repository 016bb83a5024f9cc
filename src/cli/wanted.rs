//! What a person types to name something in a snapshot: `SNAP`, `SNAP:PATH`, a path at a time, or a version of a path (`PATH@2`).

use super::commands::versions::Found;
use super::context::{Context, failure};
use super::exit::{Code, Failure};
use super::{paths, select};
use crate::catalogue;
use crate::repository::Repository;
use crate::repository::snapshots::{Named, Snapshots};
use crate::terminal::escape::escape;
use crate::terminal::size::show_count;

/// What is meant.
pub struct Meant {
    pub named: Named,
    /// From the snapshot's root; none when all of it is meant.
    pub names: Vec<Vec<u8>>,
    /// A newer snapshot can not be read, and may be the one that was meant.
    pub is_doubtful: bool,
}

/// Finds what is meant; with a time given apart (`at`), all that was typed is the path.
pub fn find(
    context: &Context<'_>,
    repository: &Repository,
    all: &Snapshots,
    typed: &[u8],
    at: Option<&str>,
    host: Option<&[u8]>,
) -> Result<Meant, Failure> {
    let (snapshot, path) = paths::wanted(typed, at);
    if path.is_none()
        && let Some((path, number)) = as_version(typed)
    {
        return version(context, repository, all, (path, number), host);
    }
    let named = select::find_holding(context, all, &snapshot, host, path.as_deref())?;
    let is_doubtful = select::is_doubtful(context, all, &snapshot, &named);
    let names = match &path {
        Some(path) => paths::find_among(repository, all, &named, path)?,
        None => Vec::new(),
    };
    Ok(Meant { named, names, is_doubtful })
}

/// The path and the number of a version. No snapshot is written like that; behind `SNAP:` a path may end so.
fn as_version(typed: &[u8]) -> Option<(&[u8], usize)> {
    let at = typed.iter().rposition(|byte| *byte == b'@')?;
    let number = std::str::from_utf8(&typed[at + 1..]).ok()?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (at > 0 && is_number).then(|| number.parse().ok()).flatten().map(|number| (&typed[..at], number))
}

/// A version of a path, in the newest snapshot that holds it.
fn version(
    context: &Context<'_>,
    repository: &Repository,
    all: &Snapshots,
    (path, number): (&[u8], usize),
    host: Option<&[u8]>,
) -> Result<Meant, Failure> {
    let found = Found::new(context, repository, all, path, host, false)?;
    for line in &found.doubts {
        context.warn(line);
    }
    let shown = escape(&found.path).into_owned();
    let Some(version) = number.checked_sub(1).and_then(|place| found.versions.get(place)) else {
        let count = show_count(found.versions.len() as u64, "version");
        return Err(Failure::usage(format!(
            "there is no version {number} of {shown}, but {count}, @1 being the newest"
        )));
    };
    let names = paths::names(&found.path).unwrap_or_default();
    let slices: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    // The catalogue is a cache, and may be wrong: what is given back is what was asked for, or nothing.
    let facts = catalogue::facts_of(repository, version.last.snapshot.root, &slices)
        .map_err(|error| failure(&error))?;
    if facts.is_none_or(|facts| facts.content != version.facts.content) {
        return Err(Failure::new(Code::Failed, format!("the catalogue of paths is wrong about {shown}"))
            .with_hint("Go through the snapshots: --no-catalogue. To have the catalogue made anew, remove the cache."));
    }
    // Numbers count from the newest, and that may be where nothing can be read.
    let is_doubtful =
        select::is_doubtful(context, all, &shown, version.last) || found.may_hide_newer(version);
    Ok(Meant { named: version.last.clone(), names, is_doubtful })
}

#[cfg(test)]
mod tests {
    use super::as_version;

    #[test]
    fn a_number_behind_an_at_sign_is_a_version() {
        assert_eq!(as_version(b"docs/report.odt@2"), Some((&b"docs/report.odt"[..], 2)));
        assert_eq!(as_version(b"icon@2x@10"), Some((&b"icon@2x"[..], 10)));
        for other in [&b"icon@2x"[..], b"@2", b"a@", b"a@-1", b"latest", b"a@99999999999999999999999"] {
            assert_eq!(as_version(other), None, "{other:?}");
        }
    }
}
