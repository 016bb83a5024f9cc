//! Where schedules are kept, and what keeps them: systemd or cron, the system's or a user's own.

use std::path::{Path, PathBuf};

use super::error::Error;

/// Whose schedule it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Root's, whoever is logged in.
    System,
    /// The user's own.
    User,
}

/// What runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    Systemd,
    Cron,
}

impl Scope {
    pub fn name(self) -> &'static str {
        match self {
            Scope::System => "system",
            Scope::User => "user",
        }
    }
}

impl Means {
    pub fn name(self) -> &'static str {
        match self {
            Means::Systemd => "systemd",
            Means::Cron => "cron",
        }
    }
}

/// Where things are.
#[derive(Clone, Debug)]
pub struct Places {
    /// `/`; another folder in tests.
    pub root: PathBuf,
    /// The folder of a user's units; none without a home folder.
    pub user_units: Option<PathBuf>,
    /// Where programs are looked for.
    pub search: Vec<PathBuf>,
}

impl Places {
    /// The folder of the units of a scope.
    pub(super) fn units(&self, scope: Scope) -> Option<PathBuf> {
        match scope {
            Scope::System => Some(self.root.join("etc/systemd/system")),
            Scope::User => self.user_units.clone(),
        }
    }

    /// The folder of cron that holds a file for each schedule of the system.
    pub(super) fn cron_folder(&self) -> PathBuf {
        self.root.join("etc/cron.d")
    }

    /// Whether a user's own timers run also while he is not logged in.
    pub fn lingers(&self, user: &str) -> bool {
        self.root.join("var/lib/systemd/linger").join(user).exists()
    }

    /// Whether systemd is what the machine was started with.
    pub fn has_systemd(&self) -> bool {
        self.root.join("run/systemd/system").is_dir()
    }

    /// A program by its name.
    pub(super) fn find(&self, name: &str) -> Option<PathBuf> {
        self.search.iter().map(|folder| folder.join(name)).find(|path| is_program(path))
    }

    pub(super) fn has(&self, program: &str) -> bool {
        self.find(program).is_some()
    }
}

/// Whether something there can be run.
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.is_file() && path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

/// By what means a schedule is kept: those that are wanted, or those that are here.
pub fn choose(places: &Places, scope: Scope, wanted: Option<Means>) -> Result<Means, Error> {
    let has_systemctl = places.has("systemctl");
    match wanted {
        None if places.has_systemd() && has_systemctl => Ok(Means::Systemd),
        None | Some(Means::Cron) if places.has("crontab") => match scope {
            Scope::System if !places.cron_folder().is_dir() => {
                Err(Error::NoMeans("there is no folder /etc/cron.d here; --user takes root's own crontab"))
            }
            _ => Ok(Means::Cron),
        },
        None => Err(Error::NoMeans(
            "nothing here runs programs at times: neither systemd runs, nor is there a crontab program",
        )),
        Some(Means::Systemd) if !has_systemctl => Err(Error::NoMeans("there is no systemctl program here")),
        // A system's units can be put into an image that is started later.
        Some(Means::Systemd) if scope == Scope::User && !places.has_systemd() => {
            Err(Error::NoMeans("systemd does not run here"))
        }
        Some(Means::Systemd) => Ok(Means::Systemd),
        Some(Means::Cron) => Err(Error::NoMeans("there is no crontab program here")),
    }
}
