//! The program that a schedule runs: by which path, and whether that path will still be good in a year.

use std::path::{Component, Path, PathBuf};

use super::error::Error;
use super::places::Scope;

/// The path by which a schedule runs this program: the one by which it is found in the `search` folders (a link that an upgrade moves stays
/// right), else the file itself.
pub fn program(search: &[PathBuf]) -> Result<PathBuf, Error> {
    let running = std::env::current_exe().map_err(Error::NoProgram)?;
    let Some(name) = running.file_name() else { return Ok(running) };
    let found = search.iter().filter(|folder| folder.is_absolute()).map(|folder| folder.join(name));
    let same = |path: &PathBuf| std::fs::canonicalize(path).is_ok_and(|real| real == running);
    Ok(found.into_iter().find(same).unwrap_or(running))
}

/// Why a program there may not be run, or be another one some day.
pub fn doubt(program: &Path, scope: Scope) -> Option<&'static str> {
    let names: Vec<&str> = program
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    if names.windows(2).any(|pair| matches!(pair, ["target", "debug" | "release"])) {
        return Some("lies in a build folder, whose contents change");
    }
    match names[..] {
        ["tmp", ..] | ["var", "tmp", ..] | ["dev" | "run", ..] => Some("lies in a folder that is emptied"),
        ["home" | "root", ..] if scope == Scope::System => {
            Some("lies in a home folder: whoever may write there decides what root runs")
        }
        _ => None,
    }
}

/// A path or value as a unit and a crontab can hold it: no quotes, nothing that either of them replaces.
pub fn sayable(path: &Path) -> Result<&str, Error> {
    let is_plain = |character: char| !character.is_control() && !"\"'\\`$%".contains(character);
    path.to_str()
        .filter(|text| text.chars().all(is_plain))
        .ok_or_else(|| Error::Unsayable(path.to_path_buf()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_do_not_last_are_named() {
        for (path, system, user) in [
            ("/usr/bin/copal", false, false),
            ("/opt/copal 1/bin/copal", false, false),
            ("/home/ann/bin/copal", true, false),
            ("/home/ann/copal/target/release/copal", true, true),
            ("/tmp/copal", true, true),
            ("/var/tmp/x/copal", true, true),
            ("/srv/target/copal", false, false),
        ] {
            assert_eq!(doubt(Path::new(path), Scope::System).is_some(), system, "{path}");
            assert_eq!(doubt(Path::new(path), Scope::User).is_some(), user, "{path}");
        }
    }

    #[test]
    fn paths_that_would_be_read_as_something_else_are_refused() {
        assert_eq!(sayable(Path::new("/opt/my tools/é+copal")).unwrap(), "/opt/my tools/é+copal");
        for path in ["/a%h/copal", "/a$x/copal", "/a'b", "/a\"b", "/a\\b", "/a\nb", "/a`b"] {
            assert!(sayable(Path::new(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn the_program_that_runs_is_found() {
        let running = std::env::current_exe().unwrap();
        assert_eq!(program(&[]).unwrap(), running);
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join(running.file_name().unwrap());
        std::os::unix::fs::symlink(&running, &link).unwrap();
        assert_eq!(program(&["relative".into(), folder.path().into()]).unwrap(), link);
    }
}
