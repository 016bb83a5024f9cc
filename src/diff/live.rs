//! A folder that is there now: its entries as nodes without contents, and whether a file holds what a snapshot says.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::compare::{FLAGS_UNREAD, XATTRS_UNREAD};
use crate::files::{self, OpenError};
use crate::format::limits::CHUNK_MAX;
use crate::model::{Content, Contents, Node, NodeType, Segment, SegmentKind, Unread, Xattr, XattrValue};
use crate::repository::{Error, Repository};

/// Bytes read at a time where no chunk says how many.
const STEP: usize = 64 << 10;

/// An entry as it is there; none when it is gone by now. What of it can not be read is in its `unread`, or the whole is unreadable.
pub fn node(folder: BorrowedFd<'_>, name: &[u8]) -> Option<Node> {
    let stat = match files::stat(folder, name) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return None,
        Err(error) => return Some(unreadable(name, error)),
    };
    let mut node = Node::new(name, stat.kind);
    (node.mode, node.uid, node.gid) = (stat.mode, stat.uid, stat.gid);
    (node.mtime, node.btime, node.device) = (stat.mtime, stat.btime, stat.device);
    match stat.kind {
        NodeType::File => node.size = stat.size,
        NodeType::Symlink => match files::read_link(folder, name) {
            Ok(target) => node.target = target,
            Err(Errno::NOENT) => return None,
            Err(error) => return Some(unreadable(name, error)),
        },
        NodeType::Unreadable => node.error = Some(Unread::Other),
        _ => {}
    }
    if stat.nlink > 1 && stat.kind != NodeType::Directory {
        // Which others it is linked with is not compared.
        node.link = Some(Default::default());
    }
    match files::xattrs(folder, name) {
        Ok(found) => {
            node.unread.extend(found.unread.iter().map(|_| XATTRS_UNREAD.to_owned()));
            let values = found.values.into_iter();
            node.xattrs =
                values.map(|(name, value)| Xattr { name, value: XattrValue::Inline(value) }).collect();
        }
        Err(_) => node.unread.push(XATTRS_UNREAD.to_owned()),
    }
    let flags = match stat.kind {
        NodeType::File => files::open_file(folder, name, &stat).ok().map(|(file, _)| file),
        NodeType::Directory => files::open_directory(folder, name).ok(),
        _ => return Some(node),
    };
    match flags.map(|file| files::inode_flags(file.as_fd())) {
        Some(Ok(flags)) => node.flags = flags,
        _ => node.unread.push(FLAGS_UNREAD.to_owned()),
    }
    Some(node)
}

/// An entry that can not be looked at.
fn unreadable(name: &[u8], error: Errno) -> Node {
    let mut node = Node::new(name, NodeType::Unreadable);
    node.error = Some(files::unread(error));
    node
}

/// The folder that holds what is at a path, opened, and its name there; the folder itself and no name for `/`.
pub fn open(path: &Path) -> Result<(OwnedFd, Vec<u8>), Error> {
    let wrong = |what: String| Error::Target { path: path.display().to_string(), what };
    let (folder, name) = match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => (folder, name.as_bytes().to_vec()),
        _ => (Path::new("/"), Vec::new()),
    };
    let opened = files::open_root(folder).map_err(|error| wrong(error.to_string()))?;
    Ok((opened, name))
}

/// Opens the file at a path of single names below a folder.
fn open_below(folder: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, OpenError> {
    let mut names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
    let last = names.pop().ok_or(Errno::INVAL)?;
    let mut handle = None;
    for name in names {
        let above = handle.as_ref().map_or(folder, OwnedFd::as_fd);
        handle = Some(files::open_directory(above, name)?);
    }
    let above = handle.as_ref().map_or(folder, OwnedFd::as_fd);
    let stat = files::stat(above, last)?;
    files::open_file(above, last, &stat).map(|(file, _)| file)
}

/// What a look into a file that is there says of it.
pub enum Held {
    Same,
    Other,
    /// It can not be read.
    Unread(String),
    /// What was stored is lost, as a repair marked it.
    Lost,
}

/// Whether the file at a path below a folder holds what a stored file holds; a hole is as good as zeros. Errors: of the repository.
pub fn holds(
    repository: &Repository,
    folder: BorrowedFd<'_>,
    path: &[u8],
    content: &Content,
    size: u64,
) -> Result<Held, Error> {
    let file = match open_below(folder, path) {
        Ok(file) => file,
        Err(error) => return Ok(Held::Unread(error.to_string())),
    };
    match files::stat_fd(file.as_fd()) {
        Ok(stat) if stat.size != size => return Ok(Held::Other),
        Ok(_) => {}
        Err(error) => return Ok(Held::Unread(error.to_string())),
    }
    let mut reader = Reader { file, buffer: Vec::new() };
    let (mut offset, mut held) = (0, Held::Same);
    let mut each = |segment: Segment| {
        held = reader.holds(repository, offset, &segment);
        offset += segment.length;
        match held {
            Held::Same => Ok(()),
            // The rest of the list says nothing more.
            _ => Err(Error::Stopped),
        }
    };
    match repository.segments(content, size, &mut each) {
        Err(Error::Stopped) | Ok(()) => Ok(held),
        Err(error) => Err(error),
    }
}

struct Reader {
    file: OwnedFd,
    buffer: Vec<u8>,
}

impl Reader {
    /// Reads as many bytes; fewer at the end of the file.
    fn read(&mut self, offset: u64, length: usize) -> files::Result<&[u8]> {
        self.buffer.resize(length, 0);
        let mut filled = 0;
        while filled < length {
            match rustix::io::pread(&self.file, &mut self.buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(&self.buffer[..filled])
    }

    fn holds(&mut self, repository: &Repository, offset: u64, segment: &Segment) -> Held {
        let length = segment.length;
        let same = match segment.kind {
            SegmentKind::Gap => return Held::Lost,
            // No chunk is as long.
            SegmentKind::Data(_) if length > CHUNK_MAX as u64 => Ok(false),
            SegmentKind::Data(id) => self.read(offset, length as usize).map(|bytes| {
                bytes.len() as u64 == length && repository.hasher().id(Contents::Data, bytes) == id
            }),
            SegmentKind::Hole => self.is_zero(offset, offset.saturating_add(length)),
        };
        match same {
            Ok(true) => Held::Same,
            Ok(false) => Held::Other,
            Err(error) => Held::Unread(error.to_string()),
        }
    }

    /// Whether the file is all zeros there.
    fn is_zero(&mut self, mut at: u64, end: u64) -> files::Result<bool> {
        while at < end {
            at = match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
                Ok(data) => data,
                // Nothing but a hole from here on.
                Err(Errno::NXIO) => return Ok(true),
                // No holes on this file system.
                Err(_) => at,
            };
            if at >= end {
                break;
            }
            let part = (end - at).min(STEP as u64) as usize;
            let bytes = self.read(at, part)?;
            if bytes.len() < part || bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += part as u64;
        }
        Ok(true)
    }
}
