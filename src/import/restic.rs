//! restic: `snapshots`, `find` and `dump` of the person's own program. Its archive has files, folders and symlinks, with times in whole
//! seconds and each name of a file as a file of its own; what `find` says of all entries has the nanoseconds, says what else there is and,
//! since restic 0.17, which files are one. `ls` says less of the same.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use serde::Deserialize;

use super::place::folder_of_tree;
use super::program::{Program, json, output};
use super::stream::{self, Form};
use super::{Error, Expected, Listed, Origin, Take, when};
use crate::model::{Node, NodeType, Time};

/// Bits of a mode as Go has them.
const SETUID: u64 = 1 << 23;
const SETGID: u64 = 1 << 22;
const STICKY: u64 = 1 << 20;

/// A repository of restic.
pub struct Restic(pub Program);

#[derive(Deserialize)]
struct Config {
    id: String,
}

#[derive(Deserialize)]
struct Snapshot {
    id: String,
    time: String,
    tree: Option<String>,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    tags: Option<Vec<String>>,
}

/// An entry that was found.
#[derive(Deserialize)]
struct Found {
    path: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    mode: u64,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(default)]
    user: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    mtime: String,
    #[serde(default)]
    links: u64,
    #[serde(default)]
    device_id: u64,
    /// Before restic 0.17 it is not told.
    #[serde(default)]
    inode: u64,
}

/// Where Windows calls it `C:\\Users`, restic's tree has `/C/Users`.
fn source(path: &str) -> Vec<u8> {
    match path.strip_prefix('/') {
        Some(_) => path.as_bytes().to_vec(),
        None => format!("/{}", path.replacen(':', "", 1).replace('\\', "/")).into_bytes(),
    }
}

fn expected(found: Found) -> Result<Expected, Error> {
    let path = found.path.strip_prefix('/').unwrap_or(&found.path).as_bytes().to_vec();
    let wrong = |what: &str| Error::entry(&path, what);
    let (kind, in_archive) = match &*found.kind {
        "file" => (NodeType::File, true),
        "dir" => (NodeType::Directory, true),
        "symlink" => (NodeType::Symlink, true),
        "fifo" => (NodeType::Fifo, false),
        "socket" => (NodeType::Socket, false),
        "dev" => (NodeType::BlockDevice, false),
        "chardev" => (NodeType::CharacterDevice, false),
        // What restic itself knows no more of.
        _ => (NodeType::Unreadable, false),
    };
    let mut node = Node::new(b"", kind);
    let bit = |go: u64, own: u32| if found.mode & go != 0 { own } else { 0 };
    node.mode = (found.mode & 0o777) as u32 | bit(SETUID, 0o4000) | bit(SETGID, 0o2000) | bit(STICKY, 0o1000);
    (node.uid, node.gid) = (found.uid, found.gid);
    (node.user, node.group) = (found.user.into_bytes(), found.group.into_bytes());
    (node.mtime, _) =
        when::read(&found.mtime).ok_or_else(|| wrong("its time in the list of entries makes no sense"))?;
    let is_file = kind == NodeType::File;
    let size = if is_file { found.size } else { 0 };
    let is_linked = is_file && found.links > 1 && found.inode != 0;
    let link = is_linked.then(|| format!("restic {} {}", found.device_id, found.inode).into_bytes());
    Ok(Expected { path, node, size, in_archive, attributes: BTreeMap::new(), link, problem: None })
}

impl Restic {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.0.command(words);
        if let Some(repository) = &self.0.repository {
            // Not as an option, which every user of the machine can see: it may hold a password.
            command.env("RESTIC_REPOSITORY", repository).env_remove("RESTIC_REPOSITORY_FILE");
        }
        command
    }
}

impl Origin for Restic {
    fn program(&self) -> &'static str {
        "restic"
    }

    fn list(&self, stop: &AtomicBool) -> Result<Vec<Listed>, Error> {
        let config: Config = output("restic cat config", self.command(&["cat", "config"]), stop, |output| {
            serde_json::from_reader(output).map_err(|error| json(&error))
        })?;
        let command = self.command(&["snapshots", "--json"]);
        let snapshots: Vec<Snapshot> = output("restic snapshots", command, stop, |output| {
            serde_json::from_reader(output).map_err(|error| json(&error))
        })?;
        let listed = |snapshot: Snapshot| {
            let (time, utc_offset) = when::read(&snapshot.time).ok_or_else(|| {
                Error::Origin(format!("restic snapshots: a time makes no sense: {}", snapshot.time))
            })?;
            let name: String = snapshot.id.chars().take(8).collect();
            let mut sources: Vec<Vec<u8>> = snapshot.paths.iter().map(|path| source(path)).collect();
            sources.sort();
            sources.dedup();
            Ok(Listed {
                mark: format!("restic:{}:{}", config.id, snapshot.id),
                description: format!("from restic snapshot {name}"),
                id: snapshot.id,
                name,
                time,
                utc_offset,
                host: snapshot.hostname.into_bytes(),
                user: snapshot.username.into_bytes(),
                tags: snapshot.tags.unwrap_or_default(),
                sources: Some(sources),
                tree: snapshot.tree,
            })
        };
        snapshots.into_iter().map(listed).collect()
    }

    fn replaces_bytes(&self) -> bool {
        true
    }

    fn inventory(&self, listed: &Listed, stop: &AtomicBool, take: Take<'_>) -> Result<Option<Time>, Error> {
        let command = self.command(&["find", "--json", "--snapshot", &listed.id, "*"]);
        output("restic find", command, stop, |output| {
            let form = Form { list: "matches", other: "hits", is_within_array: true };
            stream::read::<Found, u64>(BufReader::new(output), form, &mut |found| take(expected(found)?))?;
            Ok(None)
        })
    }

    fn archive(&self, listed: &Listed) -> (String, Command) {
        ("restic dump".to_owned(), self.command(&["dump", "--archive", "tar", &listed.id, "/"]))
    }

    fn folder(
        &self,
        listed: &Listed,
        has: &mut dyn FnMut(&[&[u8]]) -> Result<bool, Error>,
    ) -> Result<Vec<Vec<u8>>, Error> {
        folder_of_tree(listed.sources.as_deref().unwrap_or_default(), has)
    }

    fn hint(&self) -> &'static str {
        "restic takes its password from RESTIC_PASSWORD_FILE, RESTIC_PASSWORD_COMMAND or RESTIC_PASSWORD."
    }
}
