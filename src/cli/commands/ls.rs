//! `copal ls`: what a snapshot holds.

mod list;

use std::os::unix::ffi::OsStrExt;

use serde::Serialize;

use crate::cli::arguments::Ls;
use crate::cli::context::{Context, failure};
use crate::cli::exit::{Code, Failure};
use crate::cli::{paths, select};
use crate::model::{Node, NodeType, Segment, SegmentKind, joined};
use crate::repository::Repository;
use crate::terminal::escape::escape;
use crate::terminal::json;
use crate::terminal::size::{agree, show_size};
use crate::terminal::time;
use list::{Listing, Unlisted, list};

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
    match node.lost_words() {
        Some(words) => Some(words.to_owned()),
        None if lost > 0 => Some(format!("{lost} bytes are lost, as a repair marked it")),
        None => node.error.map(|error| error.words().to_owned()),
    }
}

/// Shows an entry under its path, or under what a tree has in that place; `lost` bytes of it are marked as lost.
fn show(
    context: &Context<'_>,
    ls: &Ls,
    node: &Node,
    (path, shown): (&[u8], Option<&str>),
    lost: u64,
) -> Result<(), Failure> {
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
    let whole = escape(path);
    let shown = shown.unwrap_or(&whole);
    if !ls.long && !ls.human {
        let unread = remark(node, lost).map(|remark| format!("  ({remark})")).unwrap_or_default();
        context.out.write(format!("{shown}{unread}\n"))?;
        return Ok(());
    }
    let size = match node.kind {
        NodeType::CharacterDevice | NodeType::BlockDevice => format!("{},{}", node.device.0, node.device.1),
        _ if ls.human => show_size(node.size),
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

/// Lists a folder of a snapshot, or shows one entry.
pub fn run(context: &Context<'_>, ls: &Ls) -> Result<Code, Failure> {
    let (repository, _) = context.open_to_read()?;
    let all = select::load(context, &repository)?;
    let (snapshot, path) = match (&ls.wanted, &ls.at) {
        (Some(wanted), at) => paths::wanted(wanted.as_bytes(), at.as_deref()),
        (None, at) => (at.clone().unwrap_or_else(|| "latest".to_owned()), None),
    };
    let host = ls.host.as_ref().map(|host| host.as_bytes());
    let named = select::find_holding(context, &all, &snapshot, host, path.as_deref())?;
    let doubtful = select::is_doubtful(context, &all, &snapshot, &named);
    if !context.global.json {
        context.say(&format!("snapshot {} of {}", named.name.short(), time::show(named.snapshot.time)));
    }
    let names = match &path {
        Some(path) => paths::find_among(&repository, &all, &named, path)?,
        // What a person wants to see is what was backed up, not the way there.
        None if named.snapshot.sources.len() == 1 && !ls.recursive && !ls.tree => {
            paths::find(&repository, &named, &named.snapshot.sources[0]).unwrap_or_default()
        }
        None => Vec::new(),
    };
    let shown = joined(&names);
    let is_repaired = named.snapshot.stands_for.is_some();
    let listing = Listing { context, repository: &repository, ls, is_repaired };
    let unlisted = if names.is_empty() {
        list(&listing, named.snapshot.root, b"")?
    } else {
        let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let found = repository.find_node(named.snapshot.root, &names).map_err(|error| failure(&error))?;
        match found {
            Some(Node { kind: NodeType::Directory, tree: Some(tree), .. }) => list(&listing, tree, &shown)?,
            Some(node) => show(context, ls, &node, (&shown, None), lost_bytes(&repository, &node))
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
