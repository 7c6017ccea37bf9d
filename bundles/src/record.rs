//! The records of the tables, byte for byte the values of the kernel's array maps; and how every record that the kernel
//! programs share with the enforcer is laid out.
//!
//! Every number is little-endian, and every record a multiple of eight bytes, because an array map rounds its values up
//! to that: so a section of records can be copied into a map as it is. A record has no padding.
//!
//! A table is never ambiguous: a [`Step`] either leads to another node or ends at a cell.

/// A number, an array of numbers, or another record, at the next position of a record.
pub(crate) trait Words: Sized {
    fn write(&self, out: &mut [u8]) -> usize;
    fn read(bytes: &mut &[u8]) -> Option<Self>;
}

macro_rules! words {
    ($($type:ty),*) => { $(
        impl Words for $type {
            fn write(&self, out: &mut [u8]) -> usize {
                match out.first_chunk_mut() {
                    Some(place) => *place = self.to_le_bytes(),
                    None => debug_assert!(false, "a record has room for its fields"),
                }
                size_of::<$type>()
            }
            fn read(bytes: &mut &[u8]) -> Option<Self> {
                let (word, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                Some(<$type>::from_le_bytes(*word))
            }
        }
    )* };
}
words!(u8, u16, u32, u64);

impl<W: Words + Copy + Default, const N: usize> Words for [W; N] {
    fn write(&self, out: &mut [u8]) -> usize {
        let mut at = 0;
        for word in self {
            at += word.write(out.get_mut(at..).unwrap_or_default());
        }
        at
    }
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let mut words = [W::default(); N];
        for word in &mut words {
            *word = W::read(bytes)?;
        }
        Some(words)
    }
}

/// A record: its fixed size, its encoding and its decoding.
pub trait Record: Copy {
    /// The size in bytes, a multiple of eight.
    const SIZE: usize;
    /// Writes the record to the first [`Self::SIZE`] bytes of `out`.
    fn write_to(&self, out: &mut [u8]);
    /// Reads a record from the first [`Self::SIZE`] bytes. `None` if there are fewer, or they are no such record.
    fn read_from(bytes: &[u8]) -> Option<Self>;
}

macro_rules! record {
    ($(#[$doc:meta])* $name:ident: $size:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl $name {
            /// The size in bytes.
            pub const SIZE: usize = $size;

            /// The record as it is in a map.
            pub fn to_bytes(&self) -> [u8; $size] {
                let mut bytes = [0; $size];
                $crate::record::Record::write_to(self, &mut bytes);
                bytes
            }
        }

        impl $crate::record::Words for $name {
            fn write(&self, out: &mut [u8]) -> usize {
                $crate::record::Record::write_to(self, out);
                $size
            }
            fn read(bytes: &mut &[u8]) -> Option<Self> {
                let (record, rest) = bytes.split_first_chunk::<$size>()?;
                *bytes = rest;
                $crate::record::Record::read_from(record)
            }
        }

        impl $crate::record::Record for $name {
            const SIZE: usize = $size;
            fn write_to(&self, out: &mut [u8]) {
                let mut at = 0;
                $( at += $crate::record::Words::write(&self.$field, out.get_mut(at..).unwrap_or_default()); )*
                debug_assert!(at == $size);
            }
            fn read_from(bytes: &[u8]) -> Option<Self> {
                let mut bytes = bytes.get(..$size)?;
                Some($name { $($field: $crate::record::Words::read(&mut bytes)?,)* })
            }
        }

        const _: () = assert!(size_of::<$name>() == $size && $size % 8 == 0);
    };
}
pub(crate) use record;

/// How many children a node has.
pub const FANOUT: usize = 16;

/// How many entries a bucket has.
pub const BUCKET: usize = 4;

record! {
    /// A node of a search tree over IPv4 addresses or over [port keys](crate::request::port_key). Child `i` covers
    /// everything after `ends[i - 1]` up to and including `ends[i]`. Unused entries have the end `u32::MAX` and repeat
    /// the last child.
    Node32: 128 {
        /// The last key that each child covers, ascending; the last one is `u32::MAX`.
        ends: [u32; FANOUT],
        /// Where to continue: a [`Step`] each.
        next: [u32; FANOUT],
    }
}

record! {
    /// A node of the search tree over IPv6 addresses: as [`Node32`], with the ends in two halves.
    Node128: 320 {
        /// The first eight bytes of each end.
        ends_high: [u64; FANOUT],
        /// The last eight bytes of each end.
        ends_low: [u64; FANOUT],
        /// Where to continue: a [`Step`] each.
        next: [u32; FANOUT],
    }
}

/// Where a search continues, as stored in the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step(pub u32);

impl Step {
    /// The address is decided; the port follows.
    pub const ADDRESS_DONE: u32 = 1 << 31;
    /// The port is decided too; the rest is the number of a cell.
    pub const PORT_DONE: u32 = 1 << 30;
    /// The largest index of a node or number of a cell.
    pub const INDEX_MAX: u32 = Step::PORT_DONE - 1;

    /// The index of a node, or the number of a cell.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self.0 & Step::INDEX_MAX
    }
}

record! {
    /// What holds for every program that requests the (address, port, protocol) of one cell. Two requests lie in the
    /// same cell exactly if the same rules cover them.
    Cell: 16 {
        /// A set of the constants below.
        flags: u32,
        /// The rule behind the strongest flag but [`Cell::OUTSIDE`]: deny, then exclusive, then grant.
        rule: u32,
        /// The audited rule behind the strongest of the audited flags.
        audit_rule: u32,
        /// The rule behind [`Cell::OUTSIDE`]. Without it, in a cell that is both exclusive and granted, the rule behind
        /// [`Cell::GRANTED`]. Otherwise zero.
        outside_rule: u32,
    }
}

impl Cell {
    /// `deny * -> D`
    pub const DENIED: u32 = 1;
    /// `only P -> D`, `deny * except P -> D`: programs that are not [`Pair::MEMBER`] are denied.
    pub const EXCLUSIVE: u32 = 2;
    /// `allow * -> D`, `allow * except P -> D`
    pub const GRANTED: u32 = 4;
    /// `audit deny * -> D`
    pub const AUDIT_DENIED: u32 = 16;
    /// `audit only P -> D`, `audit deny * except P -> D`
    pub const AUDIT_EXCLUSIVE: u32 = 32;
    /// `* -> only D`, which does not cover this cell. Bundles of the first format have [`Cell::DENIED`] instead; their
    /// flag 8 is no longer read.
    pub const OUTSIDE: u32 = 64;
    /// `audit * -> only D`, which does not cover this cell.
    pub const AUDIT_OUTSIDE: u32 = 128;
}

record! {
    /// The programs of the policy, by a hash of their id. The number of a program is its index in the table plus one.
    ProgramBucket: 80 {
        /// The ids; 0 is an empty entry.
        ids: [u64; BUCKET],
        /// What holds in cells for which [`PairBucket`] has no entry: constants of [`Pair`].
        flags: [u32; BUCKET],
        /// The rule behind them.
        rules: [u32; BUCKET],
        /// The audited rule behind them, or else behind [`ProgramBucket::AUDIT_GOVERNED`].
        audit_rules: [u32; BUCKET],
    }
}

record! {
    /// What holds for one program in one cell, if it differs from the program's entry in [`ProgramBucket`], by a hash
    /// of both.
    PairBucket: 80 {
        /// The cells.
        cells: [u32; BUCKET],
        /// The numbers of the programs; 0 is an empty entry.
        programs: [u32; BUCKET],
        /// What holds: constants of [`Pair`].
        flags: [u32; BUCKET],
        /// The rule behind them.
        rules: [u32; BUCKET],
        /// The audited rule behind them.
        audit_rules: [u32; BUCKET],
    }
}

impl ProgramBucket {
    /// It is a protected program: other processes cannot trace it or read its memory. One of `flags`, above those of
    /// [`Pair`], which do not apply to whole programs.
    pub const GUARDED: u32 = 1 << 16;
    /// The program may map for execution only itself and the libraries that are pinned for it. One of `flags`.
    pub const LIBRARIES: u32 = 1 << 17;
    /// An enforced rule governs the program: requests of its processes that cannot be judged are denied. One of
    /// `flags`.
    pub const GOVERNED: u32 = 1 << 18;
    /// An audited rule that does not cover raw sockets names the program.
    pub const AUDIT_GOVERNED: u32 = 1 << 19;
    /// The program has an enforced restriction, so the programs that it starts are governed too.
    pub const GOVERNING: u32 = 1 << 20;
    /// The program has an audited restriction that does not cover raw sockets.
    pub const AUDIT_GOVERNING: u32 = 1 << 21;
    /// The bits of `flags` that are constants of [`Pair`].
    pub const PAIR: u32 = 0xff;
}

/// What holds for a program in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// A set of the constants below.
    pub flags: u32,
    /// The rule behind the strongest flag: deny, then a confinement that does not cover the cell, then a grant.
    pub rule: u32,
    /// The audited rule behind the strongest of the audited flags.
    pub audit_rule: u32,
}

impl Pair {
    /// The program is one of P for every `only P -> D` and `deny * except P -> D` that covers the cell.
    pub const MEMBER: u32 = 1;
    /// Every `P -> only D` of the program covers the cell. True for a program that is not confined.
    pub const INSIDE: u32 = 2;
    /// A `deny P -> D` of the program covers the cell.
    pub const DENIED: u32 = 4;
    /// An `allow P -> D`, `only P -> D` or `P -> only D` of the program covers the cell.
    pub const GRANTED: u32 = 8;
    /// As [`Pair::MEMBER`], for `audit only P -> D`.
    pub const AUDIT_MEMBER: u32 = 16;
    /// As [`Pair::INSIDE`], for `audit P -> only D`.
    pub const AUDIT_INSIDE: u32 = 32;
    /// As [`Pair::DENIED`], for `audit deny P -> D`.
    pub const AUDIT_DENIED: u32 = 64;
    /// Every grant to everyone that covers the cell excepts the program, so none of them counts for it or for what it
    /// starts: `allow * except P -> D`.
    pub const WITHHELD: u32 = 128;

    /// What holds for an unlisted program.
    pub const UNLISTED: Pair = Pair { flags: Pair::INSIDE | Pair::AUDIT_INSIDE, rule: NO_RULE, audit_rule: NO_RULE };
}

/// In place of a rule's number: no written rule decided.
pub const NO_RULE: u32 = u32::MAX;

record! {
    /// The roots of the search trees, and what holds if no rule does.
    Policy: 32 {
        /// The root of the search tree over IPv4 addresses: a [`Step`].
        root_v4: u32,
        /// The root of the search tree over IPv6 addresses: a [`Step`].
        root_v6: u32,
        /// A set of the constants below.
        flags: u32,
        /// The number of program buckets minus one; the number is a power of two.
        program_mask: u32,
        /// The number of pair buckets minus one; the number is a power of two.
        pair_mask: u32,
        /// The rule `default …`, or [`NO_RULE`].
        default_rule: u32,
        /// The cell of raw and packet sockets, which carry no destination that can be checked.
        raw_cell: u32,
        /// Reserved, zero.
        reserved: u32,
    }
}

impl Policy {
    /// `default deny`
    pub const DEFAULT_DENY: u32 = 1;
    /// The policy names `clients`: the tables distinguish answers
    /// ([`Protocol::Answer`](crate::request::Protocol::Answer)).
    pub const CLIENTS: u32 = 2;
}

/// The two buckets that may hold a key, before the table's mask is applied. Each table is filled by moving entries
/// between their two buckets, so two reads find an entry or prove that it does not exist.
#[inline(always)]
pub const fn bucket_hashes(key: u64) -> (u32, u32) {
    // The finalizer of MurmurHash3 (fmix64): every bit of the key changes about half of the result.
    let mut hash = key ^ key >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    (hash as u32, (hash >> 32) as u32)
}

/// The key of a pair, for [`bucket_hashes`].
#[inline(always)]
pub const fn pair_key(cell: u32, program: u32) -> u64 {
    (cell as u64) << 32 | program as u64
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]
    use super::*;
    use crate::event::Event;
    use crate::identity::{Executed, Inode, Part, PinnedContent, PinnedInode, Withheld};
    use crate::label::Label;
    use crate::lockdown::Mounted;
    use proptest::prelude::*;
    use std::vec;

    fn survives<R: Record + PartialEq + core::fmt::Debug>(record: R) {
        let mut bytes = vec![0; R::SIZE];
        record.write_to(&mut bytes);
        assert_eq!(R::read_from(&bytes).unwrap(), record);
        assert!(R::read_from(&bytes[1..]).is_none(), "a short slice holds no record");
    }

    proptest! {
        #[test]
        fn decode_inverts_encode(
            words in prop::array::uniform16(any::<u32>()),
            more in prop::array::uniform16(any::<u32>()),
            high in prop::array::uniform16(any::<u64>()),
            low in prop::array::uniform16(any::<u64>()),
            four in prop::array::uniform4(any::<u64>()),
        ) {
            survives(Node32 { ends: words, next: more });
            survives(Node128 { ends_high: high, ends_low: low, next: words });
            survives(Cell { flags: words[0], rule: words[1], audit_rule: words[2], outside_rule: words[3] });
            let take = |from: usize| core::array::from_fn(|i| words[from + i]);
            survives(ProgramBucket { ids: four, flags: take(0), rules: take(4), audit_rules: take(8) });
            survives(PairBucket {
                cells: take(0), programs: take(4), flags: take(8), rules: take(12), audit_rules: take(3),
            });
            survives(Policy {
                root_v4: words[0], root_v6: words[1], flags: words[2], program_mask: words[3],
                pair_mask: words[4], default_rule: words[5], raw_cell: words[6],
                reserved: words[7],
            });
        }
    }

    proptest! {
        #[test]
        fn decode_inverts_encode_for_keys_and_reports(
            long in any::<[u64; 8]>(), word in any::<[u32; 8]>(), half in any::<[u16; 4]>(), digest in any::<[u8; 32]>(),
            thread in any::<[u8; 16]>(), inherits_from in any::<[u64; 4]>(),
        ) {
            let inode = Inode { inode: long[0], device: word[0], generation: word[1] };
            survives(inode);
            for part in [Part::Program, Part::Mapped] {
                survives(PinnedContent { program: long[1], part, digest });
                survives(PinnedInode { inode, program: long[1], part });
            }
            survives(Executed { file: inode, dentry: long[1], flags: word[2], reserved: word[3] });
            survives(Withheld { program: long[1], process: word[2], why: word[3] });
            survives(Mounted { super_block: long[1], mount: long[2] });
            survives(Label { program: long[0], flags: word[0], depth: word[1], restricted_by: long, inherits_from });
            survives(Event {
                since_boot: long[0], program: long[1], high: long[2], low: long[3], process: word[0], user: word[1],
                rule: word[2], label: word[3], kind: half[0], reason: half[1], port: half[2], protocol: half[3],
                thread, held: long[4],
            });
        }
    }

    #[test]
    fn numbers_are_little_endian() {
        let mut bytes = [0; Cell::SIZE];
        Cell { flags: 1, rule: 0x0203_0405, audit_rule: 0, outside_rule: 0 }.write_to(&mut bytes);
        assert_eq!(bytes, [1, 0, 0, 0, 5, 4, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
