//! A hasher for small numbers, such as those of rules, cells and steps, and for the components of paths.
//!
//! The compiler keeps maps of millions of such keys. It assigns the numbers itself, and an author who chooses
//! components that collide slows down only the build of that policy. So the standard hasher, which resists chosen keys,
//! would gain nothing.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A map with keys made of small numbers.
pub(crate) type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// A set with keys made of small numbers.
pub(crate) type NumberSet<K> = HashSet<K, BuildHasherDefault<NumberHasher>>;

/// Multiplies and adds. The upper bits of a product are its best ones, and go where the maps look first.
#[derive(Clone, Copy, Default)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let word = <[u8; 8]>::try_from(part).map(u64::from_le_bytes);
            self.write_u64(word.unwrap_or_else(|_| part.iter().fold(0, |word, byte| word << 8 | u64::from(*byte))));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(word.into());
    }

    fn write_u16(&mut self, word: u16) {
        self.write_u64(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = self.0.wrapping_add(word).wrapping_mul(0xf135_7aea_2e62_a9c5);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }
}

/// The hash of a list of numbers.
pub(crate) fn of_list(list: &[u32]) -> u64 {
    let mut hasher = NumberHasher::default();
    hasher.write_usize(list.len());
    list.iter().for_each(|number| hasher.write_u32(*number));
    hasher.finish()
}
