//! Borg 1: `list`, `debug dump-archive` and `export-tar` of the person's own program. Its archive has everything but times below a second,
//! attributes, access lists and flags; these stand in its items, which the second command shows as JSON.

mod items;

use std::collections::BTreeMap;
use std::io::Read;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use serde::Deserialize;

use super::program::{Program, json, output};
use super::{Error, Expected, Listed, Origin, Take, acl, when};
use crate::backup::sources::components;
use crate::model::{Node, NodeType, Time};
use items::Item;

/// Flags as Borg keeps them, and as Linux has them: no dump, immutable, append-only, compressed.
const FLAGS: [(u64, u32); 4] = [(0x1, 0x40), (0x2, 0x10), (0x4, 0x20), (0x20, 0x04)];

/// A repository of Borg.
pub struct Borg {
    pub program: Program,
    /// The folder in which paths begin, an absolute path.
    pub below: Vec<u8>,
}

#[derive(Deserialize)]
struct List {
    archives: Vec<Archive>,
    repository: Repository,
}

#[derive(Deserialize)]
struct Repository {
    id: String,
}

#[derive(Deserialize)]
struct Archive {
    id: String,
    name: String,
    start: String,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    comment: String,
}

fn expected(item: Item) -> Result<Expected, Error> {
    let path = item.path.0;
    let wrong = |what: &str| Error::entry(&path, what);
    let kind = match item.mode & 0o170_000 {
        0o100_000 => NodeType::File,
        0o040_000 => NodeType::Directory,
        0o120_000 => NodeType::Symlink,
        0o010_000 => NodeType::Fifo,
        0o020_000 => NodeType::CharacterDevice,
        0o060_000 => NodeType::BlockDevice,
        _ => return Err(wrong("an item of a kind that is not understood")),
    };
    let mut node = Node::new(b"", kind);
    node.mtime = when::of_nanos(item.mtime);
    for (theirs, own) in FLAGS {
        node.flags |= if item.bsdflags & theirs != 0 { own } else { 0 };
    }
    let mut attributes: BTreeMap<Vec<u8>, Vec<u8>> =
        item.xattrs.into_iter().map(|(name, value)| (name.0, value.unwrap_or_default().0)).collect();
    for (name, text) in acl::NAMES.iter().zip([item.acl_access, item.acl_default]) {
        if let Some(text) = text {
            acl::add_acl(&mut node, &mut attributes, name, &text.0);
        }
    }
    // Another name of a file that came before has its content from there.
    let is_file = kind == NodeType::File && item.source.is_none();
    let size = if is_file { item.size.unwrap_or(item.chunks.0) } else { 0 };
    let problem = item
        .chunks_healthy
        .is_some()
        .then_some("Borg has lost some of it, and gives zeros in its place: it is not what it was");
    Ok(Expected { path, node, size, in_archive: true, attributes, link: None, problem })
}

impl Borg {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.program.command(words);
        if let Some(repository) = &self.program.repository {
            command.env("BORG_REPO", repository);
        }
        // Times in lists are local and do not say so.
        command.env("TZ", "UTC");
        command
    }

    fn check_version(&self, stop: &AtomicBool) -> Result<(), Error> {
        let mut version = String::new();
        output("borg --version", self.command(&["--version"]), stop, |output| {
            let read = output.take(100).read_to_string(&mut version);
            read.map(drop).map_err(|error| Error::Cut(error.to_string()))
        })?;
        let number = version.split_whitespace().last().unwrap_or_default();
        match number.starts_with("1.") {
            true => Ok(()),
            false => Err(Error::Origin(format!(
                "this is Borg {}: copal reads what Borg 1 gives",
                crate::terminal::escape::escape(number.as_bytes())
            ))),
        }
    }
}

impl Origin for Borg {
    fn program(&self) -> &'static str {
        "borg"
    }

    fn list(&self, stop: &AtomicBool) -> Result<Vec<Listed>, Error> {
        self.check_version(stop)?;
        let command = self.command(&["list", "--json", "--format", "{hostname}{username}{comment}"]);
        let list: List = output("borg list", command, stop, |output| {
            serde_json::from_reader(output).map_err(|error| json(&error))
        })?;
        let listed = |archive: Archive| {
            let (time, utc_offset) = when::read(&archive.start).ok_or_else(|| {
                Error::Origin(format!("borg list: a time makes no sense: {}", archive.start))
            })?;
            let comment = archive.comment.trim();
            let comment = if comment.is_empty() { String::new() } else { format!(": {comment}") };
            Ok(Listed {
                mark: format!("borg:{}:{}", list.repository.id, archive.id),
                description: format!("from Borg archive {}{comment}", archive.name),
                id: archive.id,
                name: archive.name,
                time,
                utc_offset,
                host: archive.hostname.into_bytes(),
                user: archive.username.into_bytes(),
                tags: Vec::new(),
                sources: None,
                tree: None,
            })
        };
        list.archives.into_iter().map(listed).collect()
    }

    fn replaces_bytes(&self) -> bool {
        false
    }

    fn inventory(&self, listed: &Listed, stop: &AtomicBool, take: Take<'_>) -> Result<Option<Time>, Error> {
        let archive = format!("::{}", listed.name);
        let command = self.command(&["debug", "dump-archive", &archive, "-"]);
        let time = output("borg debug dump-archive", command, stop, |output| {
            items::read(std::io::BufReader::new(output), &mut |item| match item.part {
                // A piece of a file that was not finished: Borg does not show these either.
                Some(_) => Ok(()),
                None => take(expected(item)?),
            })
        })?;
        // The list has whole seconds.
        Ok(time.and_then(|text| when::read(&text)).map(|(time, _)| time))
    }

    fn archive(&self, listed: &Listed) -> (String, Command) {
        ("borg export-tar".to_owned(), self.command(&["export-tar", &format!("::{}", listed.name), "-"]))
    }

    fn folder(
        &self,
        _: &Listed,
        _: &mut dyn FnMut(&[&[u8]]) -> Result<bool, Error>,
    ) -> Result<Vec<Vec<u8>>, Error> {
        Ok(components(&self.below).into_iter().map(<[u8]>::to_vec).collect())
    }

    fn hint(&self) -> &'static str {
        "Borg takes its passphrase from BORG_PASSPHRASE, BORG_PASSCOMMAND or BORG_PASSPHRASE_FD."
    }
}
