//! Files with secrets that a profile names: nobody else may be able to read them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::failure;
use crate::cli::exit::{Code, Failure};
use crate::profile::{Entry, Error};

/// Options whose files hold a secret.
const SECRET: [&str; 2] = ["password-file", "key-file"];
/// All others may read.
const READABLE_BY_ALL: u32 = 0o004;

/// Refuses a password or key file that every user of the machine can read. One that is not there is told when it is needed.
pub fn refuse_readable(option: &str, path: &Path, entry: &Entry) -> Result<(), Failure> {
    if !SECRET.contains(&option) {
        return Ok(());
    }
    let Ok(about) = std::fs::metadata(path) else { return Ok(()) };
    if about.is_file() && about.permissions().mode() & READABLE_BY_ALL != 0 {
        let message = format!("{} can be read by every user of this machine", path.display());
        let refused = failure(&Error::wrong(&entry.place, message));
        return Err(
            Failure { code: Code::Refused, ..refused }.with_hint(format!("chmod 600 {}", path.display()))
        );
    }
    Ok(())
}
