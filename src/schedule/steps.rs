//! What is to be done, one step after the other, and doing it. Files are whole or not there; a crontab is written only while it is what was
//! looked at.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::cron;
use super::error::Error;
use super::places::Places;
use crate::terminal::escape::escape;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A file gets that content.
    Write { path: PathBuf, content: String },
    /// A file goes.
    Remove { path: PathBuf },
    /// The user's crontab becomes another.
    Crontab { before: Option<Vec<u8>>, after: Vec<u8> },
    /// A program is run.
    Run(Vec<String>),
}

/// Everything of a program that ended.
pub struct Said {
    pub is_good: bool,
    pub out: Vec<u8>,
    /// Its first line of complaint, or how it ended.
    pub complaint: String,
    pub err: Vec<u8>,
}

/// Runs a program and waits for it; it talks English and in universal time, and `crontab` leaves nothing out.
pub fn run(words: &[&str], input: Option<&[u8]>) -> Result<Said, Error> {
    let (program, rest) = words.split_first().unwrap_or((&"", &[]));
    let failed = |error: std::io::Error| Error::Program { command: words.join(" "), said: error.to_string() };
    let mut command = Command::new(program);
    command
        .args(rest)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env("SYSTEMD_COLORS", "0")
        .env("CRONTAB_NOHEADER", "N");
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    // Whoever does not read it says so by how it ends.
    let _ = child.stdin.take().zip(input).map(|(mut stdin, input)| stdin.write_all(input));
    let output = child.wait_with_output().map_err(failed)?;
    let first = output.stderr.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty());
    let complaint = match first {
        Some(line) => escape(line.trim_ascii()).into_owned(),
        None => output.status.to_string(),
    };
    Ok(Said { is_good: output.status.success(), out: output.stdout, complaint, err: output.stderr })
}

/// The same, when it is an error that it fails.
pub fn must(words: &[&str], input: Option<&[u8]>) -> Result<Vec<u8>, Error> {
    let said = run(words, input)?;
    if said.is_good {
        Ok(said.out)
    } else {
        Err(Error::Program { command: words.join(" "), said: said.complaint })
    }
}

/// Does all of it, up to what fails.
pub fn execute(places: &Places, steps: &[Step]) -> Result<(), Error> {
    for step in steps {
        match step {
            Step::Write { path, content } => write(path, content)?,
            Step::Remove { path } => std::fs::remove_file(path).map_err(Error::io(path, "removed"))?,
            Step::Crontab { before, after } => cron::replace(places, before.as_deref(), after)?,
            Step::Run(words) => {
                must(&words.iter().map(String::as_str).collect::<Vec<_>>(), None)?;
            }
        }
    }
    Ok(())
}

/// Writes a file that everybody may read, and the folders above it: beside it first, then in its place.
fn write(path: &Path, content: &str) -> Result<(), Error> {
    let failed = || Error::io(path, "written");
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(Error::io(folder, "made"))?;
    // Neither systemd nor cron looks at such a name.
    let beside = folder.join(format!(".{}.{}~", name.to_string_lossy(), std::process::id()));
    let written = || {
        let mut options = std::fs::OpenOptions::new();
        let _ = std::fs::remove_file(&beside);
        let mut file = options.write(true).create_new(true).mode(0o644).open(&beside)?;
        // Whatever mask the shell has: units are for all to read, and cron takes none that others may write.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        std::fs::File::open(folder)?.sync_all()
    };
    written().map_err(|error| {
        let _ = std::fs::remove_file(&beside);
        failed()(error)
    })
}
