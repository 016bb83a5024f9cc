//! Runs the real program in a home of its own, makes trees, and compares trees strictly. Everything goes through directory handles, so depth and
//! names do not matter.
#![allow(dead_code)]

#[path = "../program/mod.rs"]
mod program;

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, IFlags, Mode, OFlags, SeekFrom, Statx, StatxFlags, Timespec, Timestamps,
    UTIME_OMIT, Uid, XattrFlags,
};
use rustix::io::Errno;

// No test takes all of them.
#[allow(unused_imports)]
pub use program::{Ended, end, end_child, end_with};

/// The user and the group that nobody has.
pub const NOBODY: (u32, u32) = (65534, 65534);
/// Inode flags that are compared: sync, immutable, append-only, nodump, noatime, dirsync.
const FLAGS: u32 = 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x1_0000;

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// First line of every test that only root can run: passing over it silently would hide what was not tested.
pub fn demand_root() {
    assert!(
        is_root(),
        "this test needs root: run the tests as root, or leave out those whose names begin with root_"
    );
}

/// A home folder with config, cache and data folders, a key file, and room for sources and targets.
pub struct Sandbox {
    folder: tempfile::TempDir,
    as_nobody: bool,
    pub variables: Vec<(String, OsString)>,
}

impl Sandbox {
    /// Without a repository.
    pub fn empty() -> Sandbox {
        // Not in memory: what is to be given back exactly needs a real file system.
        Sandbox::empty_in(Path::new("/var/tmp"))
    }

    /// Without a repository, in a new folder in that one.
    pub fn empty_in(above: &Path) -> Sandbox {
        let folder = tempfile::Builder::new().prefix("copal-test-").tempdir_in(above).unwrap();
        let sandbox = Sandbox { folder, as_nobody: false, variables: Vec::new() };
        for name in ["home", "source"] {
            std::fs::create_dir(sandbox.path(name)).unwrap();
        }
        let repository = sandbox.repository();
        let key = sandbox.key_file();
        sandbox.with("COPAL_REPOSITORY", repository).with("COPAL_KEY_FILE", key)
    }

    /// With a repository that a key file opens.
    pub fn new() -> Sandbox {
        let sandbox = Sandbox::empty();
        sandbox.run(["init"]).expect(0);
        sandbox
    }

    /// All its runs are nobody's, and all its folders too.
    pub fn of_nobody() -> Sandbox {
        let mut sandbox = Sandbox::empty();
        sandbox.as_nobody = is_root();
        if sandbox.as_nobody {
            for path in [sandbox.folder.path().to_path_buf(), sandbox.path("home"), sandbox.path("source")] {
                std::os::unix::fs::chown(path, Some(NOBODY.0), Some(NOBODY.1)).unwrap();
            }
        }
        sandbox.run(["init"]).expect(0);
        sandbox
    }

    pub fn with(mut self, name: &str, value: impl Into<OsString>) -> Sandbox {
        self.set(name, value);
        self
    }

    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.unset(name);
        self.variables.push((name.to_owned(), value.into()));
    }

    pub fn unset(&mut self, name: &str) {
        self.variables.retain(|(known, _)| known != name);
    }

    /// Files may be taken over however fresh they are: only for tests of what is not read again.
    pub fn trusting_fresh_files(self) -> Sandbox {
        self.with("COPAL_TEST_RACY_SECONDS", "0")
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn source(&self) -> PathBuf {
        self.path("source")
    }

    pub fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    pub fn key_file(&self) -> PathBuf {
        self.path("key")
    }

    pub fn cache(&self) -> PathBuf {
        self.path("home/cache/copal")
    }

    /// Who owns what is made for this sandbox.
    pub fn owner(&self) -> Option<(u32, u32)> {
        self.as_nobody.then_some(NOBODY)
    }

    /// Writes a file below the sandbox, and the folders above it.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        let mut above = path.parent().unwrap().to_path_buf();
        let mut new = vec![path.clone()];
        while !above.exists() {
            new.push(above.clone());
            above.pop();
        }
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        if let Some((uid, gid)) = self.owner() {
            new.iter().for_each(|path| std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap());
        }
        path
    }

    /// The program with this sandbox's environment and nothing else of ours.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        self.command_through(&[], arguments)
    }

    /// The same, started by something else (`strace -o FILE`, `setsid`).
    pub fn command_through<A: AsRef<OsStr>>(
        &self,
        through: &[&str],
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if self.as_nobody {
            words.extend(
                ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"].map(OsString::from),
            );
        }
        words.extend(through.iter().map(OsString::from));
        words.push(env!("CARGO_BIN_EXE_copal").into());
        words.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("TZ", "UTC").env("LC_ALL", "C");
        let home = self.path("home");
        for (name, below) in [
            ("XDG_DATA_HOME", "data"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_STATE_HOME", "state"),
        ] {
            command.env(name, home.join(below));
        }
        command.env("HOME", home).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Ended {
        end(self.command(arguments))
    }

    /// Runs a shell script that stops at its first failure, in a mount namespace of its own, with the sandbox's environment; `$copal` is the
    /// program. Only for root.
    pub fn with_mounts(&self, script: &str) -> Ended {
        let mut command = Command::new("unshare");
        command
            .args(["-m", "sh", "-ec", &format!("copal={}\n{script}", env!("CARGO_BIN_EXE_copal"))])
            .current_dir(self.path(""))
            .env_clear()
            .envs(self.command([""]).get_envs().filter_map(|(name, value)| Some((name, value?))));
        end(command)
    }

    /// Runs with that on standard input.
    pub fn run_with_input<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        input: &[u8],
    ) -> Ended {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped());
        end_with(command, input)
    }

    /// Backs up the source and gives the summary; demands exit code 0.
    pub fn back_up(&self) -> serde_json::Value {
        self.back_up_with(&[])
    }

    pub fn back_up_with(&self, options: &[&str]) -> serde_json::Value {
        let source = self.source();
        let words = ["backup", "--json"].into_iter().chain(options.iter().copied()).map(OsString::from);
        self.run(words.chain([source.into_os_string()])).expect(0).summary()
    }

    /// Restores everything of the latest snapshot into a folder and gives where the source is in it; demands exit code 0.
    pub fn restore(&self, target: &str) -> PathBuf {
        let target = self.path(target);
        self.run([OsStr::new("restore"), OsStr::new("latest"), OsStr::new("-t"), target.as_os_str()])
            .expect(0);
        below(&target, &self.source())
    }

    /// The files (base names) that a run opens for reading below the source, as strace sees them, and how the run ended.
    pub fn opened<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> (Vec<String>, Ended) {
        let log = self.path(format!("strace-{}", std::fs::read_dir(self.folder.path()).unwrap().count()));
        let shown = log.to_str().unwrap().to_owned();
        let through = ["strace", "-f", "-qq", "-s", "4096", "-e", "trace=openat,open,openat2", "-o", &shown];
        let ended = end(self.command_through(&through, arguments));
        let text =
            String::from_utf8_lossy(&std::fs::read(&log).expect("strace wrote nothing: is it installed?"))
                .into_owned();
        assert!(text.contains("openat("), "strace saw no call at all");
        let mut names = Vec::new();
        for line in text.lines() {
            // Folders are opened each time; what is asked is which files are. Failed calls count as well.
            if line.contains("O_DIRECTORY") || line.contains("O_PATH") || line.contains("O_CREAT") {
                continue;
            }
            if let Some(name) = line.split('"').nth(1) {
                names.push(name.rsplit('/').next().unwrap_or_default().to_owned());
            }
        }
        (names, ended)
    }
}

/// Where the absolute `path` comes to lie below `target`.
pub fn below(target: &Path, path: &Path) -> PathBuf {
    target.join(path.strip_prefix("/").unwrap())
}

// ---------------------------------------------------------------------------------------------------------------------------------
// Trees

/// What a made file holds.
#[derive(Clone, Debug)]
pub enum Content {
    Bytes(Vec<u8>),
    /// So many bytes that do not repeat, from a seed.
    Noise {
        seed: u64,
        length: usize,
    },
    /// A length, and stretches of data in it (start, length); the rest is holes.
    Sparse {
        length: u64,
        data: Vec<(u64, usize)>,
    },
}

/// What an entry is.
#[derive(Clone, Debug)]
pub enum Kind {
    File(Content),
    Folder,
    Symlink(Vec<u8>),
    Fifo,
    Socket,
    Character(u32, u32),
    Block(u32, u32),
    /// Another name of an entry made before (any of them, by number) that is no folder.
    Link(usize),
}

/// One entry of a tree to be made.
#[derive(Clone, Debug)]
pub struct Item {
    /// The folder it lies in, by number among those made before; the last one for numbers that are too large.
    pub parent: usize,
    pub name: Vec<u8>,
    pub kind: Kind,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: (i64, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub acl: bool,
    pub flags: u32,
}

impl Item {
    pub fn new(parent: usize, name: impl AsRef<[u8]>, kind: Kind) -> Item {
        let mode = if matches!(kind, Kind::Folder) { 0o755 } else { 0o644 };
        let name = name.as_ref().to_vec();
        Item {
            parent,
            name,
            kind,
            mode,
            owner: (0, 0),
            mtime: (1_700_000_000, 123_456_789),
            xattrs: Vec::new(),
            acl: false,
            flags: 0,
        }
    }

    pub fn file(parent: usize, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Item {
        Item::new(parent, name, Kind::File(Content::Bytes(content.as_ref().to_vec())))
    }

    pub fn mode(mut self, mode: u32) -> Item {
        self.mode = mode;
        self
    }

    pub fn xattr(mut self, name: &str, value: &[u8]) -> Item {
        self.xattrs.push((name.as_bytes().to_vec(), value.to_vec()));
        self
    }

    pub fn flags(mut self, flags: IFlags) -> Item {
        self.flags = flags.bits();
        self
    }
}

/// The packs of a sandbox's repository.
pub fn packs(sandbox: &Sandbox) -> BTreeSet<PathBuf> {
    let all = walkdir::WalkDir::new(sandbox.repository().join("packs")).into_iter();
    let files = all.map(|entry| entry.unwrap()).filter(|entry| entry.file_type().is_file());
    files.map(walkdir::DirEntry::into_path).collect()
}

/// The longest of some files.
pub fn longest(files: impl IntoIterator<Item = PathBuf>) -> PathBuf {
    files.into_iter().max_by_key(|file| file.metadata().unwrap().len()).unwrap()
}

/// Flips a bit in the middle of a file, also of one that its owner may only read; its mode stays.
pub fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let mode = std::fs::metadata(path).unwrap().permissions();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, mode).unwrap();
}

/// Runs with a standard output that nobody reads.
pub fn end_unread(mut command: Command) -> Ended {
    // Both ends are closed before the program begins to write.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdout(writer).stderr(Stdio::piped());
    let what = format!("{command:?}");
    let child = command.spawn().unwrap();
    drop(command);
    end_child(child, what)
}

/// Bytes that do not compress and do not repeat.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// An ACL in the system's form: owner rw or rwx, user 4711 r, group none, mask r-x, others none.
pub fn acl_bytes(is_folder: bool) -> Vec<u8> {
    let owner = if is_folder { 7 } else { 6 };
    let none = u32::MAX;
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, rights, id) in
        [(1u16, owner, none), (2, 5u16, 4711), (4, 0, none), (0x10, 5, none), (0x20, 0, none)]
    {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&rights.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

fn folder_handle(dir: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOATIME;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

pub fn root_handle(path: &Path) -> OwnedFd {
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn through_proc(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    [format!("/proc/self/fd/{}/", dir.as_raw_fd()).as_bytes(), name].concat()
}

fn set_mtime(dir: BorrowedFd<'_>, name: &[u8], (seconds, nanos): (i64, u32)) {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanos.into() },
    };
    rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn set_flags(dir: BorrowedFd<'_>, name: &[u8], change: impl Fn(IFlags) -> IFlags) {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::empty()).unwrap();
    let now = rustix::fs::ioctl_getflags(&file).unwrap();
    rustix::fs::ioctl_setflags(&file, change(now)).unwrap();
}

fn write_content(file: &OwnedFd, content: &Content) {
    let put = |mut bytes: &[u8], mut offset: u64| {
        while !bytes.is_empty() {
            let written = rustix::io::pwrite(file, bytes, offset).unwrap();
            offset += written as u64;
            bytes = &bytes[written..];
        }
    };
    match content {
        Content::Bytes(bytes) => put(bytes, 0),
        Content::Noise { seed, length } => put(&noise(*seed, *length), 0),
        Content::Sparse { length, data } => {
            rustix::fs::ftruncate(file, *length).unwrap();
            for (start, bytes) in data {
                let start = (*start).min(length.saturating_sub(1));
                let bytes = (*bytes as u64).min(length - start) as usize;
                put(&noise(start + 7, bytes), start);
            }
        }
    }
}

/// Makes entries below folders that are there; item parents count these first. A name that is taken is passed over. Given an owner, all of it is his.
pub fn make(roots: &[&Path], items: &[Item], owner: Option<(u32, u32)>) {
    let mut folders: Vec<Rc<OwnedFd>> = roots.iter().map(|root| Rc::new(root_handle(root))).collect();
    let mut others: Vec<(Rc<OwnedFd>, Vec<u8>)> = Vec::new();
    let mut made: Vec<(Rc<OwnedFd>, &Item)> = Vec::new();
    for item in items {
        let dir = folders[item.parent.min(folders.len() - 1)].clone();
        let name = item.name.as_slice();
        let special =
            |kind, device| rustix::fs::mknodat(&*dir, name, kind, Mode::from_bits_truncate(0o600), device);
        let result = match &item.kind {
            Kind::Folder => rustix::fs::mkdirat(&*dir, name, Mode::RWXU),
            Kind::Symlink(target) => rustix::fs::symlinkat(target.as_slice(), &*dir, name),
            Kind::Fifo => special(FileType::Fifo, 0),
            Kind::Socket => special(FileType::Socket, 0),
            Kind::Character(major, minor) => {
                special(FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))
            }
            Kind::Block(major, minor) => special(FileType::BlockDevice, rustix::fs::makedev(*major, *minor)),
            Kind::Link(which) => match others.get(which % others.len().max(1)) {
                Some((from, from_name)) => {
                    match rustix::fs::linkat(&**from, from_name.as_slice(), &*dir, name, AtFlags::empty()) {
                        Ok(()) | Err(Errno::EXIST) => continue,
                        Err(error) => panic!("hard link: {error}"),
                    }
                }
                None => continue,
            },
            Kind::File(content) => {
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                rustix::fs::openat(&*dir, name, flags, Mode::RWXU).map(|file| write_content(&file, content))
            }
        };
        match result {
            Ok(()) => {}
            Err(Errno::EXIST) => continue,
            Err(error) => panic!("making {item:?}: {error}"),
        }
        if matches!(item.kind, Kind::Folder) {
            folders.push(Rc::new(folder_handle(dir.as_fd(), name).unwrap()));
        } else {
            others.push((dir.clone(), item.name.clone()));
        }
        made.push((dir, item));
    }
    // Metadata when all is there, the last made first: folders after what is in them.
    for (dir, item) in made.iter().rev() {
        let name = item.name.as_slice();
        let (uid, gid) = owner.unwrap_or(item.owner);
        let (is_symlink, is_folder) =
            (matches!(item.kind, Kind::Symlink(_)), matches!(item.kind, Kind::Folder));
        let ids = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        if is_root() {
            rustix::fs::chownat(&**dir, name, ids.0, ids.1, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
        let path = through_proc(dir.as_fd(), name);
        for (xattr, value) in &item.xattrs {
            rustix::fs::lsetxattr(path.as_slice(), xattr.as_slice(), value, XattrFlags::empty())
                .unwrap_or_else(|error| panic!("{}: {error}: {item:?}", xattr.escape_ascii()));
        }
        if item.acl && !is_symlink {
            let value = acl_bytes(is_folder);
            rustix::fs::lsetxattr(path.as_slice(), c"system.posix_acl_access", &value, XattrFlags::empty())
                .unwrap();
            if is_folder {
                rustix::fs::lsetxattr(
                    path.as_slice(),
                    c"system.posix_acl_default",
                    &value,
                    XattrFlags::empty(),
                )
                .unwrap();
            }
        }
        if !is_symlink && !item.acl {
            rustix::fs::chmodat(&**dir, name, Mode::from_bits_truncate(item.mode), AtFlags::empty()).unwrap();
        }
        set_mtime(dir.as_fd(), name, item.mtime);
    }
    for (dir, item) in made.iter().filter(|(_, item)| item.flags != 0) {
        set_flags(dir.as_fd(), &item.name, |now| now | IFlags::from_bits_retain(item.flags));
    }
}

/// Takes the inode flags away that keep a tree from being removed.
pub fn unprotect(root: &Path) {
    each_entry(root, |dir, name, kind| {
        if matches!(kind, FileType::RegularFile | FileType::Directory) {
            set_flags(dir, name, |now| now - IFlags::IMMUTABLE - IFlags::APPEND);
        }
    });
}

fn each_entry(root: &Path, mut each: impl FnMut(BorrowedFd<'_>, &[u8], FileType)) {
    let mut stack = vec![root_handle(root)];
    while let Some(dir) = stack.pop() {
        for name in names(dir.as_fd()) {
            let stat = statx(dir.as_fd(), &name);
            let kind = FileType::from_raw_mode(stat.stx_mode.into());
            each(dir.as_fd(), &name, kind);
            if kind == FileType::Directory {
                stack.push(folder_handle(dir.as_fd(), &name).unwrap());
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------------------
// Comparing

/// What is compared.
#[derive(Clone, Copy)]
pub struct Compare {
    pub owners: bool,
}

pub fn names(dir: BorrowedFd<'_>) -> Vec<Vec<u8>> {
    let again =
        rustix::fs::openat(dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .unwrap();
    let mut names: Vec<Vec<u8>> = rustix::fs::Dir::new(again)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_bytes().to_vec())
        .filter(|name| name != b"." && name != b"..")
        .collect();
    names.sort();
    names
}

fn statx(dir: BorrowedFd<'_>, name: &[u8]) -> Statx {
    rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)
        .unwrap_or_else(|error| panic!("{}: {error}", name.escape_ascii()))
}

fn xattrs(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<(String, Vec<u8>)> {
    let path = through_proc(dir, name);
    let mut list = vec![0; 64 << 10];
    let length = match rustix::fs::llistxattr(path.as_slice(), &mut list[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(error) => panic!("attributes of {}: {error}", name.escape_ascii()),
    };
    let mut all: Vec<(String, Vec<u8>)> = list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|xattr| {
            let mut value = vec![0; 64 << 10];
            let length = rustix::fs::lgetxattr(path.as_slice(), xattr, &mut value[..]).unwrap();
            value.truncate(length);
            (xattr.escape_ascii().to_string(), value)
        })
        .collect();
    all.sort();
    all
}

fn open_for_reading(dir: BorrowedFd<'_>, name: &[u8]) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOATIME;
    rustix::fs::openat(dir, name, flags, Mode::empty())
        .unwrap_or_else(|error| panic!("{}: {error}", name.escape_ascii()))
}

/// Stretches of data, start and end.
pub fn data(file: &OwnedFd, size: u64) -> Vec<(u64, u64)> {
    let mut stretches = Vec::new();
    let mut at = 0;
    while at < size {
        let Ok(start) = rustix::fs::seek(file, SeekFrom::Data(at)) else { break };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start)).unwrap().min(size);
        stretches.push((start, end));
        at = end;
    }
    stretches
}

/// Whether the bytes of both are the same there.
fn same_bytes(a: &OwnedFd, b: &OwnedFd, start: u64, end: u64) -> bool {
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = start;
    while at < end {
        let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(left.len());
        let read = rustix::io::pread(a, &mut left[..most], at).unwrap();
        let mut filled = 0;
        while filled < read {
            match rustix::io::pread(b, &mut right[filled..read], at + filled as u64).unwrap() {
                0 => return false,
                more => filled += more,
            }
        }
        if read == 0 || left[..read] != right[..read] {
            return false;
        }
        at += read as u64;
    }
    true
}

struct Walk {
    differences: Vec<String>,
    /// Inodes with several names, by their number on each side, to the number of the group.
    groups: [HashMap<(u32, u32, u64), usize>; 2],
}

/// Every difference between two trees, their topmost folders included.
pub fn differences(expected: &Path, found: &Path, compare: Compare) -> Vec<String> {
    differences_of(&[(expected, found)], compare)
}

/// The same for several pairs, hard links across them included.
pub fn differences_of(pairs: &[(&Path, &Path)], compare: Compare) -> Vec<String> {
    let mut walk = Walk { differences: Vec::new(), groups: Default::default() };
    for (expected, found) in pairs {
        let (above, above_found) =
            (root_handle(expected.parent().unwrap()), root_handle(found.parent().unwrap()));
        let (name, name_found) =
            (expected.file_name().unwrap().as_bytes(), found.file_name().unwrap().as_bytes());
        let mut stack: Vec<(Rc<OwnedFd>, Rc<OwnedFd>, Vec<u8>, Vec<u8>, String)> = vec![(
            Rc::new(above),
            Rc::new(above_found),
            name.to_vec(),
            name_found.to_vec(),
            name.escape_ascii().to_string(),
        )];
        while let Some((a, b, name, name_found, shown)) = stack.pop() {
            if !walk.entry(a.as_fd(), b.as_fd(), &name, &name_found, &shown, compare) {
                continue;
            }
            let (a, b) =
                (folder_handle(a.as_fd(), &name).unwrap(), folder_handle(b.as_fd(), &name_found).unwrap());
            let (in_a, in_b) = (names(a.as_fd()), names(b.as_fd()));
            for name in in_a.iter().filter(|name| !in_b.contains(name)) {
                walk.differences.push(format!("{shown}/{} is missing", name.escape_ascii()));
            }
            for name in in_b.iter().filter(|name| !in_a.contains(name)) {
                walk.differences.push(format!("{shown}/{} is there and should not be", name.escape_ascii()));
            }
            let (a, b) = (Rc::new(a), Rc::new(b));
            for name in in_a.into_iter().filter(|name| in_b.contains(name)) {
                let below = format!("{shown}/{}", name.escape_ascii());
                stack.push((a.clone(), b.clone(), name.clone(), name, below));
            }
        }
    }
    walk.differences
}

impl Walk {
    /// Compares one entry; whether it is a folder in both.
    fn entry(
        &mut self,
        a: BorrowedFd<'_>,
        b: BorrowedFd<'_>,
        name: &[u8],
        other: &[u8],
        shown: &str,
        compare: Compare,
    ) -> bool {
        let (left, right) = (statx(a, name), statx(b, other));
        let mut differ = |what: &str, expected: &dyn std::fmt::Debug, found: &dyn std::fmt::Debug| {
            self.differences.push(format!("{shown}: {what} is {found:?} instead of {expected:?}"));
        };
        let kind = FileType::from_raw_mode(left.stx_mode.into());
        let kind_found = FileType::from_raw_mode(right.stx_mode.into());
        if kind != kind_found {
            differ("type", &kind, &kind_found);
            return false;
        }
        if left.stx_mode != right.stx_mode {
            differ("mode", &format!("{:o}", left.stx_mode), &format!("{:o}", right.stx_mode));
        }
        if compare.owners && (left.stx_uid, left.stx_gid) != (right.stx_uid, right.stx_gid) {
            differ("owner", &(left.stx_uid, left.stx_gid), &(right.stx_uid, right.stx_gid));
        }
        let (time, time_found) = (left.stx_mtime, right.stx_mtime);
        if (time.tv_sec, time.tv_nsec) != (time_found.tv_sec, time_found.tv_nsec) {
            differ("mtime", &(time.tv_sec, time.tv_nsec), &(time_found.tv_sec, time_found.tv_nsec));
        }
        let (attributes, attributes_found) = (xattrs(a, name), xattrs(b, other));
        if attributes != attributes_found {
            differ("attributes", &attributes, &attributes_found);
        }
        if kind != FileType::Directory {
            let links = (left.stx_nlink, right.stx_nlink);
            if links.0 != links.1 {
                differ("link count", &links.0, &links.1);
            }
            let [groups, groups_found] = &mut self.groups;
            let number = |groups: &mut HashMap<(u32, u32, u64), usize>, stat: &Statx| {
                let next = groups.len();
                *groups.entry((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino)).or_insert(next)
            };
            let (group, group_found) = (number(groups, &left), number(groups_found, &right));
            if group != group_found {
                differ("hard link group", &group, &group_found);
            }
        }
        match kind {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(a, name, Vec::new()).unwrap();
                let found = rustix::fs::readlinkat(b, other, Vec::new()).unwrap();
                if target != found {
                    differ("target", &target, &found);
                }
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                let device = |stat: &Statx| (stat.stx_rdev_major, stat.stx_rdev_minor);
                if device(&left) != device(&right) {
                    differ("device", &device(&left), &device(&right));
                }
            }
            FileType::RegularFile | FileType::Directory => {
                let (file, found) = (open_for_reading(a, name), open_for_reading(b, other));
                let flags =
                    |file: &OwnedFd| rustix::fs::ioctl_getflags(file).map_or(0, |flags| flags.bits() & FLAGS);
                if flags(&file) != flags(&found) {
                    differ("inode flags", &flags(&file), &flags(&found));
                }
                if kind == FileType::RegularFile {
                    if left.stx_size != right.stx_size {
                        differ("size", &left.stx_size, &right.stx_size);
                        return false;
                    }
                    let (here, there) = (data(&file, left.stx_size), data(&found, right.stx_size));
                    if here != there {
                        differ("data between holes", &here, &there);
                    }
                    if !here.iter().chain(&there).all(|(start, end)| same_bytes(&file, &found, *start, *end))
                    {
                        differ("content", &"as saved", &"other");
                    }
                }
            }
            _ => {}
        }
        kind == FileType::Directory
    }
}

#[track_caller]
pub fn assert_same(expected: &Path, found: &Path) {
    let differences = differences(expected, found, Compare { owners: true });
    assert!(differences.is_empty(), "{} differs:\n{}", found.display(), differences.join("\n"));
}

/// Sends a signal to a child of ours.
pub fn signal(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

/// A command in a session of its own: it has no terminal to ask on.
pub fn without_terminal(mut command: Command) -> Command {
    // SAFETY: setsid is async-signal-safe and touches no memory of ours.
    unsafe {
        command.pre_exec(|| {
            let _ = rustix::process::setsid();
            Ok(())
        });
    }
    command
}
