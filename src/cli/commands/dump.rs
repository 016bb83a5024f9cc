//! `copal dump`: a file of a snapshot to standard output, or a folder as an archive.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::arguments::{Archive, Dump};
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::wanted::{self as meant, Meant};
use crate::cli::{select, signals};
use crate::dump::{self, Dumped, Failed, Kind, Work};
use crate::model::{Id, Node, NodeType, joined};
use crate::repository::Repository;
use crate::repository::session::reading;
use crate::repository::snapshots::Named;
use crate::terminal::escape::escape;
use crate::terminal::json::OutputError;
use crate::terminal::size::{agree, show_count, show_size};

/// Bytes that are passed on at a time.
const PASSED_ON: usize = 64 << 10;

/// Standard output.
struct Standard<'c>(&'c Context<'c>);

impl Write for Standard<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.out.write(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(OutputError::Closed) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(OutputError::Io(error)) => Err(error),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is there under its name only when it is whole.
struct Target {
    path: PathBuf,
    folder: File,
    temporary: PathBuf,
    file: File,
    is_done: bool,
}

impl Target {
    fn make(path: &Path) -> Result<Target, Failure> {
        let wrong = |error: io::Error| Failure::new(Code::Failed, format!("{}: {error}", path.display()));
        if path.symlink_metadata().is_ok() {
            return Err(Failure::new(Code::Refused, format!("{} is there already", path.display()))
                .with_hint("It was left as it is. Name a file that is not there yet."));
        }
        let above = match path.parent() {
            Some(above) if !above.as_os_str().is_empty() => above,
            _ => Path::new("."),
        };
        if path.file_name().is_none() {
            return Err(Failure::usage(format!("{} is no name for a file", path.display())));
        }
        let folder = File::open(above).map_err(wrong)?;
        let number: [u8; 8] =
            crate::crypto::random().map_err(|error| Failure::new(Code::Failed, error.to_string()))?;
        let temporary = above.join(format!(".copal-dump-{:016x}", u64::from_le_bytes(number)));
        // Only for its owner: nobody else's rights are known of it.
        let file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(wrong)?;
        Ok(Target { path: path.to_owned(), folder, temporary, file, is_done: false })
    }

    /// Gives it its name, once it is on the disk.
    fn finish(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        let name = |path: &Path| path.file_name().unwrap_or_default().as_bytes().to_vec();
        crate::files::rename_new(self.folder.as_fd(), &name(&self.temporary), &name(&self.path))?;
        self.is_done = true;
        self.folder.sync_all()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.is_done {
            // What is left behind then is small trouble, under a name that says whose it is.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// What is dumped.
enum What {
    /// `has_lost`: a repair marked entries of that very folder as lost.
    Folder {
        tree: Id,
        has_lost: bool,
    },
    Entry(Box<Node>),
}

#[derive(Serialize)]
struct Summary {
    snapshot_id: String,
    total_files: u64,
    total_bytes: u64,
    left_out: u64,
}

fn look(repository: &Repository, named: &Named, names: &[Vec<u8>], path: &[u8]) -> Result<What, Failure> {
    if names.is_empty() {
        return Ok(What::Folder { tree: named.snapshot.root, has_lost: false });
    }
    let slices: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let shown = escape(path);
    let node =
        repository.find_node(named.snapshot.root, &slices).map_err(|error| failure(&error))?.ok_or_else(
            || Failure::new(Code::Failed, format!("snapshot {} holds no {shown}", named.name.short())),
        )?;
    match (node.kind, node.tree) {
        (NodeType::Directory, Some(tree)) => Ok(What::Folder { tree, has_lost: node.has_lost_entries() }),
        (NodeType::Unreadable, _) => {
            let why = match node.has_lost_entries() {
                true => "was lost, and a repair marked it".to_owned(),
                false => {
                    format!("was not read: {}", node.error.map_or("could not be read", |error| error.words()))
                }
            };
            Err(Failure::new(Code::Failed, format!("{shown} {why}")).with_hint("Try an earlier snapshot."))
        }
        _ => Ok(What::Entry(Box::new(node))),
    }
}

/// What a dump that ended early means.
fn ended(failed: Failed) -> Failure {
    match failed {
        Failed::Output(error) => Failure::from(OutputError::from(error)),
        Failed::Read(path, error) => {
            let failure = failure(&error);
            if error.is_damage() {
                let message = format!("{}: {}", escape(&path), failure.message);
                let code = if error.is_of_later_version() { failure.code } else { Code::Damaged };
                return Failure { code, message, ..failure }
                    .with_hint("The output is cut off there. See what else is hit: copal check --read-data");
            }
            failure
        }
    }
}

/// Writes what is wanted.
fn write(
    context: &Context<'_>,
    repository: &Repository,
    wanted: &Dump,
    (named, what, path): (&Named, &What, &[u8]),
    out: &mut dyn Write,
) -> Result<Dumped, Failed> {
    let stop = signals::stop();
    let kind = wanted.archive.map(|archive| match archive {
        Archive::Tar => Kind::Tar,
        Archive::Zip => Kind::Zip,
    });
    let mut left_out =
        |path: &[u8], what: &str| context.warn(&format!("not in the archive: {}: {what}", escape(path)));
    let is_repaired = named.snapshot.stands_for.is_some();
    let mut work = Work { repository, stop, base: path, is_repaired, left_out: &mut left_out };
    let mut out = BufWriter::with_capacity(PASSED_ON, out);
    let dumped =
        match (what, kind) {
            (What::Folder { tree, has_lost }, kind) => {
                work.folder(kind.unwrap_or(Kind::Tar), (*tree, *has_lost), &mut out)
            }
            (What::Entry(node), Some(kind)) => {
                let above = path.len().saturating_sub(node.name.len() + 1);
                work.base = &path[..above];
                work.single(kind, node, &mut out)
            }
            (What::Entry(node), None) => dump::file(repository, node, path, &mut out, stop)
                .map(|()| Dumped { files: 1, bytes: node.size, ..Dumped::default() }),
        };
    // Also of what is cut off: it ends where reading ended.
    out.flush()?;
    dumped
}

/// Dumps what the options say.
pub fn run(context: &Context<'_>, wanted: &Dump) -> Result<Code, Failure> {
    signals::stop();
    let (repository, _) = context.open_to_read()?;
    let all = select::load(context, &repository)?;
    let host = wanted.host.as_ref().map(|host| host.as_bytes());
    let Meant { named, names, is_doubtful: doubtful } =
        meant::find(context, &repository, &all, wanted.wanted.as_bytes(), wanted.at.as_deref(), host)?;
    let path = joined(&names);
    let what = look(&repository, &named, &names, &path)?;
    match &what {
        What::Entry(node) if wanted.archive.is_none() && node.kind != NodeType::File => {
            let text = format!("{} is no file: --archive tar keeps what it is", escape(&path));
            return Err(Failure::usage(text));
        }
        What::Folder { .. } | What::Entry(_) if wanted.target.is_none() => {
            let is_archive = wanted.archive.is_some() || matches!(what, What::Folder { .. });
            if is_archive && io::stdout().is_terminal() {
                return Err(Failure::usage("an archive is nothing for a terminal").with_hint(
                    "Send it somewhere (copal dump ... | tar -tv), or name a file: --target FILE",
                ));
            }
        }
        _ => {}
    }
    let mut target = wanted.target.as_deref().map(Target::make).transpose()?;
    let mut result = Err(Failed::Output(io::ErrorKind::Other.into()));
    reading(&repository, &context.clock, &context.host(), || {
        result = match &mut target {
            Some(target) => write(context, &repository, wanted, (&named, &what, &path), &mut target.file),
            None => write(context, &repository, wanted, (&named, &what, &path), &mut Standard(context)),
        };
        Ok(())
    })
    .map_err(|error| failure(&error))?;
    let dumped = result.map_err(ended)?;
    if let Some(target) = &mut target {
        let path = target.path.display().to_string();
        target.finish().map_err(|error| Failure::new(Code::Failed, format!("{path}: {error}")))?;
        told(context, &named, &dumped)?;
    }
    if doubtful {
        return Err(select::doubt());
    }
    if dumped.left_out > 0 {
        context.warn(&format!(
            "{} {} not in the archive",
            show_count(dumped.left_out, "thing"),
            agree(dumped.left_out, "is", "are")
        ));
        return Ok(Code::Incomplete);
    }
    Ok(Code::Done)
}

/// Tells what was written to a file.
fn told(context: &Context<'_>, named: &Named, dumped: &Dumped) -> Result<(), Failure> {
    if context.global.json {
        let line = Summary {
            snapshot_id: named.name.to_string(),
            total_files: dumped.files,
            total_bytes: dumped.bytes,
            left_out: dumped.left_out,
        };
        context.out.json("summary", &line)?;
    } else if !context.global.quiet {
        let text = format!("wrote {}, {}\n", show_count(dumped.files, "file"), show_size(dumped.bytes));
        context.out.write(text)?;
    }
    Ok(())
}
