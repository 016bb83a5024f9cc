//! Requests of version 3 of the SSH File Transfer Protocol as bytes.

use super::packet::{VERSION, attribute};

/// For `Open`: to read.
pub const READ: u32 = 1;
/// For `Open`: to write a file that is not there yet.
pub const NEW: u32 = 2 | 8 | 32;

/// A request, with paths as the server knows them.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// `mode` is what a new file gets.
    Open {
        path: &'a str,
        flags: u32,
        mode: Option<u32>,
    },
    Close(&'a [u8]),
    Read {
        handle: &'a [u8],
        offset: u64,
        length: u32,
    },
    Write {
        handle: &'a [u8],
        offset: u64,
        bytes: &'a [u8],
    },
    Look(&'a str),
    LookAtOpen(&'a [u8]),
    SetMode(&'a str, u32),
    OpenFolder(&'a str),
    ReadFolder(&'a [u8]),
    Remove(&'a str),
    MakeFolder(&'a str, u32),
    Rename(&'a str, &'a str),
    RenameOver(&'a str, &'a str),
    Link(&'a str, &'a str),
    Sync(&'a [u8]),
    Space(&'a str),
    Limits,
}

/// The bytes of a packet while they are put together.
struct Packet(Vec<u8>);

impl Packet {
    fn new(kind: u8, number: u32) -> Packet {
        let mut packet = Packet(Vec::with_capacity(128));
        packet.0.extend([0, 0, 0, 0, kind]);
        packet.u32(number)
    }

    fn u32(mut self, number: u32) -> Packet {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn u64(mut self, number: u64) -> Packet {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn string(mut self, bytes: &[u8]) -> Packet {
        self.0.reserve(4 + bytes.len());
        self = self.u32(length(bytes));
        self.0.extend(bytes);
        self
    }

    fn text(self, text: &str) -> Packet {
        self.string(text.as_bytes())
    }

    /// Attributes: a mode, or nothing.
    fn mode(self, mode: Option<u32>) -> Packet {
        match mode {
            Some(mode) => self.u32(attribute::MODE).u32(mode),
            None => self.u32(0),
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let length = length(&self.0[4..]).to_be_bytes();
        self.0[..4].copy_from_slice(&length);
        self.0
    }
}

/// Paths and pieces of objects: never near 4 GiB.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// The first packet of a connection.
pub fn greeting() -> Vec<u8> {
    Packet::new(1, VERSION).finish()
}

impl Request<'_> {
    /// The packet, with its length.
    pub fn encode(&self, id: u32) -> Vec<u8> {
        let extended = |name: &str| Packet::new(200, id).text(name);
        match *self {
            Request::Open { path, flags, mode } => Packet::new(3, id).text(path).u32(flags).mode(mode),
            Request::Close(handle) => Packet::new(4, id).string(handle),
            Request::Read { handle, offset, length } => {
                Packet::new(5, id).string(handle).u64(offset).u32(length)
            }
            Request::Write { handle, offset, bytes } => {
                Packet::new(6, id).string(handle).u64(offset).string(bytes)
            }
            Request::Look(path) => Packet::new(7, id).text(path),
            Request::LookAtOpen(handle) => Packet::new(8, id).string(handle),
            Request::SetMode(path, mode) => Packet::new(9, id).text(path).mode(Some(mode)),
            Request::OpenFolder(path) => Packet::new(11, id).text(path),
            Request::ReadFolder(handle) => Packet::new(12, id).string(handle),
            Request::Remove(path) => Packet::new(13, id).text(path),
            Request::MakeFolder(path, mode) => Packet::new(14, id).text(path).mode(Some(mode)),
            Request::Rename(from, to) => Packet::new(18, id).text(from).text(to),
            Request::RenameOver(from, to) => extended("posix-rename@openssh.com").text(from).text(to),
            Request::Link(from, to) => extended("hardlink@openssh.com").text(from).text(to),
            Request::Sync(handle) => extended("fsync@openssh.com").string(handle),
            Request::Space(path) => extended("statvfs@openssh.com").text(path),
            Request::Limits => extended("limits@openssh.com"),
        }
        .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_the_bytes_of_the_protocol() {
        assert_eq!(greeting(), [0, 0, 0, 5, 1, 0, 0, 0, 3]);
        assert_eq!(
            Request::Open { path: "a", flags: NEW, mode: Some(0o600) }.encode(7),
            [0, 0, 0, 22, 3, 0, 0, 0, 7, 0, 0, 0, 1, b'a', 0, 0, 0, 42, 0, 0, 0, 4, 0, 0, 1, 128]
        );
        assert_eq!(
            Request::Read { handle: b"h", offset: 1 << 32, length: 5 }.encode(1),
            [0, 0, 0, 22, 5, 0, 0, 0, 1, 0, 0, 0, 1, b'h', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5]
        );
        assert_eq!(
            Request::Write { handle: b"h", offset: 2, bytes: b"xy" }.encode(1),
            [0, 0, 0, 24, 6, 0, 0, 0, 1, 0, 0, 0, 1, b'h', 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 2, b'x', b'y']
        );
        let link = Request::Link("a", "b").encode(1);
        assert_eq!(link[4], 200);
        assert!(link.ends_with(b"\0\0\0\x14hardlink@openssh.com\0\0\0\x01a\0\0\0\x01b"));
        assert_eq!(link.len() - 4, u32::from_be_bytes(link[..4].try_into().unwrap()) as usize);
    }
}
