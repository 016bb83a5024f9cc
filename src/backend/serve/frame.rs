//! What copal and its server say to each other: frames of a length, a kind, the number of the request, and a body. Integers are little-endian.
//! Neither side trusts the other: every length is held to its bound before anything is read, and a frame is used whole or not at all.

use std::io::{self, Read};

use crate::backend::Kind;

/// How both sides begin, so that nothing else is taken for them: no text has these bytes.
pub const MAGIC: [u8; 8] = *b"\x8bcopal\r\n";
/// The version that is spoken.
pub const VERSION: u32 = 1;
/// Bytes of an object in one frame: what others send comes between.
pub const PART_MOST: usize = 128 << 10;
/// No frame is longer, its length not counted.
pub const FRAME_MOST: usize = PART_MOST + 1024;
/// Bytes of a path or a sentence in a greeting.
pub const TEXT_MOST: usize = 4096;
/// Bytes of what is said of a failure.
const REASON_MOST: usize = 512;
/// Kind and number of the request.
const HEAD: usize = 5;

/// A request. Names are as they came: whether a kind can have them is for whoever uses them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// An object of so many bytes, which come in parts. Nothing else is put before all have come.
    Put {
        kind: Kind,
        over: bool,
        size: u64,
        name: String,
    },
    Part(Vec<u8>),
    Get {
        kind: Kind,
        most: u64,
        name: String,
    },
    Range {
        kind: Kind,
        offset: u64,
        length: u64,
        name: String,
    },
    List(Vec<Kind>),
    Stat {
        kind: Kind,
        name: String,
    },
    Remove {
        kind: Kind,
        name: String,
    },
    Time,
    Space,
    Exists,
    Create,
    /// What was begun before that second since 1970 and those nanoseconds.
    RemoveLeftovers {
        seconds: i64,
        nanos: u32,
    },
    Reserve(bool),
}

/// A reply. After parts comes one of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Part(Vec<u8>),
    Done(Vec<u64>),
    Failed(Refusal),
}

/// Numbers of a reply.
const NUMBERS_MOST: usize = 2;

/// What went wrong at the server, as far as whoever asked can not say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub why: Why,
    /// How many bytes there are, of what is too short.
    pub number: u64,
    pub text: String,
}

/// What whoever asked can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Why {
    NotFound = 1,
    NoPlace,
    Exists,
    Occupied,
    Short,
    TooLong,
    NoSpace,
    Denied,
    Unsupported,
    Io,
}

impl Why {
    const ALL: [Why; 10] = [
        Why::NotFound,
        Why::NoPlace,
        Why::Exists,
        Why::Occupied,
        Why::Short,
        Why::TooLong,
        Why::NoSpace,
        Why::Denied,
        Why::Unsupported,
        Why::Io,
    ];
}

/// A frame that is not what it should be, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

struct Frame(Vec<u8>);

impl Frame {
    fn new(kind: u8, id: u32) -> Frame {
        Frame([&[0; 4][..], &[kind], &id.to_le_bytes()].concat())
    }
    fn u8(self, value: u8) -> Frame {
        self.bytes(&[value])
    }
    fn u64(self, value: u64) -> Frame {
        self.bytes(&value.to_le_bytes())
    }
    fn bytes(mut self, bytes: &[u8]) -> Frame {
        self.0.extend(bytes);
        self
    }
    fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - 4).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_le_bytes());
        self.0
    }
}

/// What is left of a frame.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (first, rest) = self.0.split_first_chunk().ok_or(Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(*first)
    }
    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }
    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("neither yes nor no")),
        }
    }
    fn kind(&mut self) -> Result<Kind, Malformed> {
        Kind::from_number(self.u8()?).ok_or(Malformed("no kind of object has that number"))
    }
    fn all(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
    fn text(&mut self) -> Result<String, Malformed> {
        std::str::from_utf8(self.all()).map(str::to_owned).map_err(|_| Malformed("a text that is none"))
    }
}

/// The frame of a part of an object, to or from the server.
pub fn part(kind: u8, id: u32, bytes: &[u8]) -> Vec<u8> {
    Frame::new(kind, id).bytes(bytes).finish()
}

/// Kinds of frames with parts.
pub const PUT_PART: u8 = 2;
pub const GIVEN_PART: u8 = 128;

impl Request {
    pub fn encode(&self, id: u32) -> Vec<u8> {
        let of = |number: u8, kind: &Kind| Frame::new(number, id).u8(kind.number());
        match self {
            Request::Put { kind, over, size, name } => {
                of(1, kind).u8(u8::from(*over)).u64(*size).bytes(name.as_bytes())
            }
            Request::Part(bytes) => return part(PUT_PART, id, bytes),
            Request::Get { kind, most, name } => of(3, kind).u64(*most).bytes(name.as_bytes()),
            Request::Range { kind, offset, length, name } => {
                of(4, kind).u64(*offset).u64(*length).bytes(name.as_bytes())
            }
            Request::List(kinds) => {
                let numbers: Vec<u8> = kinds.iter().map(|kind| kind.number()).collect();
                Frame::new(5, id).bytes(&numbers)
            }
            Request::Stat { kind, name } => of(6, kind).bytes(name.as_bytes()),
            Request::Remove { kind, name } => of(7, kind).bytes(name.as_bytes()),
            Request::Time => Frame::new(8, id),
            Request::Space => Frame::new(9, id),
            Request::Exists => Frame::new(10, id),
            Request::Create => Frame::new(11, id),
            Request::RemoveLeftovers { seconds, nanos } => {
                Frame::new(12, id).bytes(&seconds.to_le_bytes()).bytes(&nanos.to_le_bytes())
            }
            Request::Reserve(keep) => Frame::new(13, id).u8(u8::from(*keep)),
        }
        .finish()
    }

    /// The request of a frame, with its number.
    pub fn decode(frame: &[u8]) -> Result<(u32, Request), Malformed> {
        let mut rest = Rest(frame);
        let (number, id) = (rest.u8()?, rest.u32()?);
        let request = match number {
            1 => {
                let (kind, over, size) = (rest.kind()?, rest.flag()?, rest.u64()?);
                Request::Put { kind, over, size, name: rest.text()? }
            }
            PUT_PART => Request::Part(rest.all().to_vec()),
            3 => {
                let (kind, most) = (rest.kind()?, rest.u64()?);
                Request::Get { kind, most, name: rest.text()? }
            }
            4 => {
                let (kind, offset, length) = (rest.kind()?, rest.u64()?, rest.u64()?);
                Request::Range { kind, offset, length, name: rest.text()? }
            }
            5 if rest.0.len() > Kind::ALL.len() => return Err(Malformed("more kinds than there are")),
            5 => {
                let mut kinds = Vec::new();
                while !rest.0.is_empty() {
                    kinds.push(rest.kind()?);
                }
                Request::List(kinds)
            }
            6 => Request::Stat { kind: rest.kind()?, name: rest.text()? },
            7 => Request::Remove { kind: rest.kind()?, name: rest.text()? },
            8 => Request::Time,
            9 => Request::Space,
            10 => Request::Exists,
            11 => Request::Create,
            12 => Request::RemoveLeftovers { seconds: i64::from_le_bytes(rest.array()?), nanos: rest.u32()? },
            13 => Request::Reserve(rest.flag()?),
            _ => return Err(Malformed("a request that is not known")),
        };
        if rest.0.is_empty() { Ok((id, request)) } else { Err(Malformed("it is too long")) }
    }
}

impl Reply {
    pub fn encode(&self, id: u32) -> Vec<u8> {
        match self {
            Reply::Part(bytes) => return part(GIVEN_PART, id, bytes),
            Reply::Done(numbers) => {
                numbers.iter().fold(Frame::new(129, id), |frame, number| frame.u64(*number))
            }
            Reply::Failed(Refusal { why, number, text }) => {
                Frame::new(130, id).u8(*why as u8).u64(*number).bytes(cut(text, REASON_MOST).as_bytes())
            }
        }
        .finish()
    }

    /// The reply of a frame, with the number of its request.
    pub fn decode(frame: &[u8]) -> Result<(u32, Reply), Malformed> {
        let mut rest = Rest(frame);
        let (number, id) = (rest.u8()?, rest.u32()?);
        let reply = match number {
            GIVEN_PART => Reply::Part(rest.all().to_vec()),
            129 if rest.0.len() > 8 * NUMBERS_MOST => return Err(Malformed("more numbers than it can have")),
            129 => {
                let mut numbers = Vec::new();
                while !rest.0.is_empty() {
                    numbers.push(rest.u64()?);
                }
                Reply::Done(numbers)
            }
            130 => {
                let why = rest.u8()?;
                let why = Why::ALL.into_iter().find(|known| *known as u8 == why);
                let why = why.ok_or(Malformed("a failure that is not known"))?;
                Reply::Failed(Refusal { why, number: rest.u64()?, text: rest.text()? })
            }
            _ => return Err(Malformed("a reply that is not known")),
        };
        Ok((id, reply))
    }
}

/// Reads the next frame, without its length; whether there was one. A length that no frame has is `InvalidData`.
pub fn receive(from: &mut dyn Read, frame: &mut Vec<u8>) -> io::Result<bool> {
    let mut length = [0; 4];
    if from.read(&mut length[..1])? == 0 {
        return Ok(false);
    }
    from.read_exact(&mut length[1..])?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if !(HEAD..=FRAME_MOST).contains(&length) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    frame.resize(length, 0);
    from.read_exact(frame)?;
    Ok(true)
}

/// One object of a listing, as it stands in a part.
pub fn entry(kind: Kind, size: u64, name: &str) -> Vec<u8> {
    [&[kind.number()][..], &size.to_le_bytes(), name.as_bytes()].concat()
}

/// All objects of a part of a listing.
pub fn entries(part: &[u8], each: &mut dyn FnMut(Kind, u64, String)) -> Result<(), Malformed> {
    let mut rest = Rest(part);
    while !rest.0.is_empty() {
        let (kind, size) = (rest.kind()?, rest.u64()?);
        let (name, after) =
            rest.0.split_at_checked(kind.name_length()).ok_or(Malformed("a name that is cut off"))?;
        rest.0 = after;
        let name = std::str::from_utf8(name).ok().filter(|name| kind.is_name(name));
        each(kind, size, name.ok_or(Malformed("a name that no object has"))?.to_owned());
    }
    Ok(())
}

/// How either side begins: a version, whether it goes on (of the server), and a text: which folder is meant, or why it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub version: u32,
    pub is_refused: bool,
    pub text: String,
}

impl Hello {
    pub fn encode(&self) -> Vec<u8> {
        let text = cut(&self.text, TEXT_MOST).as_bytes();
        let size = u16::try_from(text.len()).unwrap_or(0).to_le_bytes();
        [&MAGIC[..], &self.version.to_le_bytes(), &[u8::from(self.is_refused)], &size, text].concat()
    }

    /// Reads how the other side begins, after `MAGIC`.
    pub fn receive(from: &mut dyn Read) -> io::Result<Hello> {
        let mut head = [0; 7];
        from.read_exact(&mut head)?;
        let mut rest = Rest(&head);
        let malformed = |_| io::Error::from(io::ErrorKind::InvalidData);
        let (version, is_refused) = (rest.u32().map_err(malformed)?, rest.flag().map_err(malformed)?);
        let length = usize::from(u16::from_le_bytes(rest.array().map_err(malformed)?));
        if length > TEXT_MOST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut text = vec![0; length];
        from.read_exact(&mut text)?;
        let text = String::from_utf8(text).map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(Hello { version, is_refused, text })
    }
}

/// The beginning of a text, of at most so many bytes.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|place| text.is_char_boundary(*place));
    &text[..end.unwrap_or(0)]
}
