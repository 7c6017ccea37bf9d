//! The running kernel's type information (BTF): the offset and type of a structure's member.
//!
//! Enters: the bytes of `/sys/kernel/btf/vmlinux`. Leaves: offsets, sizes and kinds of members. The bytes are not
//! trusted: malformed input yields no answer.

use std::collections::HashMap;
use std::fmt;

use crate::failure::Actionable;

const MAGIC: u16 = 0xeb9f;

/// How deep typedefs, qualifiers and anonymous members may nest.
const DEPTH_MAX: u32 = 32;

/// The kinds of types, include/uapi/linux/btf.h.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

/// Why bytes are not valid type information.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its variant is")]
pub enum BtfError {
    #[error("the kernel's type information does not have the magic number of BTF")]
    BadMagic,
    #[error("the kernel's type information is cut short")]
    Truncated,
    /// A kind of type of unknown length, so that the next type cannot be found.
    #[error("the kernel's type information has the unknown kind {0}")]
    UnknownKind(u32),
}

impl Actionable for BtfError {
    fn help(&self) -> &'static str {
        match self {
            BtfError::UnknownKind(_) => "update the enforcer on this host: the kernel is newer",
            _ => "check that the kernel is built with CONFIG_DEBUG_INFO_BTF",
        }
    }
}

/// The kind of a member, as far as a program that reads it needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A pointer.
    Pointer,
    /// An integer or enumeration of this many bytes.
    Number(u32),
    /// An embedded structure or union of this many bytes.
    Inside(u32),
    /// An array of pointers.
    Pointers,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Pointer => f.write_str("a pointer"),
            Shape::Number(bytes) => write!(f, "a number of {bytes} bytes"),
            Shape::Inside(bytes) => write!(f, "a structure of {bytes} bytes"),
            Shape::Pointers => f.write_str("an array of pointers"),
        }
    }
}

/// A member of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// In bytes from the start of the structure.
    pub offset: u32,
    /// The kind of the member.
    pub shape: Shape,
}

/// A member as encoded: its offset in bits, its width if it is a bit field, and its type.
struct Found {
    bits: u32,
    width: u32,
    id: u32,
}

/// Parsed type information.
pub struct Btf<'a> {
    bytes: &'a [u8],
    strings: &'a [u8],
    /// The offset of each type, by its number. Number 0 is `void` and has none.
    types: Vec<usize>,
    /// The first structure of each name.
    structures: HashMap<&'a [u8], u32>,
}

/// The three words at the start of every type.
struct Head {
    name: u32,
    kind: u32,
    entries: u32,
    /// Whether the members' offsets include the width of a bit field.
    bit_fields: bool,
    /// The size, or the number of another type.
    rest: u32,
}

impl<'a> Btf<'a> {
    /// Parses type information.
    ///
    /// # Errors
    /// The magic number is wrong, a part lies outside `bytes`, or a kind of type is unknown.
    pub fn parse(bytes: &'a [u8]) -> Result<Btf<'a>, BtfError> {
        let magic = bytes.first_chunk().ok_or(BtfError::Truncated)?;
        if u16::from_le_bytes(*magic) != MAGIC {
            return Err(BtfError::BadMagic);
        }
        let header = |at| word(bytes, at).map(|word| word as usize).ok_or(BtfError::Truncated);
        let part = |offset: usize, length: usize| {
            let begin = header(4)?.checked_add(offset).ok_or(BtfError::Truncated)?;
            let end = begin.checked_add(length).ok_or(BtfError::Truncated)?;
            bytes.get(begin..end).ok_or(BtfError::Truncated).map(|part| (begin, end, part))
        };
        let (begin, end, _) = part(header(8)?, header(12)?)?;
        let (_, _, strings) = part(header(16)?, header(20)?)?;

        let mut btf = Btf { bytes, strings, types: vec![0], structures: HashMap::new() };
        let mut at = begin;
        while at < end {
            let head = btf.head_at(at).ok_or(BtfError::Truncated)?;
            let length = tail_length(head.kind, head.entries).ok_or(BtfError::UnknownKind(head.kind))?;
            if head.kind == kind::STRUCT
                && let Some(name) = btf.string(head.name).filter(|name| !name.is_empty())
            {
                btf.structures.entry(name).or_insert(btf.types.len() as u32);
            }
            btf.types.push(at);
            at += 12 + length;
        }
        if at == end { Ok(btf) } else { Err(BtfError::Truncated) }
    }

    /// The member of a structure, including members of anonymous structures and unions in it.
    pub fn member(&self, structure: &str, member: &str) -> Option<Member> {
        let found = self.find(*self.structures.get(structure.as_bytes())?, member.as_bytes(), 0)?;
        let is_whole = found.width == 0 && found.bits % 8 == 0;
        Some(Member { offset: found.bits / 8, shape: self.shape(found.id)? }).filter(|_| is_whole)
    }

    /// The position of a one-bit member, in bits from the start of the structure.
    pub fn bit(&self, structure: &str, member: &str) -> Option<u32> {
        let found = self.find(*self.structures.get(structure.as_bytes())?, member.as_bytes(), 0)?;
        (found.width == 1).then_some(found.bits)
    }

    /// The type number of a function.
    pub fn function(&self, name: &str) -> Option<u32> {
        self.number(kind::FUNC, name)
    }

    /// Whether a global variable of this name exists. Kernels list only their per-CPU variables.
    pub fn has_variable(&self, name: &str) -> bool {
        self.number(kind::VAR, name).is_some()
    }

    fn number(&self, kind: u32, name: &str) -> Option<u32> {
        let is_wanted = |at: usize| {
            let head = self.head_at(at)?;
            Some(head.kind == kind && self.string(head.name)? == name.as_bytes())
        };
        let place = self.types.iter().skip(1).position(|at| is_wanted(*at) == Some(true))?;
        u32::try_from(place + 1).ok()
    }

    fn find(&self, id: u32, wanted: &[u8], depth: u32) -> Option<Found> {
        let (at, head) = self.resolve(id)?;
        if depth > DEPTH_MAX || !matches!(head.kind, kind::STRUCT | kind::UNION) {
            return None;
        }
        for index in 0..head.entries as usize {
            let at = at + 12 + 12 * index;
            let (name, id, place) = (word(self.bytes, at)?, word(self.bytes, at + 4)?, word(self.bytes, at + 8)?);
            let (bits, width) = if head.bit_fields { (place & 0x00ff_ffff, place >> 24) } else { (place, 0) };
            let name = self.string(name)?;
            if name == wanted {
                return Some(Found { bits, width, id });
            }
            if name.is_empty()
                && let Some(found) = self.find(id, wanted, depth + 1)
            {
                return Some(Found { bits: found.bits.checked_add(bits)?, ..found });
            }
        }
        None
    }

    fn shape(&self, id: u32) -> Option<Shape> {
        let (at, head) = self.resolve(id)?;
        match head.kind {
            kind::PTR => Some(Shape::Pointer),
            kind::INT | kind::ENUM | kind::ENUM64 => Some(Shape::Number(head.rest)),
            kind::STRUCT | kind::UNION => Some(Shape::Inside(head.rest)),
            kind::ARRAY => {
                // `struct btf_array` begins with the type of an element.
                let element = word(self.bytes, at + 12)?;
                (self.shape(element)? == Shape::Pointer).then_some(Shape::Pointers)
            }
            _ => None,
        }
    }

    /// The type behind typedefs, qualifiers and tags, and its offset.
    fn resolve(&self, mut id: u32) -> Option<(usize, Head)> {
        for _ in 0..DEPTH_MAX {
            if id == 0 {
                return None;
            }
            let at = *self.types.get(id as usize)?;
            let head = self.head_at(at)?;
            match head.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => id = head.rest,
                _ => return Some((at, head)),
            }
        }
        None
    }

    fn head_at(&self, at: usize) -> Option<Head> {
        let (name, info, rest) = (word(self.bytes, at)?, word(self.bytes, at + 4)?, word(self.bytes, at + 8)?);
        Some(Head { name, kind: info >> 24 & 0x1f, entries: info & 0xffff, bit_fields: info >> 31 == 1, rest })
    }

    fn string(&self, offset: u32) -> Option<&'a [u8]> {
        self.strings.get(offset as usize..)?.split(|byte| *byte == 0).next()
    }
}

/// How many bytes follow the three words of a type.
fn tail_length(number: u32, entries: u32) -> Option<usize> {
    let entries = entries as usize;
    match number {
        kind::INT | kind::VAR | kind::DECL_TAG => Some(4),
        kind::ARRAY => Some(12),
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => Some(12 * entries),
        kind::ENUM | kind::FUNC_PROTO => Some(8 * entries),
        // Pointer, forward, typedef, qualifiers, function, float, type tag.
        2 | 7..=12 | 16 | 18 => Some(0),
        _ => None,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    /// Builds a small kernel for tests.
    #[derive(Default)]
    struct Builder {
        types: Vec<u8>,
        strings: Vec<u8>,
        count: u32,
    }

    impl Builder {
        fn name(&mut self, name: &str) -> u32 {
            if self.strings.is_empty() {
                self.strings.push(0);
            }
            if name.is_empty() {
                return 0;
            }
            let at = self.strings.len() as u32;
            self.strings.extend_from_slice(name.as_bytes());
            self.strings.push(0);
            at
        }
        fn add(&mut self, name: &str, kind: u32, entries: u32, rest: u32, tail: &[u32]) -> u32 {
            let name = self.name(name);
            for word in [name, kind << 24 | entries, rest].iter().chain(tail) {
                self.types.extend_from_slice(&word.to_le_bytes());
            }
            self.count += 1;
            self.count
        }
        fn structure(&mut self, name: &str, kind: u32, size: u32, members: &[(&str, u32, u32)]) -> u32 {
            let tail: Vec<u32> = members.iter().flat_map(|(name, id, bits)| [self.name(name), *id, *bits]).collect();
            self.add(name, kind, members.len() as u32, size, &tail)
        }
        fn bytes(&self) -> Vec<u8> {
            let mut bytes = vec![0x9f, 0xeb, 1, 0];
            for word in [24, 0, self.types.len() as u32, self.types.len() as u32, self.strings.len() as u32] {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
            bytes.extend_from_slice(&self.types);
            bytes.extend_from_slice(&self.strings);
            bytes
        }
    }

    /// `struct dentry { u32 flags; union { struct qstr d_name; }; const struct inode *d_inode; u32 low:4; }`
    fn kernel() -> Vec<u8> {
        let mut builder = Builder::default();
        let int = builder.add("unsigned int", kind::INT, 0, 4, &[32]);
        let alias = builder.add("u32", kind::TYPEDEF, 0, int, &[]);
        let qstr = builder.structure("qstr", kind::STRUCT, 16, &[("hash", alias, 0)]);
        let constant = builder.add("", kind::CONST, 0, qstr, &[]);
        let union = builder.structure("", kind::UNION, 16, &[("__d_name", qstr, 0), ("d_name", constant, 0)]);
        let pointer = builder.add("", kind::PTR, 0, qstr, &[]);
        builder.structure(
            "dentry",
            kind::STRUCT,
            32,
            &[("d_flags", alias, 0), ("", union, 64), ("d_inode", pointer, 192)],
        );
        builder.bytes()
    }

    #[test]
    fn members_are_found_behind_typedefs_and_qualifiers() {
        let bytes = kernel();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.member("dentry", "d_flags"), Some(Member { offset: 0, shape: Shape::Number(4) }));
        assert_eq!(btf.member("dentry", "d_inode"), Some(Member { offset: 24, shape: Shape::Pointer }));
    }

    #[test]
    fn members_are_found_in_anonymous_unions() {
        let bytes = kernel();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.member("dentry", "d_name"), Some(Member { offset: 8, shape: Shape::Inside(16) }));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let bytes = kernel();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.member("dentry", "d_parent"), None);
        assert_eq!(btf.member("file", "f_path"), None);
    }

    #[test]
    fn functions_and_variables_are_told_apart() {
        let mut builder = Builder::default();
        let int = builder.add("int", kind::INT, 0, 4, &[32]);
        builder.add("busy", kind::VAR, 0, int, &[1]);
        let takes_nothing = builder.add("", kind::FUNC_PROTO, 0, int, &[]);
        builder.add("ask", kind::FUNC, 0, takes_nothing, &[]);
        let bytes = builder.bytes();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!((btf.function("ask"), btf.function("busy")), (Some(4), None));
        assert_eq!((btf.has_variable("busy"), btf.has_variable("ask")), (true, false));
    }

    #[test]
    fn bit_fields_are_not_found() {
        let mut builder = Builder::default();
        let int = builder.add("int", kind::INT, 0, 4, &[32]);
        let name = builder.name("low");
        builder.add("flags", kind::STRUCT | 0x80, 1, 4, &[name, int, 4 << 24]);
        let bytes = builder.bytes();
        assert_eq!(Btf::parse(&bytes).unwrap().member("flags", "low"), None);
    }

    #[test]
    fn truncated_type_information_is_refused() {
        let bytes = kernel();
        for length in 0..bytes.len() {
            assert!(Btf::parse(bytes.get(..length).unwrap()).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn unknown_kinds_are_refused() {
        let mut builder = Builder::default();
        builder.add("new", 31, 0, 0, &[]);
        assert_eq!(Btf::parse(&builder.bytes()).err(), Some(BtfError::UnknownKind(31)));
    }

    #[test]
    fn a_typedef_of_itself_ends() {
        let mut builder = Builder::default();
        builder.add("loop", kind::TYPEDEF, 0, 1, &[]);
        builder.structure("holder", kind::STRUCT, 8, &[("member", 1, 0)]);
        let bytes = builder.bytes();
        assert_eq!(Btf::parse(&bytes).unwrap().member("holder", "member"), None);
    }
}
