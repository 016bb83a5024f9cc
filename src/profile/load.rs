//! Finding profiles and reading them, with what they inherit. Nobody else may be able to write in one: it says what is run.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::inherit::{finish, under};
use super::read::read;
use super::{Error, Profile, Section};

/// The longest profile.
const BYTES_MAX: u64 = 1 << 20;
/// How many a profile may inherit from, one after the other.
const DEPTH_MAX: usize = 16;
/// How a profile's file ends.
const EXTENSION: &str = "toml";
/// Bits of a mode: those of the group or of all others may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Where profiles lie, the one that counts first.
#[derive(Clone, Debug)]
pub struct Folders(pub Vec<PathBuf>);

/// Whether a profile may be called that.
pub fn is_name(name: &str) -> bool {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    !name.is_empty() && name.len() <= 64 && name.chars().all(allowed) && !name.starts_with(['.', '-'])
}

/// The names of all profiles and their files, in order; one in an earlier folder hides its namesakes.
pub fn list(folders: &Folders) -> Result<Vec<(String, PathBuf)>, Error> {
    let mut found: Vec<(String, PathBuf)> = Vec::new();
    for folder in &folders.0 {
        let unreadable =
            |error: std::io::Error| Error::Unreadable { file: folder.clone(), message: error.to_string() };
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            // What lies there is for others: the system's may be root's alone.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
                continue;
            }
            Err(error) => return Err(unreadable(error)),
        };
        for entry in entries {
            let path = entry.map_err(unreadable)?.path();
            let name = path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| is_name(stem));
            let Some(name) = name else { continue };
            let is_profile =
                path.extension().is_some_and(|extension| extension == EXTENSION) && path.is_file();
            if is_profile && found.iter().all(|(other, _)| other != name) {
                found.push((name.to_owned(), path));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn find(folders: &Folders, name: &str) -> Result<PathBuf, Error> {
    let missing = || -> Result<Error, Error> {
        let others = list(folders)?.into_iter().map(|(name, _)| name).collect();
        Ok(Error::Missing { name: name.to_owned(), folders: folders.0.clone(), others })
    };
    if !is_name(name) {
        return Err(missing()?);
    }
    let files = folders.0.iter().map(|folder| folder.join(format!("{name}.{EXTENSION}")));
    match files.into_iter().find(|file| file.symlink_metadata().is_ok()) {
        Some(file) => Ok(file),
        None => Err(missing()?),
    }
}

/// Reads the profile of that name. One with a slash is a file.
pub fn load(folders: &Folders, name: &str) -> Result<Profile, Error> {
    if name.contains('/') {
        return load_file(folders, Path::new(name));
    }
    let file = find(folders, name)?;
    let top = whole(folders, &file, &mut Vec::new())?;
    Ok(Profile { name: name.to_owned(), file, top })
}

/// Reads the profile in that file; its name is the file's.
pub fn load_file(folders: &Folders, file: &Path) -> Result<Profile, Error> {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).filter(|stem| is_name(stem));
    let name = stem.ok_or_else(|| Error::Unreadable {
        file: file.to_owned(),
        message: "a profile's file is called NAME.toml, with letters, digits, - and _ in its name".to_owned(),
    })?;
    let file = std::path::absolute(file)
        .map_err(|error| Error::Unreadable { file: file.to_owned(), message: error.to_string() })?;
    let top = whole(folders, &file, &mut Vec::new())?;
    Ok(Profile { name: name.to_owned(), file, top })
}

/// A file with all that it inherits; `above` are those that inherit from it.
fn whole(folders: &Folders, file: &Path, above: &mut Vec<PathBuf>) -> Result<Section, Error> {
    let mut own = read(file, &text(file)?)?;
    above.push(file.to_owned());
    if let Some(entry) = own.entries.remove("inherit") {
        // The last one named counts most.
        for name in entry.words("inherit")?.into_iter().rev() {
            let from = find(folders, name).map_err(|error| Error::wrong(&entry.place, error.to_string()))?;
            if above.contains(&from) || above.len() >= DEPTH_MAX {
                return Err(Error::wrong(&entry.place, format!("{name} inherits from itself")));
            }
            under(&mut own, &whole(folders, &from, above)?);
        }
    }
    above.pop();
    if above.is_empty() {
        finish(&mut own);
    }
    Ok(own)
}

fn text(file: &Path) -> Result<String, Error> {
    let unreadable = |message: String| Error::Unreadable { file: file.to_owned(), message };
    let open = File::open(file).map_err(|error| unreadable(error.to_string()))?;
    refuse_foreign(file, &open)?;
    let mut bytes = Vec::new();
    open.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(unreadable("is too long for a profile".to_owned()));
    }
    String::from_utf8(bytes).map_err(|_| unreadable("is not UTF-8".to_owned()))
}

/// A profile has commands that are run: only its user and root may be able to write it, or to put another in its place.
fn refuse_foreign(file: &Path, open: &File) -> Result<(), Error> {
    let unreadable =
        |error: std::io::Error| Error::Unreadable { file: file.to_owned(), message: error.to_string() };
    let user = rustix::process::geteuid().as_raw();
    let about = open.metadata().map_err(unreadable)?;
    if !about.is_file() {
        return Err(Error::Unreadable { file: file.to_owned(), message: "is no file".to_owned() });
    }
    let unsafe_file = |message: String| Error::Unsafe { file: file.to_owned(), message };
    if about.uid() != 0 && about.uid() != user {
        return Err(unsafe_file(format!(
            "belongs to another user (number {}), who could have any command run",
            about.uid()
        )));
    }
    if about.permissions().mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(unsafe_file(
            "can be written by others, who could have any command run: chmod go-w it".into(),
        ));
    }
    let real = std::fs::canonicalize(file).map_err(unreadable)?;
    let Some(folder) = real.parent() else { return Ok(()) };
    let about = std::fs::metadata(folder).map_err(unreadable)?;
    let mode = about.permissions().mode();
    if mode & WRITABLE_BY_OTHERS != 0 && mode & STICKY == 0 {
        return Err(unsafe_file("lies in a folder in which others can put another file in its place".into()));
    }
    Ok(())
}
