//! What commands print, each as a file of the snapshot, in a folder of copal's own beside the files of the machine.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;

use super::chunk::Chunker;
use super::file::{Failure, Reader};
use super::run::Run;
use crate::format;
use crate::model::{Content, Id, Node, NodeType, Snapshot, Unread};
use crate::program::{Limits, Problem, Running, shell};
use crate::progress::{Event, FileStatus};
use crate::repository::{Error, build::TreeBuilder};
use crate::terminal::escape::escape;

/// The folder of the root folder in which they lie. With commands, nothing real of that name is part of a backup.
pub const FOLDER: &[u8] = b".commands";
/// Lines of standard error that a message shows.
const LINES_SHOWN: usize = 3;
/// Characters of a program's name that are shown.
const NAME_CHARS_MOST: usize = 60;

/// A command whose output is a file of the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandSource {
    /// The file's name.
    pub name: Vec<u8>,
    /// For `/bin/sh -c`.
    pub line: OsString,
}

impl CommandSource {
    /// Reads `NAME=COMMAND`.
    pub fn parse(text: &[u8]) -> Result<CommandSource, &'static str> {
        let at = text.iter().position(|byte| *byte == b'=').ok_or("write NAME=COMMAND")?;
        let (name, line) = (&text[..at], &text[at + 1..]);
        if !format::node::is_sound_name(name) {
            return Err("before the = a file name is needed, without slashes");
        }
        if line.trim_ascii().is_empty() {
            return Err("behind the = a command is needed");
        }
        let line = std::ffi::OsStr::from_bytes(line).to_owned();
        Ok(CommandSource { name: name.to_vec(), line })
    }

    /// Where its file stands in the snapshot.
    pub fn path(&self) -> Vec<u8> {
        [b"/", FOLDER, b"/", &self.name].concat()
    }

    /// What it is called: its program, without arguments, since these may hold secrets, as may what is set before a shell's first word.
    pub fn program(&self) -> String {
        let mut words = self.line.as_bytes().split(|byte| byte.is_ascii_whitespace());
        let word = words.find(|word| !word.is_empty() && !word.contains(&b'=')).unwrap_or(b"sh");
        let shown = escape(word);
        match shown.char_indices().nth(NAME_CHARS_MOST) {
            Some((at, _)) => format!("{}\u{2026}", &shown[..at]),
            None => shown.into_owned(),
        }
    }
}

/// Runs the commands, one after the other, and gives the folder that holds what they printed. One that fails becomes an unreadable file.
///
/// Errors: the repository's; `Stopped`; `Refused` when nothing could be saved and nothing else is to be.
pub(super) fn save(run: &Run<'_>, parent: Option<&Snapshot>) -> Result<Option<Node>, Error> {
    let commands = &run.options.commands;
    if commands.is_empty() {
        return Ok(None);
    }
    if run.options.dry_run {
        for command in commands {
            let (name, program) = (escape(&command.name), command.program());
            run.listener.event(Event::Note(&format!("a dry run: {program} is not run, for {name}")));
        }
        return Ok(None);
    }
    let on_bytes = |bytes| run.listener.event(Event::Bytes(bytes));
    let chunker = Chunker::new(run.repository.gear_table(), run.repository.config.cutter);
    let mut reader = Reader::new(run.store, 0, chunker, &on_bytes, run.stop);
    let mut nodes = BTreeMap::new();
    for command in commands {
        run.check_stop()?;
        let before = parent.and_then(|parent| before(run, parent, Some(&command.name)));
        let node = match read(run, &mut reader, command)? {
            Some((content, size)) => whole(run, command, content, size, before),
            None => unreadable(run, command, before)?,
        };
        nodes.insert(command.name.clone(), node);
        run.checkpoint_when_due()?;
    }
    let is_any = nodes.values().any(|node| node.kind == NodeType::File);
    if !is_any && run.options.sources.is_empty() {
        return Err(Error::Refused("no command succeeded; no snapshot was made".to_owned()));
    }
    let mut builder = TreeBuilder::new(run.store, 0);
    for (name, node) in &nodes {
        builder.push(name, format::node::encode(node))?;
    }
    let tree = builder.finish()?;
    run.counts.directories.fetch_add(1, Ordering::Relaxed);
    match parent.and_then(|parent| before(run, parent, None)) {
        Some(before) if before.kind == NodeType::Directory && before.tree == Some(tree) => Ok(Some(before)),
        _ => Ok(Some(folder(run, tree))),
    }
}

/// What a node has that no file system gave.
fn own(run: &Run<'_>, name: &[u8], kind: NodeType, mode: u32) -> Node {
    let mut node = Node::new(name, kind);
    node.mode = mode;
    node.uid = rustix::process::getuid().as_raw();
    node.gid = rustix::process::getgid().as_raw();
    node.mtime = run.clock.now();
    node
}

fn folder(run: &Run<'_>, tree: Id) -> Node {
    let mut node = own(run, FOLDER, NodeType::Directory, 0o700);
    node.tree = Some(tree);
    node
}

/// The node that the parent snapshot has in that place. What can not be read of it counts as not there.
fn before(run: &Run<'_>, parent: &Snapshot, name: Option<&[u8]>) -> Option<Node> {
    let path: Vec<&[u8]> = [FOLDER].into_iter().chain(name).collect();
    run.repository.find_node(parent.root, &path).ok().flatten()
}

/// Runs one command and stores what it prints; none, and it is told why, when that is not to be trusted.
fn read(
    run: &Run<'_>,
    reader: &mut Reader<'_>,
    command: &CommandSource,
) -> Result<Option<(Content, u64)>, Error> {
    let path = command.path();
    let tell = |problem: &Problem, tail: &[Vec<u8>]| {
        let mut what = format!("its command ({}) {problem}", command.program());
        let shown: Vec<_> =
            tail[tail.len().saturating_sub(LINES_SHOWN)..].iter().map(|line| escape(line)).collect();
        if !shown.is_empty() {
            what += &format!(": {}", shown.join(" | "));
        }
        let code = "command_failed";
        run.listener.event(Event::Problem { path: Some(&path), what: &what, code, during: "backup" });
    };
    let limits = Limits { time: run.options.command_time_limit, stop: run.stop };
    let mut running = match Running::start(shell(&command.line), limits) {
        Ok(running) => running,
        Err(problem) => {
            tell(&problem, &[]);
            return Ok(None);
        }
    };
    let read = match reader.read_stream(&mut running) {
        Ok(read) => Some(read),
        Err(Failure::Source(_)) => None,
        Err(Failure::Storage(error)) => return Err(error),
    };
    let (ended, tail) = running.finish();
    run.check_stop()?;
    match (ended, read) {
        (Ok(()), Some(read)) => {
            let name = escape(&command.name);
            for line in &tail {
                run.listener.event(Event::Note(&format!("{name}: {}", escape(line))));
            }
            if read.1 == 0 {
                run.listener.event(Event::Note(&format!("{name}: its command printed nothing")));
            }
            Ok(Some(read))
        }
        (Err(problem), _) => {
            tell(&problem, &tail);
            Ok(None)
        }
        (Ok(()), None) => {
            tell(&Problem::Unreadable(std::io::ErrorKind::Other.into()), &tail);
            Ok(None)
        }
    }
}

/// The file of a command that went well. What is as it was keeps its time, so that it is no new version.
fn whole(run: &Run<'_>, command: &CommandSource, content: Content, size: u64, before: Option<Node>) -> Node {
    let mut node = own(run, &command.name, NodeType::File, 0o600);
    (node.content, node.size) = (content, size);
    let status = match &before {
        None => FileStatus::New,
        Some(before)
            if before.kind == NodeType::File && before.size == size && before.content == node.content =>
        {
            node.mtime = before.mtime;
            FileStatus::Unmodified
        }
        Some(_) => FileStatus::Changed,
    };
    run.count_made(&command.path(), size, status);
    node
}

fn unreadable(run: &Run<'_>, command: &CommandSource, before: Option<Node>) -> Result<Node, Error> {
    run.count_unmade(&command.path());
    let mut node = own(run, &command.name, NodeType::Unreadable, 0o600);
    node.error = Some(Unread::Other);
    node.was = Some(NodeType::File);
    node.previous = match before {
        Some(before) if before.kind == NodeType::Unreadable => before.previous,
        Some(before) => format::node::encode(&before),
        None => Vec::new(),
    };
    let is_kept = match format::node::decode(&node.previous) {
        Ok(previous) => previous.tree.is_none() && run.store.holds(&previous)?,
        Err(_) => false,
    };
    if !is_kept {
        node.previous.clear();
    }
    Ok(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_a_file_name_and_something_to_run() {
        let command = CommandSource::parse(b"all.sql=PGPASSWORD=x  /usr/bin/pg_dumpall -U me").unwrap();
        assert_eq!(command.path(), b"/.commands/all.sql");
        assert_eq!(command.program(), "/usr/bin/pg_dumpall");
        for wrong in [&b""[..], b"x", b"=x", b"a=", b"a= ", b"..=x", b".=x", b"a/b=x", b"/=x", b"a\0=x"] {
            assert!(CommandSource::parse(wrong).is_err(), "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn secrets_on_the_line_are_not_shown() {
        for line in ["PASSWORD=secret", "  PASSWORD=secret dump --password=secret"] {
            let command = CommandSource::parse(format!("a={line}").as_bytes()).unwrap();
            assert!(!command.program().contains("secret"), "{line}");
        }
    }
}
