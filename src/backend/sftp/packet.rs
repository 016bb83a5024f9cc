//! What servers say in version 3 of the SSH File Transfer Protocol (draft-ietf-secsh-filexfer-02, and OpenSSH's `PROTOCOL`). Nothing they say
//! is trusted: lengths and counts are held to what is there before anything is reserved for them.

use std::io::{self, Read};

use super::request::Request;
use crate::backend::ssh::connection::{self, Lost, Unheard};

/// The version that is spoken.
pub const VERSION: u32 = 3;
/// No packet is longer: so OpenSSH has it, and no server sends more.
pub const PACKET_MOST: usize = 256 << 10;
/// No handle is longer, says the protocol.
const HANDLE_MOST: usize = 256;

/// Status codes. Those from 11 on are of later versions, and some servers send them nevertheless.
pub mod code {
    pub const OK: u32 = 0;
    pub const EOF: u32 = 1;
    pub const NO_SUCH_FILE: u32 = 2;
    pub const DENIED: u32 = 3;
    pub const BAD_MESSAGE: u32 = 5;
    pub const NO_CONNECTION: u32 = 6;
    pub const CONNECTION_LOST: u32 = 7;
    pub const UNSUPPORTED: u32 = 8;
    pub const WRITE_PROTECT: u32 = 12;
    pub const NO_SPACE: u32 = 14;
    pub const QUOTA: u32 = 15;
}

/// What a server says of a file, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub size: Option<u64>,
    pub mode: Option<u32>,
    /// Seconds since 1970.
    pub modified: Option<u32>,
}

pub mod attribute {
    pub const SIZE: u32 = 1;
    pub const OWNER: u32 = 2;
    pub const MODE: u32 = 4;
    pub const TIMES: u32 = 8;
    pub const EXTENDED: u32 = 1 << 31;
}

impl Attributes {
    fn kind(&self) -> Option<u32> {
        self.mode.map(|mode| mode & 0o170_000)
    }

    /// The length of a regular file; none for anything else, and where the server does not say.
    pub fn length(&self) -> Option<u64> {
        self.size.filter(|_| self.kind() == Some(0o100_000))
    }

    /// Whether both are said that `length` goes by.
    pub fn is_whole(&self) -> bool {
        self.size.is_some() && self.mode.is_some()
    }

    pub fn is_folder(&self) -> bool {
        self.kind() == Some(0o040_000)
    }
}

/// What stands in a folder under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: Vec<u8>,
    pub attributes: Attributes,
}

/// A reply without its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Status { code: u32, message: Vec<u8> },
    Handle(Vec<u8>),
    Data(Vec<u8>),
    Names(Vec<Listed>),
    Attributes(Attributes),
    Extended(Vec<u8>),
}

/// Why bytes are no packet of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

const CUT: Malformed = Malformed("a packet ends too early");

/// What is left to read of a packet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(CUT)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(CUT)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let count = self.u32()?;
        self.take(usize::try_from(count).map_err(|_| CUT)?)
    }

    fn attributes(&mut self) -> Result<Attributes, Malformed> {
        let flags = self.u32()?;
        let has = |flag: u32| flags & flag != 0;
        let mut found = Attributes::default();
        if has(attribute::SIZE) {
            found.size = Some(self.u64()?);
        }
        if has(attribute::OWNER) {
            self.take(8)?;
        }
        if has(attribute::MODE) {
            found.mode = Some(self.u32()?);
        }
        if has(attribute::TIMES) {
            self.u32()?;
            found.modified = Some(self.u32()?);
        }
        if has(attribute::EXTENDED) {
            // Each takes eight bytes at least, so a count that lies ends at the packet's end.
            for _ in 0..self.u32()? {
                self.string()?;
                self.string()?;
            }
        }
        Ok(found)
    }

    fn names(&mut self) -> Result<Vec<Listed>, Malformed> {
        let count = self.u32()?;
        // Two strings and flags are twelve bytes: nothing is reserved for names that are not there.
        let count = usize::try_from(count)
            .ok()
            .filter(|count| *count <= self.0.len() / 12)
            .ok_or(Malformed("a list is said to hold more names than it has room for"))?;
        let mut names = Vec::with_capacity(count);
        for _ in 0..count {
            let name = self.string()?.to_vec();
            self.string()?;
            names.push(Listed { name, attributes: self.attributes()? });
        }
        Ok(names)
    }
}

/// What a packet holds, without its length: the id of the request that it answers, and the reply.
pub fn decode(packet: &[u8]) -> Result<(u32, Reply), Malformed> {
    let mut rest = Rest(packet);
    let kind = rest.u8()?;
    let id = rest.u32()?;
    let reply = match kind {
        101 => {
            let code = rest.u32()?;
            // Old servers leave the message out.
            Reply::Status { code, message: rest.string().unwrap_or_default().to_vec() }
        }
        102 => match rest.string()? {
            handle if handle.len() <= HANDLE_MOST => Reply::Handle(handle.to_vec()),
            _ => return Err(Malformed("a handle is too long")),
        },
        103 => Reply::Data(rest.string()?.to_vec()),
        104 => Reply::Names(rest.names()?),
        105 => Reply::Attributes(rest.attributes()?),
        201 => Reply::Extended(rest.0.to_vec()),
        _ => return Err(Malformed("a packet is of no known kind")),
    };
    Ok((id, reply))
}

/// What the server is and can, as its first packet says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    pub rename_over: bool,
    pub link: bool,
    pub sync: bool,
    pub space: bool,
    pub limits: bool,
}

/// Reads a server's first packet.
pub fn decode_greeting(packet: &[u8]) -> Result<Extensions, Malformed> {
    let mut rest = Rest(packet);
    if rest.u8()? != 2 {
        return Err(Malformed("the first packet does not tell a version"));
    }
    if rest.u32()? < VERSION {
        return Err(Malformed("the server speaks no version of SFTP from 3 on"));
    }
    let mut found = Extensions::default();
    while !rest.0.is_empty() {
        let (name, version) = (rest.string()?, rest.string()?);
        match (name, version) {
            (b"posix-rename@openssh.com", b"1") => found.rename_over = true,
            (b"hardlink@openssh.com", b"1") => found.link = true,
            (b"fsync@openssh.com", b"1") => found.sync = true,
            (b"statvfs@openssh.com", b"2") => found.space = true,
            (b"limits@openssh.com", b"1") => found.limits = true,
            _ => {}
        }
    }
    Ok(found)
}

/// What a server takes at once; zero where it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub read: u64,
    pub write: u64,
    pub handles: u64,
}

impl Limits {
    pub fn decode(bytes: &[u8]) -> Result<Limits, Malformed> {
        let mut rest = Rest(bytes);
        let _packet = rest.u64()?;
        Ok(Limits { read: rest.u64()?, write: rest.u64()?, handles: rest.u64()? })
    }
}

/// The room of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub total: u64,
    pub free: u64,
    /// No file can be made any more, whatever room there is.
    pub no_files: bool,
    pub read_only: bool,
}

impl Room {
    pub fn decode(bytes: &[u8]) -> Result<Room, Malformed> {
        let mut rest = Rest(bytes);
        let mut numbers = [0; 11];
        for number in &mut numbers {
            *number = rest.u64()?;
        }
        let [_, unit, blocks, _, available, files, _, files_available, _, flags, _] = numbers;
        Ok(Room {
            total: blocks.saturating_mul(unit),
            free: available.saturating_mul(unit),
            no_files: files > 0 && files_available == 0,
            read_only: flags & 1 != 0,
        })
    }
}

/// Reads the next packet, without its length, into `packet`; whether there was one. A length that no packet has is `InvalidData`.
pub fn receive(from: &mut impl Read, packet: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 4];
    match from.read(&mut length) {
        Ok(0) => return Ok(false),
        Ok(count) => from.read_exact(&mut length[count..])?,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => from.read_exact(&mut length)?,
        Err(error) => return Err(error),
    }
    let count = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if !(5..=PACKET_MOST).contains(&count) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    packet.clear();
    packet.resize(count, 0);
    from.read_exact(packet)?;
    Ok(true)
}

/// The protocol, as a connection knows it.
pub struct Protocol;

impl connection::Protocol for Protocol {
    const NAME: &'static str = "sftp";
    type Greeting = Extensions;
    type Reply = Reply;

    fn greeting(from: &mut dyn Read, packet: &mut Vec<u8>) -> Result<Extensions, Unheard> {
        let no_packet = "what answers does not speak SFTP: something there writes text first (a login script?), or has no SFTP server";
        next(from, packet, no_packet)?;
        Ok(decode_greeting(packet).map_err(broken)?)
    }

    fn reply(from: &mut dyn Read, packet: &mut Vec<u8>) -> Result<(u32, Reply), Unheard> {
        next(from, packet, "the server sent something that is no SFTP packet")?;
        Ok(decode(packet).map_err(broken)?)
    }

    /// Servers end with requests in hand.
    fn last(id: u32) -> Option<Vec<u8>> {
        Some(Request::Look(".").encode(id))
    }
}

fn next(mut from: &mut dyn Read, packet: &mut Vec<u8>, no_packet: &str) -> Result<(), Unheard> {
    match receive(&mut from, packet) {
        Ok(true) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(Lost::broken(no_packet).into()),
        Ok(false) | Err(_) => Err(Unheard::Ended),
    }
}

fn broken(Malformed(words): Malformed) -> Lost {
    Lost::broken(format!("the server does not keep to SFTP: {words}"))
}

#[cfg(test)]
mod tests;
