//! What lies, and ever lay, below a folder.

use super::timeline::Timelines;
use crate::index::catalogue::{Catalogue, PathNumber};
use crate::repository::Error;

/// Names that are looked at in one go.
const PAGE: usize = 1000;

/// Names of paths in a folder that a snapshot of the host holds: those behind `after` in the order of names, about a thousand at most.
/// None when there are no more.
pub fn below(
    catalogue: &Catalogue,
    timelines: &Timelines<'_>,
    host: &[u8],
    folder: PathNumber,
    after: &[u8],
) -> Result<Vec<Vec<u8>>, Error> {
    let mut after = after.to_vec();
    loop {
        let page = catalogue.below(folder, &after, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(Vec::new()) };
        after.clone_from(last);
        let mut found = Vec::new();
        for (name, path) in page {
            if is_held(catalogue, timelines, host, path)? {
                found.push(name);
            }
        }
        // Paths of other hosts, and of snapshots that are gone, may fill a page.
        if !found.is_empty() {
            return Ok(found);
        }
    }
}

/// Whether a snapshot of the host holds the path.
pub fn is_held(
    catalogue: &Catalogue,
    timelines: &Timelines<'_>,
    host: &[u8],
    path: PathNumber,
) -> Result<bool, Error> {
    let rows = catalogue.rows(path)?;
    Ok(rows.iter().any(|row| timelines.span(row).is_some_and(|(first, _)| first.snapshot.host == host)))
}
