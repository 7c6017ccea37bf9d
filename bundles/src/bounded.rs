//! Lists in untrusted bytes, read without trusting their announced length.
//!
//! serde's own `Vec` allocates for the announced elements (up to 1 MiB) before it reads one, as long as they are no
//! more than the remaining bytes: for strings, twenty-four bytes of memory per byte of the file. Here memory follows
//! the elements that are actually read.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// Reads a list of at most `MAX` elements.
pub(crate) fn list<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_seq(Elements::<T, MAX>(PhantomData))
}

struct Elements<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Elements<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            if list.len() == MAX {
                return Err(A::Error::custom("too many elements"));
            }
            list.push(element);
        }
        Ok(list)
    }
}

/// A list whose elements are read and dropped: it is checked for valid elements, and counted.
pub(crate) struct Walked<T> {
    pub(crate) count: usize,
    _elements: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Walked<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Walk(PhantomData))
    }
}

struct Walk<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Walk<T> {
    type Value = Walked<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Walked<T>, A::Error> {
        let mut count = 0;
        while elements.next_element::<T>()?.is_some() {
            count += 1;
        }
        Ok(Walked { count, _elements: PhantomData })
    }
}
