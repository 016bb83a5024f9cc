//! Passwords and keys: from a key file, a password file, a command, the environment, or a person at a terminal. Never printed, wiped after use.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use super::exit::{Code, Failure};
use crate::files::make::rename_new;
use crate::terminal::escape::{escape, path as shown};

/// The longest password, password file or key file that is read.
const SECRET_BYTES_MAX: usize = 64 << 10;
/// What to set where nobody can be asked.
const VARIABLES: &str = "set COPAL_PASSWORD_FILE, COPAL_PASSWORD_COMMAND, COPAL_KEY_FILE or COPAL_PASSWORD,\nor use --password-file, --password-command or --key-file";

/// Secret bytes; wiped when dropped, and not shown by `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Secret {
        Secret(Zeroizing::new(bytes))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Only the first line, without its end.
    fn first_line(self) -> Secret {
        let line = self.0.split(|byte| *byte == b'\n').next().unwrap_or_default();
        Secret::new(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
    }
}

impl From<OsString> for Secret {
    fn from(value: OsString) -> Secret {
        Secret::new(value.into_vec())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// What opens a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    Password(Secret),
    /// The text of a key file.
    KeyFile {
        path: PathBuf,
        text: Secret,
    },
    /// A key file that is still to be made (`write_key_file`); only when a new secret is wanted.
    NewKeyFile {
        path: PathBuf,
    },
}

/// Where the secret is to come from; the first one that is there counts, and without any a person is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'a> {
    pub key_file: Option<&'a Path>,
    pub password_file: Option<&'a Path>,
    pub password_command: Option<&'a OsStr>,
    pub password: Option<&'a Secret>,
}

impl Origin<'_> {
    /// Whether nothing was said about where the secret comes from.
    pub fn is_empty(&self) -> bool {
        self.key_file.is_none()
            && self.password_file.is_none()
            && self.password_command.is_none()
            && self.password.is_none()
    }
}

/// What the secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To open what is there.
    Open,
    /// To lock something new: a person types it twice, and a key file need not exist yet.
    New,
}

/// Someone who can be asked for a password.
pub trait Ask {
    /// Whether anyone is there.
    fn is_possible(&self) -> bool;
    /// Asks, without showing what is typed.
    fn ask(&self, prompt: &str) -> io::Result<Secret>;
}

/// The person at the terminal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terminal;

impl Ask for Terminal {
    fn is_possible(&self) -> bool {
        let attached = io::stdin().is_terminal() || io::stderr().is_terminal();
        attached && File::options().read(true).write(true).open("/dev/tty").is_ok()
    }

    fn ask(&self, prompt: &str) -> io::Result<Secret> {
        rpassword::prompt_password(prompt).map(|typed| Secret::new(typed.into_bytes()))
    }
}

/// Gets the secret; `warn` is told what is unwise about where it is kept. A failure has exit code 12.
pub fn obtain(
    origin: Origin<'_>,
    purpose: Purpose,
    asked: &dyn Ask,
    warn: &mut dyn FnMut(String),
) -> Result<Credential, Failure> {
    if let Some(path) = origin.key_file {
        return match read(path, warn) {
            Ok(text) => Ok(Credential::KeyFile { path: path.into(), text }),
            Err(error) if error.kind() == ErrorKind::NotFound && purpose == Purpose::New => {
                Ok(Credential::NewKeyFile { path: path.into() })
            }
            Err(error) => Err(unusable(&format!("key file {}", shown(path)), &error)),
        };
    }
    let (password, from) = if let Some(path) = origin.password_file {
        let from = format!("password file {}", shown(path));
        (read(path, warn).map_err(|error| unusable(&from, &error))?.first_line(), from)
    } else if let Some(command) = origin.password_command {
        let from = format!("password command '{}'", escape(command.as_bytes()));
        (run(command).map_err(|error| unusable(&from, &error))?.first_line(), from)
    } else if let Some(password) = origin.password {
        (password.clone(), "COPAL_PASSWORD".to_owned())
    } else {
        (ask(purpose, asked)?, "what was typed".to_owned())
    };
    if password.bytes().is_empty() {
        return Err(Failure::new(Code::WrongKey, format!("an empty password is not accepted ({from})")));
    }
    Ok(Credential::Password(password))
}

/// Makes a key file with mode 0600, and the folders above it with 0700; never replaces a file. It is there whole, and stays when the power
/// goes, or it is not there: a run that is cut off must not leave half a key where the next one looks for a whole one.
pub fn write_key_file(path: &Path, text: &[u8]) -> Result<(), Failure> {
    let attempt = || -> io::Result<()> {
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        make_folders(folder)?;
        let folder = File::open(folder)?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let beside = format!(".copal-{:032x}.tmp", u128::from_le_bytes(random));
        let made = path.with_file_name(&beside);
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&made)?;
        let named = file
            .write_all(text)
            .and_then(|()| file.sync_all())
            .and_then(|()| Ok(rename_new(folder.as_fd(), beside.as_bytes(), name.as_bytes())?));
        if let Err(error) = named {
            let _ = std::fs::remove_file(&made);
            return Err(error);
        }
        folder.sync_all()
    };
    attempt().map_err(|error| {
        Failure::new(Code::Failed, format!("cannot make the key file {}: {error}", shown(path)))
    })
}

/// Makes a folder and those above it that are missing, each durable in the one above.
fn make_folders(folder: &Path) -> io::Result<()> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<&Path> = folder.ancestors().take_while(is_missing).collect();
    for path in missing.into_iter().rev() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(above)?.sync_all()?;
    }
    Ok(())
}

/// Asks a person, twice for something new.
fn ask(purpose: Purpose, asked: &dyn Ask) -> Result<Secret, Failure> {
    if !asked.is_possible() {
        let message = "a password or key is needed, and there is no terminal to ask on";
        return Err(Failure::new(Code::WrongKey, message).with_hint(VARIABLES));
    }
    let once = |prompt| asked.ask(prompt).map_err(|error| unusable("terminal", &error));
    if purpose == Purpose::Open {
        return once("Password of the repository: ");
    }
    let first = once("New password: ")?;
    if first.bytes().is_empty() || once("New password again: ")? == first {
        return Ok(first);
    }
    Err(Failure::new(Code::WrongKey, "the two passwords differ"))
}

/// Reads a file that holds a secret.
fn read(path: &Path, warn: &mut dyn FnMut(String)) -> io::Result<Secret> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if about.is_file() && about.permissions().mode() & 0o004 != 0 {
        warn(format!("{} can be read by every user of this machine; chmod 600 it", shown(path)));
    }
    read_bounded(file)
}

/// Reads to the end, with no copies left behind.
fn read_bounded(from: impl Read) -> io::Result<Secret> {
    // One byte more than allowed tells that it is too long; the room is made first, since growing leaves copies.
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 1));
    from.take(SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > SECRET_BYTES_MAX {
        return Err(io::Error::other(format!("longer than {SECRET_BYTES_MAX} bytes")));
    }
    Ok(Secret(bytes))
}

/// Runs a command and takes what it prints.
fn run(command: &OsStr) -> io::Result<Secret> {
    // The command may ask a person, but never eats what is being backed up from standard input.
    let input = if io::stdin().is_terminal() { Stdio::inherit() } else { Stdio::null() };
    let mut child = Command::new("sh").arg("-c").arg(command).stdin(input).stdout(Stdio::piped()).spawn()?;
    let printed = child.stdout.take().map_or_else(|| Ok(Secret::new(Vec::new())), read_bounded);
    let status = child.wait()?;
    let printed = printed?;
    if status.success() { Ok(printed) } else { Err(io::Error::other(format!("it failed ({status})"))) }
}

/// A secret that cannot be had.
fn unusable(from: &str, error: &io::Error) -> Failure {
    Failure::new(Code::WrongKey, format!("cannot get the password or key from the {from}: {error}"))
}

#[cfg(test)]
mod tests;
