//! `copal ls`: what a snapshot holds.

use std::os::unix::ffi::OsStrExt;

use serde::Serialize;

use crate::cli::arguments::Ls;
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::{paths, select};
use crate::model::{Id, Node, NodeType, Segment, SegmentKind};
use crate::repository::Repository;
use crate::terminal::escape::escape;
use crate::terminal::json;
use crate::terminal::size::agree;
use crate::terminal::time;

#[derive(Serialize)]
struct Line<'a> {
    name: std::borrow::Cow<'a, str>,
    path: std::borrow::Cow<'a, str>,
    /// The path's bytes, when they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    r#type: &'a str,
    uid: u32,
    gid: u32,
    size: u64,
    mode: u32,
    permissions: String,
    mtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    linktarget: Option<String>,
    /// Why it could not be read when the snapshot was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Type and permissions as `ls -l` shows them.
pub fn permissions(node: &Node) -> String {
    let kind = match node.kind {
        NodeType::File => '-',
        NodeType::Directory => 'd',
        NodeType::Symlink => 'l',
        NodeType::Fifo => 'p',
        NodeType::Socket => 's',
        NodeType::CharacterDevice => 'c',
        NodeType::BlockDevice => 'b',
        NodeType::Unreadable => '?',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = node.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, node.mode & special != 0) {
            (true, false) => 'x',
            (false, false) => '-',
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
        });
    }
    text
}

fn owner(name: &[u8], id: u32) -> String {
    if name.is_empty() { id.to_string() } else { escape(name).into_owned() }
}

/// Bytes of a file that a repair marked as lost.
fn lost_bytes(repository: &Repository, node: &Node) -> u64 {
    let mut lost = 0u64;
    let mut each = |segment: Segment| {
        if segment.kind == SegmentKind::Gap {
            lost = lost.saturating_add(segment.length);
        }
        Ok(())
    };
    // A list of contents that can not be read is told by who gives the file back.
    let _ = repository.segments(&node.content, node.size, &mut each);
    lost
}

/// What is not as it was: why an entry could not be read, or what a repair marked as lost.
fn remark(node: &Node, lost: u64) -> Option<String> {
    match (node.has_lost_entries(), node.kind) {
        (true, NodeType::Unreadable) => Some("lost, as a repair marked it".to_owned()),
        (true, _) => Some("some entries are lost, as a repair marked it".to_owned()),
        _ if lost > 0 => Some(format!("{lost} bytes are lost, as a repair marked it")),
        _ => node.error.map(|error| error.words().to_owned()),
    }
}

/// Shows an entry; `lost` bytes of it are marked as lost.
fn show(context: &Context<'_>, ls: &Ls, node: &Node, path: &[u8], lost: u64) -> Result<(), Failure> {
    if context.global.json {
        let line = Line {
            name: json::text(&node.name),
            path: json::text(path),
            path_hex: json::hex(path),
            r#type: node.kind.name(),
            uid: node.uid,
            gid: node.gid,
            size: node.size,
            mode: node.mode,
            permissions: permissions(node),
            mtime: time::iso(node.mtime),
            linktarget: (node.kind == NodeType::Symlink).then(|| json::text(&node.target).into_owned()),
            error: remark(node, lost),
        };
        context.out.json("node", &line)?;
        return Ok(());
    }
    let shown = escape(path);
    if !ls.long {
        let unread = remark(node, lost).map(|remark| format!("  ({remark})")).unwrap_or_default();
        context.out.write(format!("{shown}{unread}\n"))?;
        return Ok(());
    }
    let size = match node.kind {
        NodeType::CharacterDevice | NodeType::BlockDevice => format!("{},{}", node.device.0, node.device.1),
        _ => node.size.to_string(),
    };
    let mut line = format!(
        "{} {:<8} {:<8} {size:>12} {} {shown}",
        permissions(node),
        owner(&node.user, node.uid),
        owner(&node.group, node.gid),
        time::show(node.mtime)
    );
    if node.kind == NodeType::Symlink {
        line.push_str(&format!(" -> {}", escape(&node.target)));
    }
    if let Some(remark) = remark(node, lost) {
        line.push_str(&format!("  ({remark})"));
    }
    line.push('\n');
    context.out.write(line)?;
    Ok(())
}

/// What could not be listed.
#[derive(Default)]
struct Unlisted {
    damaged: u64,
    /// Of a later version, which this program can not read.
    later: u64,
}

fn list(
    context: &Context<'_>,
    repository: &Repository,
    ls: &Ls,
    (tree, is_repaired): (Id, bool),
    path: &[u8],
) -> Result<Unlisted, Failure> {
    let mut unlisted = Unlisted::default();
    let mut stack = vec![(repository.nodes(tree), path.to_vec())];
    while let Some((nodes, path)) = stack.last_mut() {
        let Some(node) = nodes.next() else {
            stack.pop();
            continue;
        };
        let node = match node {
            Ok(node) => node,
            // It costs what it hits; the rest is listed.
            Err(error) if error.is_damage() => {
                let counter = match error.is_of_later_version() {
                    true => &mut unlisted.later,
                    false => &mut unlisted.damaged,
                };
                *counter += 1;
                context.warn(&format!("{}/: {error}", escape(path)));
                continue;
            }
            Err(error) => return Err(failure(&error)),
        };
        let mut below = path.clone();
        below.push(b'/');
        below.extend_from_slice(&node.name);
        let lost = if is_repaired { lost_bytes(repository, &node) } else { 0 };
        show(context, ls, &node, &below, lost)?;
        if let (true, NodeType::Directory, Some(tree)) = (ls.recursive, node.kind, node.tree) {
            stack.push((repository.nodes(tree), below));
        }
    }
    Ok(unlisted)
}

/// Lists a folder of a snapshot, or shows one entry.
pub fn run(context: &Context<'_>, ls: &Ls) -> Result<Code, Failure> {
    let (repository, _) = context.open_synced()?;
    let all = select::load(context, &repository)?;
    let (snapshot, path) = paths::split(ls.wanted.as_bytes());
    let host = ls.host.as_ref().map(|host| host.as_bytes());
    let snapshot = String::from_utf8_lossy(&snapshot);
    let named = select::find(context, &all, &snapshot, host)?;
    let doubtful = select::is_doubtful(context, &all, &snapshot, &named);
    if !context.global.json {
        context.say(&format!("snapshot {} of {}", named.name.short(), time::show(named.snapshot.time)));
    }
    let names = match &path {
        Some(path) => paths::find_among(&repository, &all, &named, path)?,
        // What a person wants to see is what was backed up, not the way there.
        None if named.snapshot.sources.len() == 1 && !ls.recursive => {
            paths::find(&repository, &named, &named.snapshot.sources[0]).unwrap_or_default()
        }
        None => Vec::new(),
    };
    let mut shown = Vec::new();
    for name in &names {
        shown.push(b'/');
        shown.extend_from_slice(name);
    }
    let is_repaired = named.snapshot.stands_for.is_some();
    let unlisted = if names.is_empty() {
        list(context, &repository, ls, (named.snapshot.root, is_repaired), b"")?
    } else {
        let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let found = repository.find_node(named.snapshot.root, &names).map_err(|error| failure(&error))?;
        match found {
            Some(Node { kind: NodeType::Directory, tree: Some(tree), .. }) => {
                list(context, &repository, ls, (tree, is_repaired), &shown)?
            }
            Some(node) => show(context, ls, &node, &shown, lost_bytes(&repository, &node))
                .map(|()| Unlisted::default())?,
            None => Unlisted::default(),
        }
    };
    match (unlisted.damaged, unlisted.later) {
        (0, 0) if doubtful => Err(select::doubt()),
        (0, 0) => Ok(Code::Done),
        (0, later) => Err(Failure::new(
            Code::Incomplete,
            format!(
                "{later} {} of a later version",
                agree(later, "entry or folder is", "entries or folders are")
            ),
        )
        .with_hint("Everything else is shown. A newer copal shows the rest.")),
        (damaged, later) => Err(Failure::new(
            Code::Damaged,
            format!(
                "{} {} could not be listed",
                damaged + later,
                agree(damaged + later, "entry or folder", "entries or folders")
            ),
        )
        .with_hint("Everything else is shown. See what is hit: copal check")),
    }
}
