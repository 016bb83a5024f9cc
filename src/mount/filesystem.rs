//! What the kernel asks, and what it is answered. Nothing of a saved folder ever changes, so that the kernel may keep what it was told.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use fuser::{
    Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig, LockOwner,
    OpenAccMode, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};

use super::answers::{Answers, Looked};
use super::sink::{Plain, Plus};

/// How long the kernel may keep what it was told of what is saved.
const FOR_EVER: Duration = Duration::from_secs(30 * 24 * 3600);
/// The same of what is made, which changes when there are other snapshots.
const SHORT: Duration = Duration::from_secs(2);
/// Bytes that the kernel may read ahead, where it lets that be chosen.
const READ_AHEAD: u32 = 1 << 20;
/// Requests that the kernel may have waiting in the background.
const BACKGROUND: u16 = 64;
/// The longest symlink that Linux takes.
const TARGET_MOST: usize = 4095;

/// The mounted file system.
pub struct Mounted {
    answers: Arc<Answers>,
    /// Rights count, since others than who mounted it may look.
    is_shared: bool,
}

impl Mounted {
    pub fn new(answers: Arc<Answers>, is_shared: bool) -> Mounted {
        Mounted { answers, is_shared }
    }
}

fn lasting(is_saved: bool) -> &'static Duration {
    if is_saved { &FOR_EVER } else { &SHORT }
}

impl Filesystem for Mounted {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // Attributes come with names only where somebody looks at them: who lists names alone is told of no inodes.
        let mut wanted = InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_CACHE_SYMLINKS;
        if self.is_shared {
            wanted |= InitFlags::FUSE_POSIX_ACL;
        }
        // Each by itself: an old kernel has some of them.
        for flag in wanted.iter() {
            let _ = config.add_capabilities(flag);
        }
        if let Err(most) = config.set_max_readahead(READ_AHEAD) {
            let _ = config.set_max_readahead(most);
        }
        let _ = config.set_max_write(READ_AHEAD);
        let _ = config.set_max_background(BACKGROUND);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.answers.look_up(parent.0, name.as_bytes()) {
            Ok(Looked::Found { attr, is_saved }) => reply.entry(lasting(is_saved), &attr, Generation(0)),
            // That there is no such entry may be kept as well: inode 0 says so.
            Ok(Looked::Nothing(attr)) => reply.entry(&FOR_EVER, &attr, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn forget(&self, _request: &Request, number: INodeNo, times: u64) {
        self.answers.inodes.forget(number.0, times);
    }

    fn getattr(&self, _request: &Request, number: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.answers.attributes(number.0) {
            Ok((attr, is_saved)) => reply.attr(lasting(is_saved), &attr),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _request: &Request, number: INodeNo, reply: ReplyData) {
        match self.answers.target(number.0) {
            Ok(target) if target.len() > TARGET_MOST => reply.error(Errno::ENAMETOOLONG),
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(Errno::EROFS);
        }
        match self.answers.open(number.0) {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.answers.read(number.0, handle.0, offset, size as usize) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn release(
        &self,
        _request: &Request,
        number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.answers.close(number.0, handle.0);
        reply.ok();
    }

    fn opendir(&self, _request: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.answers.open_folder(number.0) {
            Ok((handle, is_saved)) => {
                let kept = FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE;
                reply.opened(FileHandle(handle), if is_saved { kept } else { FopenFlags::empty() });
            }
            Err(error) => reply.error(error),
        }
    }

    fn readdir(
        &self,
        _request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        match self.answers.list(number.0, handle.0, offset, &mut Plain(&mut reply)) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn readdirplus(
        &self,
        _request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let lasting = |is_saved| *lasting(is_saved);
        match self.answers.list(number.0, handle.0, offset, &mut Plus(&mut reply, &lasting)) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn releasedir(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.answers.folders.close(handle.0);
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _number: INodeNo, reply: ReplyStatfs) {
        // How much is stored says nothing of how much there is to see.
        reply.statfs(0, 0, 0, 0, 0, 4096, crate::format::limits::NAME_MAX as u32, 4096);
    }

    fn getxattr(&self, _request: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        give(self.answers.attribute(number.0, name.as_bytes()), size, reply);
    }

    fn listxattr(&self, _request: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        give(self.answers.attribute_names(number.0), size, reply);
    }

    fn lseek(
        &self,
        _request: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        match self.answers.seek(number.0, handle.0, offset, whence) {
            Ok(place) => reply.offset(place),
            Err(error) => reply.error(error),
        }
    }
}

/// Answers with a value, or with how long it is.
fn give(value: Result<Vec<u8>, Errno>, room: u32, reply: ReplyXattr) {
    match value {
        Err(error) => reply.error(error),
        Ok(value) if room == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() > room as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
    }
}
