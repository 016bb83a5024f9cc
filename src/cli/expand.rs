//! Patterns among the lines of `--files-from`, expanded to the paths that are there now.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::exit::{Code, Failure};
use crate::patterns::{Patterns, PatternsBuilder};
use crate::terminal::escape::escape;

/// One component of a pattern.
enum Part {
    Name(Vec<u8>),
    Pattern(Box<Patterns>),
    /// `**`: any number of folders.
    Span,
}

/// The paths that a line means: itself, when it holds nothing special or is there as it stands, and whatever it matches as a
/// pattern. None when nothing is there.
pub fn expand(line: &[u8]) -> Result<Vec<OsString>, Failure> {
    if !line.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\')) {
        return Ok(vec![OsString::from_vec(line.to_vec())]);
    }
    let mut found: Vec<PathBuf> = Vec::new();
    if std::fs::symlink_metadata(OsStr::from_bytes(line)).is_ok() {
        found.push(PathBuf::from(OsStr::from_bytes(line)));
    }
    let components = line.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let parts: Vec<Part> = components.map(part).collect::<Result<_, _>>()?;
    let start = if line.starts_with(b"/") { "/" } else { "." };
    descend(Path::new(start), &parts, &mut found)?;
    found.sort();
    found.dedup();
    Ok(found.into_iter().map(PathBuf::into_os_string).collect())
}

fn part(component: &[u8]) -> Result<Part, Failure> {
    if component == b"**" {
        return Ok(Part::Span);
    }
    if !component.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\')) {
        return Ok(Part::Name(component.to_vec()));
    }
    let mut builder = PatternsBuilder::new(None);
    // In a path neither of the two means anything.
    let plain = matches!(component.first(), Some(b'!' | b'~'));
    let pattern = if plain { [b"\\", component].concat() } else { component.to_vec() };
    let bad = |error: crate::patterns::PatternError| Failure::usage(error.to_string());
    builder.add(&pattern, false).map_err(bad)?;
    Ok(Part::Pattern(Box::new(builder.build().map_err(bad)?)))
}

/// Adds what the parts match below `folder`.
fn descend(folder: &Path, parts: &[Part], found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let Some((first, rest)) = parts.split_first() else {
        found.push(folder.to_path_buf());
        return Ok(());
    };
    match first {
        Part::Name(name) => {
            let path = folder.join(OsStr::from_bytes(name));
            if std::fs::symlink_metadata(&path).is_ok() { descend(&path, rest, found) } else { Ok(()) }
        }
        Part::Pattern(pattern) => {
            for entry in list(folder)? {
                if pattern.matches(entry.file_name().as_bytes(), true) {
                    descend(&entry.path(), rest, found)?;
                }
            }
            Ok(())
        }
        Part::Span => {
            // At the end it means everything below, which the folders themselves hold.
            if !rest.is_empty() {
                descend(folder, rest, found)?;
            }
            for entry in list(folder)? {
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if rest.is_empty() {
                    found.push(entry.path());
                } else if is_folder {
                    descend(&entry.path(), parts, found)?;
                }
            }
            Ok(())
        }
    }
}

/// The entries of a folder; none of what is none. One that can not be listed is an error: it may hold what is meant.
fn list(folder: &Path) -> Result<Vec<std::fs::DirEntry>, Failure> {
    use std::io::ErrorKind as Why;
    match std::fs::read_dir(folder).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>()) {
        Err(error) if matches!(error.kind(), Why::NotFound | Why::NotADirectory) => Ok(Vec::new()),
        Err(error) => {
            let shown = escape(folder.as_os_str().as_bytes()).into_owned();
            Err(Failure::new(Code::Failed, format!("{shown} can not be listed: {error}")))
        }
        Ok(entries) => Ok(entries),
    }
}
