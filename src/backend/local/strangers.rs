//! What lies in a folder that is no repository's.

use crate::backend::Error;

/// A repository lives in a folder of its own: among other files, it would be taken for them and they for it. What file systems put
/// into their roots, hidden files, and the folders of a creation that was interrupted do not count.
pub(super) fn refuse(folder: &str, own: &[&str]) -> Result<(), Error> {
    let names = match std::fs::read_dir(folder) {
        Ok(entries) => entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()),
        // Not there yet, or told when the folders are made.
        Err(_) => return Ok(()),
    };
    let usual = ["lost+found", "System Volume Information", "$RECYCLE.BIN"];
    let mut strange = names.filter(|name| {
        !name.starts_with('.') && !own.contains(&name.as_str()) && !usual.contains(&name.as_str())
    });
    match strange.next() {
        None => Ok(()),
        Some(name) => {
            Err(Error::Occupied { object: folder.to_owned(), name: name.escape_debug().to_string() })
        }
    }
}
