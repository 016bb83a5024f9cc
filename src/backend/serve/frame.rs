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

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum What {
    /// To store an object of `first` bytes, which come in parts; over what has the name, if `second` is not 0. No other may be begun before all
    /// have come.
    Put = 1,
    /// Some of those bytes.
    Part,
    /// An object of at most `first` bytes.
    Get,
    /// `second` bytes of one from byte `first` on.
    Range,
    /// The objects of kinds, whose numbers are the rest.
    List,
    Stat,
    Remove,
    Time,
    Space,
    Exists,
    Create,
    /// Of what was begun before second `first` since 1970 and `second` nanoseconds.
    RemoveLeftovers,
    /// To keep a little room aside, or, when `first` is 0, to give it back.
    Reserve,
}

impl What {
    const ALL: [What; 13] = [
        What::Put,
        What::Part,
        What::Get,
        What::Range,
        What::List,
        What::Stat,
        What::Remove,
        What::Time,
        What::Space,
        What::Exists,
        What::Create,
        What::RemoveLeftovers,
        What::Reserve,
    ];
}

/// A request. What means nothing in it is nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub what: What,
    pub kind: Option<Kind>,
    pub first: u64,
    pub second: u64,
    /// The object's name, or what `what` says.
    pub rest: Vec<u8>,
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Bytes; more comes.
    Part(Vec<u8>),
    /// How many bytes were given or what size an object has; seconds and nanoseconds; total and free room (0: not known); whether, or how
    /// many; of what is put, whether (1) the server's file system can not sync.
    Done(u64, u64),
    Failed(Refusal),
}

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

/// A frame with its length.
fn frame(kind: u8, id: u32, body: &[&[u8]]) -> Vec<u8> {
    let length = HEAD + body.iter().map(|part| part.len()).sum::<usize>();
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    [&[&length[..], &[kind], &id.to_le_bytes()], body].concat().concat()
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
    fn kind(&mut self) -> Result<Kind, Malformed> {
        Kind::from_number(self.u8()?).ok_or(Malformed("no kind of object has that number"))
    }
    fn text(self) -> Result<String, Malformed> {
        std::str::from_utf8(self.0).map(str::to_owned).map_err(|_| Malformed("a text that is none"))
    }
}

impl Request {
    /// One that is of no object.
    pub fn new(what: What, first: u64, second: u64) -> Request {
        Request { what, kind: None, first, second, rest: Vec::new() }
    }

    /// One of an object.
    pub fn of(what: What, kind: Kind, name: &str, first: u64, second: u64) -> Request {
        Request { what, kind: Some(kind), first, second, rest: name.as_bytes().to_vec() }
    }

    pub fn encode(&self, id: u32) -> Vec<u8> {
        let kind = self.kind.map_or(0, Kind::number);
        let (first, second) = (self.first.to_le_bytes(), self.second.to_le_bytes());
        frame(self.what as u8, id, &[&[kind], &first, &second, &self.rest])
    }

    /// The request of a frame, with its number.
    pub fn decode(frame: &[u8]) -> Result<(u32, Request), Malformed> {
        let mut rest = Rest(frame);
        let what = rest.u8()?;
        let what = What::ALL.into_iter().find(|known| *known as u8 == what);
        let what = what.ok_or(Malformed("a request that is not known"))?;
        let id = rest.u32()?;
        let kind = match rest.0.first() {
            Some(0) => rest.u8().map(|_| None)?,
            _ => Some(rest.kind()?),
        };
        let (first, second) = (rest.u64()?, rest.u64()?);
        Ok((id, Request { what, kind, first, second, rest: rest.0.to_vec() }))
    }
}

impl Reply {
    pub fn encode(&self, id: u32) -> Vec<u8> {
        match self {
            Reply::Part(bytes) => frame(128, id, &[bytes]),
            Reply::Done(first, second) => frame(129, id, &[&first.to_le_bytes(), &second.to_le_bytes()]),
            Reply::Failed(Refusal { why, number, text }) => {
                let text = cut(text, REASON_MOST).as_bytes();
                frame(130, id, &[&[*why as u8], &number.to_le_bytes(), text])
            }
        }
    }

    /// The reply of a frame, with the number of its request.
    pub fn decode(frame: &[u8]) -> Result<(u32, Reply), Malformed> {
        let mut rest = Rest(frame);
        let (number, id) = (rest.u8()?, rest.u32()?);
        let reply = match number {
            128 => Reply::Part(rest.0.to_vec()),
            129 => Reply::Done(rest.u64()?, rest.u64()?),
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
        let version = rest.u32().map_err(malformed)?;
        let is_refused = rest.u8().map_err(malformed)?;
        let length = usize::from(u16::from_le_bytes(rest.array().map_err(malformed)?));
        if length > TEXT_MOST || is_refused > 1 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let is_refused = is_refused == 1;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_the_bytes_of_the_protocol_and_come_back() {
        let request = Request::of(What::Range, Kind::Packs, "name", 2, 3);
        let bytes = request.encode(7);
        let numbers = [2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(bytes, [&[26, 0, 0, 0, 4, 7, 0, 0, 0, 3][..], &numbers, b"name"].concat());
        assert_eq!(Request::decode(&bytes[4..]), Ok((7, request)));
        let refusal = Refusal { why: Why::Short, number: 9, text: "\u{fc}".repeat(600) };
        for reply in [Reply::Part(vec![1, 2]), Reply::Done(5, 1 << 60)] {
            assert_eq!(Reply::decode(&reply.encode(8)[4..]), Ok((8, reply)));
        }
        // What is said is cut between characters.
        let Ok((_, Reply::Failed(cut))) = Reply::decode(&Reply::Failed(refusal).encode(8)[4..]) else {
            panic!()
        };
        assert_eq!((cut.why, cut.number, cut.text.len()), (Why::Short, 9, REASON_MOST));
        let hello = Hello { version: 3, is_refused: true, text: "path".to_owned() };
        let bytes = hello.encode();
        assert_eq!(Hello::receive(&mut &bytes[MAGIC.len()..]).unwrap(), hello);
        for (number, what) in (1..).zip(What::ALL) {
            assert_eq!(what as u8, number);
        }
        for (number, why) in (1..).zip(Why::ALL) {
            assert_eq!(why as u8, number);
        }
    }
}
