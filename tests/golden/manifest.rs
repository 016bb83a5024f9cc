//! A tree as lines of text: everything of every entry that a restore gives back, in order of path.

use std::collections::HashMap;
use std::fmt::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use copal::files::data_runs;

/// Inode flags that are told: sync, immutable, append-only, nodump, noatime, dirsync.
const FLAGS: u32 = 0x8 | 0x10 | 0x20 | 0x40 | 0x80 | 0x1_0000;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Extended attributes, without labels that the system itself puts on everything.
fn xattrs(path: &Path) -> Vec<(String, String)> {
    let mut list = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, &mut list[..]).unwrap_or(0);
    let ours = [&b"user."[..], b"trusted.", b"system.posix_acl_", b"security.capability"];
    let mut all: Vec<(String, String)> = list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| ours.iter().any(|prefix| name.starts_with(prefix)))
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            (name.escape_ascii().to_string(), hex(&value[..length]))
        })
        .collect();
    all.sort();
    all
}

/// One line an entry. `owner=` is a word of its own, so that it can be left out where it could not be given.
pub fn lines(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut first_names: HashMap<u64, String> = HashMap::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let entry = entry.unwrap();
        let path = entry.path();
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().escape_ascii().to_string();
        let about = entry.metadata().unwrap();
        let kind = about.file_type();
        let word = match kind {
            kind if kind.is_file() => "file",
            kind if kind.is_dir() => "folder",
            kind if kind.is_symlink() => "symlink",
            kind if kind.is_fifo() => "fifo",
            kind if kind.is_socket() => "socket",
            kind if kind.is_char_device() => "character-device",
            _ => "block-device",
        };
        let mut line = format!("/{name}\t{word} owner={}:{}", about.uid(), about.gid());
        write!(line, " mtime={}.{:09}", about.mtime(), about.mtime_nsec()).unwrap();
        if !kind.is_symlink() {
            write!(line, " mode={:04o}", about.mode() & 0o7777).unwrap();
        }
        if kind.is_char_device() || kind.is_block_device() {
            let (major, minor) = (rustix::fs::major(about.rdev()), rustix::fs::minor(about.rdev()));
            write!(line, " device={major}:{minor}").unwrap();
        }
        if kind.is_symlink() {
            let target = std::fs::read_link(path).unwrap();
            write!(line, " target={}", target.as_os_str().as_bytes().escape_ascii()).unwrap();
        }
        for (name, value) in xattrs(path) {
            write!(line, " {name}={value}").unwrap();
        }
        if kind.is_file() || kind.is_dir() {
            let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
            let file = std::fs::File::options().read(true).custom_flags(flags).open(path).unwrap();
            let bits = rustix::fs::ioctl_getflags(&file).map_or(0, |bits| bits.bits() & FLAGS);
            if bits != 0 {
                write!(line, " flags={bits:x}").unwrap();
            }
            if kind.is_file() {
                write!(line, " size={}", about.len()).unwrap();
            }
            if kind.is_file() && about.len() > 0 {
                let mut hasher = blake3::Hasher::new();
                hasher.update_reader(&file).unwrap();
                let data: Vec<String> = data_runs(file.as_fd(), about.len())
                    .filter(|run| !run.is_hole)
                    .map(|run| format!("{}+{}", run.offset, run.length))
                    .collect();
                let shown = if data.len() > 20 {
                    format!("{} runs, {}", data.len(), blake3::hash(data.join(",").as_bytes()).to_hex())
                } else {
                    data.join(",")
                };
                write!(line, " data={shown} blake3={}", hasher.finalize().to_hex()).unwrap();
            }
        }
        if !kind.is_dir() && about.nlink() > 1 {
            let first = first_names.entry(about.ino()).or_insert_with(|| name.clone());
            write!(line, " links={} first=/{first}", about.nlink()).unwrap();
        }
        lines.push(line);
    }
    lines
}

/// What is left of lines for whoever is not root: no owners, no devices, nothing below a folder that needs root.
pub fn without_root(lines: Vec<String>) -> Vec<String> {
    lines
        .into_iter()
        .filter(|line| !line.starts_with("/root only"))
        .map(|line| line.split(' ').filter(|word| !word.starts_with("owner=")).collect::<Vec<_>>().join(" "))
        .collect()
}
