//! The folder where it is mounted: what is wrong with it is said before anything is asked, and it is freed when this program ends, also
//! when that is by `kill -9`.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::Error;

/// What the kernel offers file systems in user space through.
const DEVICE: &str = "/dev/fuse";
/// What mounts for users who are not root.
const HELPERS: [&str; 2] = ["fusermount3", "fusermount"];
/// Waits until the program has ended; frees the folder if it had no time to do that itself, and only when nobody answers there. The
/// kernel may answer for a moment from what it kept.
const FREE: &str = r#"read -r done && exit
n=0
while test -e "$1"; do
    n=$((n + 1))
    test "$n" -gt 50 && exit
    sleep 0.1
done
fusermount3 -u -q -z -- "$1" || fusermount -u -q -z -- "$1" || umount -l -- "$1""#;

fn io(error: &std::io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}

/// A path as a person can type it again.
fn shown(path: &Path) -> String {
    crate::terminal::shell::word(path.as_os_str().as_bytes())
}

/// The folder at `path`, when something can be mounted there.
pub fn check(path: &Path) -> Result<PathBuf, Error> {
    let text = path.display();
    let usage = |what: String| Error::Place { what, hint: None };
    let found = std::fs::metadata(path).map_err(|error| match io(&error) {
        Some(Errno::NOENT) => usage(format!("{text}: there is no such folder to mount on")),
        Some(Errno::NOTCONN | Errno::CONNABORTED) => Error::Stale {
            what: format!("{text}: something was mounted here, and the program behind it is gone"),
            hint: format!("Free it: fusermount3 -u {}", shown(path)),
        },
        _ => usage(format!("{text}: {error}")),
    })?;
    if !found.is_dir() {
        return Err(usage(format!("{text} is no folder")));
    }
    let whole = path.canonicalize().map_err(|error| usage(format!("{text}: {error}")))?;
    let mut entries = std::fs::read_dir(&whole).map_err(|error| usage(format!("{text}: {error}")))?;
    if entries.next().is_some() {
        return Err(Error::Place {
            what: format!("{text} is not empty"),
            hint: Some(
                "Mount on an empty folder. If something is mounted there: fusermount3 -u FOLDER".to_owned(),
            ),
        });
    }
    Ok(whole)
}

/// Whether there is what it takes to mount anything.
pub fn check_system() -> Result<(), Error> {
    let missing = |what: &str, hint: &str| Error::System { what: what.to_owned(), hint: hint.to_owned() };
    match std::fs::File::options().read(true).write(true).open(DEVICE) {
        Ok(_) => {}
        Err(error) if io(&error) == Some(Errno::NOENT) => {
            return Err(missing(
                "there is no /dev/fuse: this system can not mount anything for a program",
                "Load it: modprobe fuse. In a container it has to be passed in: --device /dev/fuse --cap-add SYS_ADMIN",
            ));
        }
        Err(error) if io(&error) == Some(Errno::ACCESS) => {
            return Err(missing(
                "/dev/fuse can not be opened: permission denied",
                "Everybody may read and write it on most systems: chmod 666 /dev/fuse",
            ));
        }
        Err(error) => {
            return Err(missing(&format!("/dev/fuse can not be opened: {error}"), "Load it: modprobe fuse"));
        }
    }
    if rustix::process::geteuid().is_root() || HELPERS.iter().any(|helper| is_installed(helper)) {
        return Ok(());
    }
    Err(missing("fusermount3 is not installed", "It comes with the package fuse3: apt install fuse3"))
}

fn is_installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let also = ["/sbin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&paths).chain(also).any(|folder| folder.join(program).is_file())
}

/// What went wrong when it was mounted, for a person.
pub fn refused(place: &Path, error: &std::io::Error) -> Error {
    let text = error.to_string();
    let text = text.trim().trim_start_matches("fusermount3: ").trim_start_matches("fusermount: ");
    let line = text.lines().next().unwrap_or_default();
    let hint = match () {
        () if line.contains("user_allow_other") => {
            "Write a line user_allow_other into /etc/fuse.conf, as root. Or mount as root."
        }
        () if line.contains("Permission denied") || line.contains("Operation not permitted") => {
            "The folder has to be your own, and in a container mounting has to be allowed (--cap-add SYS_ADMIN)."
        }
        () => "",
    };
    let what = format!("{} can not be mounted on: {line}", place.display());
    Error::System { what, hint: hint.to_owned() }
}

/// Takes it away from its place although somebody uses it: for them it is gone when this program ends.
pub fn detach(place: &Path) {
    let _ = rustix::mount::unmount(place, UnmountFlags::DETACH);
}

/// A process that frees the place when this one is gone.
pub struct Guard(Option<Child>);

impl Guard {
    /// Begins before anything is mounted, so that it holds nothing of it. Where it can not be had, the place has to be freed by hand.
    pub fn new(place: &Path) -> Guard {
        let mut command = Command::new("sh");
        command.args([OsStr::new("-c"), OsStr::new(FREE), OsStr::new("sh"), place.as_os_str()]);
        // In a group of its own: an interrupt from the keyboard is for this program.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Guard(command.current_dir("/").spawn().ok())
    }
}

impl Drop for Guard {
    /// Nothing is to be freed any more.
    fn drop(&mut self) {
        let Some(mut child) = self.0.take() else { return };
        if let Some(mut input) = child.stdin.take() {
            let _ = input.write_all(b"done\n");
        }
        let _ = child.wait();
    }
}
