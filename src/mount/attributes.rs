//! What the system is told of an entry: type, mode, owner, times, size, room.

use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileType, INodeNo};

use crate::model::{Node, NodeType, Time};

/// Bytes of a unit in which room is counted, and of a block of the file systems that files come from.
const UNIT: u64 = 512;
const BLOCK: u64 = 4096;

/// The type under which an entry is shown. One that could not be read is what it was as far as that is known to be a folder, else a file:
/// both give an error when they are opened, and never seem to be empty.
pub fn kind(node: &Node) -> FileType {
    let kind = match (node.kind, node.was) {
        (NodeType::Unreadable, Some(NodeType::Directory)) => NodeType::Directory,
        (NodeType::Unreadable, _) => NodeType::File,
        (kind, _) => kind,
    };
    match kind {
        NodeType::Directory => FileType::Directory,
        NodeType::Symlink => FileType::Symlink,
        NodeType::Fifo => FileType::NamedPipe,
        NodeType::Socket => FileType::Socket,
        NodeType::CharacterDevice => FileType::CharDevice,
        NodeType::BlockDevice => FileType::BlockDevice,
        NodeType::File | NodeType::Unreadable => FileType::RegularFile,
    }
}

/// A time as the system has it; one beyond its reach is the furthest that it has.
pub fn system_time(time: Time) -> SystemTime {
    let nanos = Duration::from_nanos(time.nanos.into());
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = match time.seconds < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(seconds),
        false => SystemTime::UNIX_EPOCH.checked_add(seconds),
    };
    whole.and_then(|whole| whole.checked_add(nanos)).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A device number as the kernel takes it from a file system in user space.
fn device((major, minor): (u32, u32)) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// What there is to say of a saved entry. `names` is how many it has, `room` how many bytes of it are no holes.
pub fn saved(node: &Node, number: u64, names: u32, room: u64) -> FileAttr {
    let time = system_time(node.mtime);
    let size = match node.kind {
        NodeType::File => node.size,
        NodeType::Symlink => node.target.len() as u64,
        _ => 0,
    };
    let has_device = matches!(node.kind, NodeType::CharacterDevice | NodeType::BlockDevice);
    FileAttr {
        ino: INodeNo(number),
        size,
        blocks: room.div_ceil(BLOCK).saturating_mul(BLOCK / UNIT),
        // Nothing else is saved of when it was looked at or changed.
        atime: time,
        mtime: time,
        ctime: time,
        crtime: node.btime.map_or(time, system_time),
        kind: kind(node),
        perm: (node.mode & 0o7777) as u16,
        nlink: names,
        uid: node.uid,
        gid: node.gid,
        rdev: if has_device { device(node.device) } else { 0 },
        blksize: BLOCK as u32,
        flags: 0,
    }
}

/// What there is to say of what is made: a folder, or a symlink of that length.
pub fn made(number: u64, time: Time, link: Option<usize>, (uid, gid): (u32, u32)) -> FileAttr {
    let time = system_time(time);
    FileAttr {
        ino: INodeNo(number),
        size: link.unwrap_or(0) as u64,
        blocks: 0,
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: if link.is_some() { FileType::Symlink } else { FileType::Directory },
        perm: if link.is_some() { 0o777 } else { 0o555 },
        nlink: 1,
        uid,
        gid,
        rdev: 0,
        blksize: BLOCK as u32,
        flags: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_beyond_reach() {
        let back = |time: Time| {
            let given = system_time(time);
            match given.duration_since(SystemTime::UNIX_EPOCH) {
                Ok(after) => (after.as_secs() as i64, after.subsec_nanos()),
                Err(before) => (-(before.duration().as_secs() as i64), before.duration().subsec_nanos()),
            }
        };
        assert_eq!(back(Time::new(5, 7)), (5, 7));
        assert_eq!(back(Time::new(-1, 250_000_000)), (0, 750_000_000), "three quarters before 1970");
        assert_eq!(back(Time::new(i64::MAX, 5)).0, i64::MAX);
        system_time(Time::new(i64::MIN, 0));
        system_time(Time::new(i64::MIN, 999_999_999));
    }

    #[test]
    fn device_numbers_are_as_the_kernel_packs_them() {
        assert_eq!(device((8, 1)), 0x801);
        assert_eq!(device((0xabc, 0x12345)), 0x123a_bc45);
    }

    #[test]
    fn what_could_not_be_read_is_a_folder_or_a_file() {
        let mut node = Node::new(b"x", NodeType::Unreadable);
        assert_eq!(kind(&node), FileType::RegularFile);
        node.was = Some(NodeType::Directory);
        assert_eq!(kind(&node), FileType::Directory);
        node.was = Some(NodeType::Symlink);
        assert_eq!(kind(&node), FileType::RegularFile);
    }

    #[test]
    fn holes_take_no_room() {
        let mut node = Node::new(b"x", NodeType::File);
        node.size = 1 << 30;
        assert_eq!(saved(&node, 7, 1, 0).blocks, 0);
        assert_eq!(saved(&node, 7, 1, 1).blocks, 8);
        assert_eq!(saved(&node, 7, 1, 4097).blocks, 16);
    }
}
