//! Records: numbered fields in ascending order, each with a critical bit. docs/format.md, section 3.

use super::Error;
use crate::model::{Id, Id16, Time};

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Writes one record; fields must come in ascending order. Absent values are left out.
#[derive(Default)]
pub struct Writer {
    out: Vec<u8>,
    last: u64,
}

impl Writer {
    /// A field with any bytes, written even when empty. `critical` as in the format.
    pub fn field(&mut self, number: u64, critical: bool, value: &[u8]) -> &mut Writer {
        debug_assert!(number > self.last, "fields in order");
        self.last = number;
        put_varint(&mut self.out, number << 1 | u64::from(critical));
        put_varint(&mut self.out, value.len() as u64);
        self.out.extend_from_slice(value);
        self
    }

    /// Bytes, left out when empty.
    pub fn bytes(&mut self, number: u64, critical: bool, value: &[u8]) -> &mut Writer {
        if value.is_empty() { self } else { self.field(number, critical, value) }
    }

    /// An integer, left out when 0.
    pub fn int(&mut self, number: u64, critical: bool, value: u64) -> &mut Writer {
        if value == 0 {
            return self;
        }
        let mut bytes = Vec::with_capacity(10);
        put_varint(&mut bytes, value);
        self.field(number, critical, &bytes)
    }

    /// A signed integer, left out when 0.
    pub fn sint(&mut self, number: u64, critical: bool, value: i64) -> &mut Writer {
        self.int(number, critical, zigzag(value))
    }

    /// A time, left out when absent.
    pub fn time(&mut self, number: u64, critical: bool, value: Option<Time>) -> &mut Writer {
        let Some(time) = value else { return self };
        let mut bytes = Vec::with_capacity(15);
        put_varint(&mut bytes, zigzag(time.seconds));
        put_varint(&mut bytes, u64::from(time.nanos));
        self.field(number, critical, &bytes)
    }

    /// An id, left out when absent.
    pub fn id(&mut self, number: u64, critical: bool, value: Option<&Id>) -> &mut Writer {
        match value {
            Some(id) => self.field(number, critical, &id.0),
            None => self,
        }
    }

    /// A list, left out when empty.
    pub fn list<B: AsRef<[u8]>>(
        &mut self,
        number: u64,
        critical: bool,
        items: impl IntoIterator<Item = B>,
    ) -> &mut Writer {
        let mut bytes = Vec::new();
        for item in items {
            put_varint(&mut bytes, item.as_ref().len() as u64);
            bytes.extend_from_slice(item.as_ref());
        }
        self.bytes(number, critical, &bytes)
    }

    /// The record's bytes.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

/// Reads bytes from the front, never beyond the end.
#[derive(Clone, Copy)]
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(Error::Malformed("cut short"))?;
        self.0 = tail;
        Ok(head)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, tail) = self.0.split_first_chunk().ok_or(Error::Malformed("cut short"))?;
        self.0 = tail;
        Ok(*head)
    }

    /// A varint in its shortest form.
    pub fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 || byte == 0 && shift > 0 {
                return Err(Error::Malformed("a number is out of range or padded"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::Malformed("a number is too long"))
    }

    /// A varint as a length that fits what is left.
    pub fn length(&mut self) -> Result<usize, Error> {
        let length = self.varint()?;
        if length > self.0.len() as u64 {
            return Err(Error::Malformed("a length goes past the end"));
        }
        Ok(length as usize)
    }

    /// A length and that many bytes.
    pub fn prefixed(&mut self) -> Result<&'a [u8], Error> {
        let length = self.length()?;
        self.take(length)
    }

    /// How many lengths with their bytes are left. Refuses more than `most`.
    pub fn count_prefixed(mut self, most: usize) -> Result<usize, Error> {
        let mut count = 0;
        while !self.is_empty() {
            self.prefixed()?;
            count += 1;
            if count > most {
                return Err(Error::Malformed("too many elements in a list"));
            }
        }
        Ok(count)
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads one record field by field.
pub struct Reader<'a> {
    cursor: Cursor<'a>,
    last: u64,
}

/// One field as it stands in the record.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    pub number: u64,
    pub critical: bool,
    pub value: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the record's beginning.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { cursor: Cursor(bytes), last: 0 }
    }

    /// The next field, or none at the end.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Field<'a>>, Error> {
        if self.cursor.is_empty() {
            return Ok(None);
        }
        let key = self.cursor.varint()?;
        let number = key >> 1;
        if number <= self.last {
            return Err(Error::Malformed("fields are not in order"));
        }
        self.last = number;
        Ok(Some(Field { number, critical: key & 1 == 1, value: self.cursor.prefixed()? }))
    }
}

impl<'a> Field<'a> {
    fn whole<T>(&self, read: impl FnOnce(&mut Cursor<'a>) -> Result<T, Error>) -> Result<T, Error> {
        let mut cursor = Cursor(self.value);
        let value = read(&mut cursor)?;
        if cursor.is_empty() { Ok(value) } else { Err(Error::Malformed("a field is too long")) }
    }

    /// The value as an integer.
    pub fn int(&self) -> Result<u64, Error> {
        self.whole(|cursor| cursor.varint())
    }

    /// The value as a 32-bit integer.
    pub fn int32(&self) -> Result<u32, Error> {
        u32::try_from(self.int()?).map_err(|_| Error::Malformed("a number is out of range"))
    }

    /// The value as a signed integer.
    pub fn sint(&self) -> Result<i64, Error> {
        self.int().map(unzigzag)
    }

    /// The value as a time.
    pub fn time(&self) -> Result<Time, Error> {
        self.whole(|cursor| {
            let seconds = unzigzag(cursor.varint()?);
            match cursor.varint()? {
                nanos @ 0..1_000_000_000 => Ok(Time { seconds, nanos: nanos as u32 }),
                _ => Err(Error::Malformed("nanoseconds out of range")),
            }
        })
    }

    /// The value as bytes of that fixed length.
    pub fn array<const N: usize>(&self) -> Result<[u8; N], Error> {
        self.whole(|cursor| cursor.array())
    }

    /// The value as an id.
    pub fn id(&self) -> Result<Id, Error> {
        self.array().map(Id)
    }

    /// The value as a 16-byte id.
    pub fn id16(&self) -> Result<Id16, Error> {
        self.array().map(Id16)
    }

    /// The value as text.
    pub fn text(&self) -> Result<String, Error> {
        String::from_utf8(self.value.to_vec()).map_err(|_| Error::Malformed("text is not UTF-8"))
    }

    /// The value as a list of at most `most` elements, each given to `each`. They are counted before any memory is taken: an empty
    /// element is one byte here, and far more once it is decoded.
    pub fn list<T>(
        &self,
        most: usize,
        mut each: impl FnMut(&'a [u8]) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let count = Cursor(self.value).count_prefixed(most)?;
        let mut items = Vec::with_capacity(count);
        let mut cursor = Cursor(self.value);
        while !cursor.is_empty() {
            items.push(each(cursor.prefixed()?)?);
        }
        Ok(items)
    }

    /// What a reader does with a field it does not know.
    pub fn unknown(&self) -> Result<(), Error> {
        if self.critical { Err(Error::UnknownField(self.number)) } else { Ok(()) }
    }
}

/// The id that an element of a list is.
pub fn element_id(bytes: &[u8]) -> Result<Id, Error> {
    bytes.try_into().map(Id).map_err(|_| Error::Malformed("an id has another length"))
}

/// The text that an element of a list is.
pub fn element_text(bytes: &[u8]) -> Result<String, Error> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Error::Malformed("text is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_padded_ones_are_refused() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(Cursor(&bytes).varint().unwrap(), value);
        }
        assert!(Cursor(&[0x80, 0]).varint().is_err());
        assert!(Cursor(&[0xff; 10]).varint().is_err());
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
    }

    #[test]
    fn fields_out_of_order_or_past_the_end_are_refused() {
        let mut writer = Writer::default();
        writer.int(2, true, 5).bytes(4, false, b"x");
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.next().unwrap().unwrap().int().unwrap(), 5);
        assert!(reader.next().unwrap().unwrap().unknown().is_ok());
        assert!(reader.next().unwrap().is_none());
        let mut twice = bytes.clone();
        twice.extend_from_slice(&bytes);
        let mut reader = Reader::new(&twice);
        reader.next().unwrap();
        reader.next().unwrap();
        assert!(reader.next().is_err());
        assert!(Reader::new(&[2, 200, 1]).next().is_err());
    }
}
