//! Where a repository lies, as a user writes it.

use std::path::PathBuf;

use super::Error;

/// The scheme of a server that is copal's own.
pub(super) const SERVED: &str = "copal+ssh";

/// A place of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder of this machine.
    Folder(PathBuf),
    /// A folder of another machine, by `ssh`: what stands after `sftp:`.
    Sftp(String),
    /// A folder of another machine that copal serves there, by `ssh`: what stands after `copal+ssh:`.
    Served(String),
    /// A bucket, or a part of one, of an object store: what stands after `s3:`.
    S3(String),
}

impl Location {
    /// Reads a location: `sftp:HOST:PATH` or `sftp://USER@HOST:PORT/PATH`, the same behind `copal+ssh:`,
    /// `s3:https://ENDPOINT/BUCKET/PREFIX`, else the path of a folder (which need not exist; one whose name looks like a URL can be given as
    /// `./sftp:...`).
    ///
    /// Errors: `Unsupported` for an empty one and for other URLs, of which only the scheme is told, as the rest may hold a password.
    pub fn parse(text: &str) -> Result<Location, Error> {
        if text.is_empty() {
            return Err(Error::Unsupported {
                object: "\"\"".to_owned(),
                reason: "is not a location".to_owned(),
            });
        }
        match scheme(text) {
            None => Ok(Location::Folder(PathBuf::from(text))),
            Some(("sftp", rest)) => Ok(Location::Sftp(rest.to_owned())),
            Some((SERVED, rest)) => Ok(Location::Served(rest.to_owned())),
            Some(("s3", rest)) => Ok(Location::S3(rest.to_owned())),
            Some((scheme, _)) => Err(Error::Unsupported {
                object: format!("{scheme}:"),
                reason: "is not a kind of storage that is known here: give a folder, sftp:HOST:PATH, copal+ssh://HOST/PATH or s3:https://ENDPOINT/BUCKET"
                    .to_owned(),
            }),
        }
    }
}

/// The scheme and the rest of what is not a path: `sftp:`, `copal+ssh:` and `s3:` always, any other word before `://`.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let known = matches!(scheme, "sftp" | SERVED | "s3");
    let word = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+');
    (known || (word && rest.starts_with("//"))).then_some((scheme, rest))
}
