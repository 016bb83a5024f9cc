//! A long list inside of JSON, read element by element, however long it is.

use std::fmt;
use std::io::Read;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::Error;
use super::program::json;

/// Where the list is: in an object under `list`, or in each of several objects. Another field of these may be wanted, too.
#[derive(Clone, Copy)]
pub struct Form {
    pub list: &'static str,
    pub other: &'static str,
    /// The objects are elements of an array.
    pub is_within_array: bool,
}

/// Gives each element of the list to `take`, and the other field back. That an object has no list is an error.
pub fn read<T: DeserializeOwned, O: DeserializeOwned>(
    input: impl Read,
    form: Form,
    take: &mut dyn FnMut(T) -> Result<(), Error>,
) -> Result<Option<O>, Error> {
    let (mut failed, mut other) = (None, None);
    let mut reader = serde_json::Deserializer::from_reader(input);
    let at = At { form, place: if form.is_within_array { Place::Array } else { Place::Object } };
    let read =
        Walk { at, take, failed: &mut failed, other: &mut other, of: PhantomData }.deserialize(&mut reader);
    match (failed, read) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(json(&error)),
        (None, Ok(())) => Ok(other),
    }
}

#[derive(Clone, Copy)]
enum Place {
    Array,
    Object,
    List,
}

#[derive(Clone, Copy)]
struct At {
    form: Form,
    place: Place,
}

struct Walk<'w, T, O> {
    at: At,
    take: &'w mut dyn FnMut(T) -> Result<(), Error>,
    failed: &'w mut Option<Error>,
    other: &'w mut Option<O>,
    of: PhantomData<T>,
}

impl<T, O> Walk<'_, T, O> {
    /// The same one step further in.
    fn within(&mut self, place: Place) -> Walk<'_, T, O> {
        let at = At { place, ..self.at };
        Walk { at, take: self.take, failed: self.failed, other: self.other, of: PhantomData }
    }
}

impl<'de, T: Deserialize<'de>, O: Deserialize<'de>> DeserializeSeed<'de> for Walk<'_, T, O> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.at.place {
            Place::Object => deserializer.deserialize_map(self),
            Place::Array | Place::List => deserializer.deserialize_seq(self),
        }
    }
}

impl<'de, T: Deserialize<'de>, O: Deserialize<'de>> Visitor<'de> for Walk<'_, T, O> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entries")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut has_list = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == self.at.form.list {
                has_list = true;
                map.next_value_seed(self.within(Place::List))?;
            } else if name == self.at.form.other {
                *self.other = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if has_list { Ok(()) } else { Err(A::Error::custom("no list of entries")) }
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        if let Place::Array = self.at.place {
            while elements.next_element_seed(self.within(Place::Object))?.is_some() {}
            return Ok(());
        }
        while let Some(element) = elements.next_element::<T>()? {
            if let Err(error) = (self.take)(element) {
                *self.failed = Some(error);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}
