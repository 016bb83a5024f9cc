//! restic: `snapshots`, `ls` and `dump` of the person's own program. Its archive has files, folders and symlinks, with times in whole
//! seconds and each name of a file as a file of its own; its list has the nanoseconds, and says what else there is.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use serde::Deserialize;

use super::place::folder_of_tree;
use super::program::{Program, json, output};
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
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    tags: Option<Vec<String>>,
}

/// A line of `ls`: a snapshot or an entry.
#[derive(Deserialize)]
struct Line {
    path: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    mode: u64,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(default)]
    mtime: String,
}

/// Where Windows calls it `C:\\Users`, restic's tree has `/C/Users`.
fn source(path: &str) -> Vec<u8> {
    match path.strip_prefix('/') {
        Some(_) => path.as_bytes().to_vec(),
        None => format!("/{}", path.replacen(':', "", 1).replace('\\', "/")).into_bytes(),
    }
}

fn expected(line: &Line, path: &str, kind: &str) -> Result<Expected, Error> {
    let wrong = |what: &str| Error::entry(path.as_bytes(), what);
    let (kind, in_archive) = match kind {
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
    let bit = |go: u64, own: u32| if line.mode & go != 0 { own } else { 0 };
    node.mode = (line.mode & 0o777) as u32 | bit(SETUID, 0o4000) | bit(SETGID, 0o2000) | bit(STICKY, 0o1000);
    (node.uid, node.gid) = (line.uid, line.gid);
    (node.mtime, _) =
        when::read(&line.mtime).ok_or_else(|| wrong("its time in the list of entries makes no sense"))?;
    let path = path.strip_prefix('/').unwrap_or(path).as_bytes().to_vec();
    let size = if kind == NodeType::File { line.size } else { 0 };
    Ok(Expected { path, node, size, in_archive, attributes: BTreeMap::new(), problem: None })
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
            })
        };
        snapshots.into_iter().map(listed).collect()
    }

    fn replaces_bytes(&self) -> bool {
        true
    }

    fn inventory(&self, listed: &Listed, stop: &AtomicBool, take: Take<'_>) -> Result<Option<Time>, Error> {
        output("restic ls", self.command(&["ls", "--json", &listed.id]), stop, |output| {
            let output = std::io::BufReader::new(output);
            for line in serde_json::Deserializer::from_reader(output).into_iter::<Line>() {
                let line = line.map_err(|error| json(&error))?;
                if let (Some(path), Some(kind)) = (&line.path, &line.kind) {
                    take(expected(&line, path, kind)?)?;
                }
            }
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
