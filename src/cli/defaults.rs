//! Where things are when nobody says so: the built-in repository, the config folder with its key, the cache. Follows the XDG rules; root has system folders.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::environment::Lookup;
use super::exit::{Code, Failure};

/// The list of accounts, read when HOME is not set.
const ACCOUNTS: &str = "/etc/passwd";

/// Root's own has the built-in repository in /var/lib/copal, in which nothing else may lie.
const STATE: Kind = Kind {
    what: "state",
    variable: "XDG_STATE_HOME",
    below_home: ".local/state/copal",
    for_root: "/var/lib/copal-state",
};

/// Whose defaults are asked for.
#[derive(Clone)]
pub struct Defaults<'a> {
    environment: Lookup<'a>,
    user_id: u32,
    accounts: PathBuf,
}

/// One kind of folder: its variable, its place below the home folder, its place for root.
struct Kind {
    what: &'static str,
    variable: &'static str,
    below_home: &'static str,
    for_root: &'static str,
}

const DATA: Kind = Kind {
    what: "repository",
    variable: "XDG_DATA_HOME",
    below_home: ".local/share/copal",
    for_root: "/var/lib/copal",
};
const CONFIG: Kind =
    Kind { what: "config", variable: "XDG_CONFIG_HOME", below_home: ".config/copal", for_root: "/etc/copal" };
const CACHE: Kind = Kind {
    what: "cache",
    variable: "XDG_CACHE_HOME",
    below_home: ".cache/copal",
    for_root: "/var/cache/copal",
};

impl<'a> Defaults<'a> {
    /// The defaults of the user who runs the process.
    pub fn new(environment: Lookup<'a>) -> Defaults<'a> {
        Defaults { environment, user_id: rustix::process::geteuid().as_raw(), accounts: ACCOUNTS.into() }
    }

    /// The built-in repository.
    pub fn repository(&self) -> Result<PathBuf, Failure> {
        self.folder(&DATA)
    }

    /// The folder for settings and the key.
    pub fn config_folder(&self) -> Result<PathBuf, Failure> {
        self.folder(&CONFIG)
    }

    /// The key file of the built-in repository (to be made with mode 0600).
    pub fn key_file(&self) -> Result<PathBuf, Failure> {
        Ok(self.config_folder()?.join("key"))
    }

    /// The folder for what is remembered of runs.
    pub fn state_folder(&self) -> Result<PathBuf, Failure> {
        self.folder(&STATE)
    }

    /// The folder for caches.
    pub fn cache_folder(&self) -> Result<PathBuf, Failure> {
        self.folder(&CACHE)
    }

    /// The home folder: HOME, or what the list of accounts says.
    pub fn home(&self) -> Option<PathBuf> {
        let absolute = |path: &PathBuf| path.is_absolute();
        (self.environment)("HOME").map(PathBuf::from).filter(absolute).or_else(|| {
            let accounts = std::fs::read(&self.accounts).ok()?;
            home_in(&accounts, self.user_id).map(Path::to_path_buf).filter(absolute)
        })
    }

    /// The folder of one kind. A relative value of its variable is ignored, as the XDG rules demand.
    fn folder(&self, kind: &Kind) -> Result<PathBuf, Failure> {
        if let Some(base) =
            (self.environment)(kind.variable).map(PathBuf::from).filter(|path| path.is_absolute())
        {
            return Ok(base.join("copal"));
        }
        if self.user_id == 0 {
            return Ok(kind.for_root.into());
        }
        self.home().map(|home| home.join(kind.below_home)).ok_or_else(|| {
            Failure::new(
                Code::Failed,
                format!("the {} folder is not known: there is no home folder", kind.what),
            )
            .with_hint(format!("set HOME or {}", kind.variable))
        })
    }
}

/// The home folder of that user in the text of a list of accounts.
fn home_in(accounts: &[u8], user_id: u32) -> Option<&Path> {
    accounts.split(|byte| *byte == b'\n').find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let number = std::str::from_utf8(fields.get(2)?).ok()?.parse::<u32>().ok()?;
        let home = fields.get(5)?;
        (number == user_id).then(|| Path::new(OsStr::from_bytes(home)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::environment::tests::given;
    use super::*;

    const LIST: &[u8] =
        b"# comment\nroot:x:0:0:root:/root:/bin/sh\n\nann:x:1000:1000:Ann,,,:/home/ann:/bin/bash\nbad:x:y\n";

    #[test]
    fn folders_follow_the_variables_then_the_home_folder() {
        let environment =
            given(&[("HOME", "/home/ann"), ("XDG_DATA_HOME", "/data"), ("XDG_CONFIG_HOME", "relative")]);
        let defaults = Defaults { environment: &environment, user_id: 1000, accounts: "/nonexistent".into() };
        assert_eq!(defaults.repository().unwrap(), Path::new("/data/copal"));
        assert_eq!(defaults.key_file().unwrap(), Path::new("/home/ann/.config/copal/key"));
        assert_eq!(defaults.cache_folder().unwrap(), Path::new("/home/ann/.cache/copal"));
    }

    #[test]
    fn system_folders_are_the_defaults_of_root() {
        let environment = given(&[("HOME", "/root")]);
        let defaults = Defaults { environment: &environment, user_id: 0, accounts: "/nonexistent".into() };
        assert_eq!(defaults.repository().unwrap(), Path::new("/var/lib/copal"));
        assert_eq!(defaults.key_file().unwrap(), Path::new("/etc/copal/key"));
        assert_eq!(defaults.cache_folder().unwrap(), Path::new("/var/cache/copal"));
        let environment = given(&[("XDG_CACHE_HOME", "/c")]);
        let defaults = Defaults { environment: &environment, ..defaults };
        assert_eq!(defaults.cache_folder().unwrap(), Path::new("/c/copal"));
    }

    #[test]
    fn without_home_the_list_of_accounts_counts() {
        assert_eq!(home_in(LIST, 1000), Some(Path::new("/home/ann")));
        assert_eq!(home_in(LIST, 7), None);
        let folder = tempfile::tempdir().unwrap();
        let accounts = folder.path().join("passwd");
        std::fs::write(&accounts, LIST).unwrap();
        let environment = given(&[]);
        let defaults = Defaults { environment: &environment, user_id: 1000, accounts };
        assert_eq!(defaults.repository().unwrap(), Path::new("/home/ann/.local/share/copal"));
        let unknown = Defaults { user_id: 7, ..defaults };
        assert!(unknown.repository().unwrap_err().hint.unwrap().contains("HOME"));
    }
}
