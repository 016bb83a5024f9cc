//! What lies in the place of a repository beside its objects, in storage of any kind: files on their way, and what others put there.

use std::io;

use super::Kind;

/// The folder of what is not an object yet.
pub(super) const TEMPORARY: &str = "tmp";
/// How the names in it begin.
pub(super) const TEMPORARY_PREFIX: &str = "tmp-";
/// What file systems put into their roots.
const USUAL: [&str; 3] = ["lost+found", "System Volume Information", "$RECYCLE.BIN"];

/// A path below `tmp/` that nobody else has.
pub(super) fn temporary_path() -> io::Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!("{TEMPORARY}/{TEMPORARY_PREFIX}{:032x}", u128::from_le_bytes(random)))
}

/// The folders of a repository.
pub(super) fn folders() -> Vec<&'static str> {
    Kind::ALL.iter().map(|kind| kind.folder()).chain([TEMPORARY]).collect()
}

/// Whether a name is not that of something that may lie where a repository is made. It lives in a folder of its own: among other files, it
/// would be taken for them and they for it. What file systems put into their roots, hidden files, and the folders of a creation that was
/// interrupted do not count.
pub(super) fn is_strange(name: &str) -> bool {
    !name.starts_with('.') && !folders().contains(&name) && !USUAL.contains(&name)
}
