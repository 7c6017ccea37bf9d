//! The offsets that the kernel programs read at, by the names of their globals.
//!
//! Enters: type information. Leaves: an offset for every global of `enforcer-ebpf/src/kernel.rs`, at which the kernel
//! has what the programs read: the verifier checks pointers, but not the widths of numbers.

use crate::failure::Actionable;
use crate::host::btf::{Btf, Shape};

/// A global, `STRUCT__MEMBER`, and the shape that the programs expect of the member.
type Expectation = (&'static str, Shape);

macro_rules! expected {
    ($($name:ident: $shape:ident $(($bytes:literal))?),* $(,)?) => {
        &[$((stringify!($name), Shape::$shape $(($bytes))?)),*]
    };
}

const EXPECTED: &[Expectation] = bfp_bundle::kernel_members!(expected);

/// Why the programs cannot read this kernel's structures.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its variant is")]
pub enum OffsetError {
    #[error("this kernel's type information has no member `{0}`")]
    Missing(String),
    #[error("this kernel's member `{member}` is {found}, but the programs expect {expected}")]
    Different { member: String, expected: Shape, found: Shape },
}

impl Actionable for OffsetError {
    fn help(&self) -> &'static str {
        "update the enforcer on this host: structures of the kernel have changed"
    }
}

/// What the programs must know of the running kernel, by its structures and never by its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The offsets of the members that the programs read, by the names of their globals.
    pub offsets: Vec<(&'static str, u32)>,
    /// Splice and sendfile pass pages to a socket by an operation of their own (until 6.5), which calls no socket
    /// hook.
    pub splice_is_no_send: bool,
    /// The type number of the function by which programs get the fs-verity digest of a file (since 6.8).
    pub fsverity_digest: Option<u32>,
    /// LSM programs may return any value (until 6.12), which the kernel can take for consent to a call of bpf(2).
    pub lsm_may_consent: bool,
    /// The position of the flag for secure-exec mode, in bits from the start of `struct linux_binprm`.
    pub secure_exec: u32,
    /// How a filesystem lists its mounts.
    pub mounts: Mounts,
}

/// How a filesystem lists its mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mounts {
    /// The offset of the first mount in the filesystem.
    pub first: u32,
    /// The offset of the list node in a mount.
    pub node: u32,
    /// The offset of the next mount, from the node.
    pub next: u32,
    /// Whether the last mount leads back to the filesystem (before 6.18).
    pub are_a_ring: bool,
}

impl Mounts {
    fn of(btf: &Btf<'_>) -> Result<Mounts, OffsetError> {
        let first = btf.member("super_block", "s_mounts").ok_or(OffsetError::Missing("super_block.s_mounts".into()))?;
        let linked = |member: &str, shape| find_one(btf, &format!("mount__{member}"), shape);
        Ok(match first.shape {
            Shape::Pointer => {
                let next = linked("mnt_next_for_sb", Shape::Pointer)?;
                Mounts { first: first.offset, node: 0, next, are_a_ring: false }
            }
            _ => {
                let node = linked("mnt_instance", Shape::Inside(16))?;
                Mounts { first: first.offset, node, next: 0, are_a_ring: true }
            }
        })
    }
}

impl Kernel {
    /// Reads it from the type information.
    pub fn of(btf: &Btf<'_>) -> Result<Kernel, OffsetError> {
        Ok(Kernel {
            offsets: find(btf)?,
            splice_is_no_send: btf.member("proto_ops", "sendpage").is_some(),
            fsverity_digest: btf.function("bpf_get_fsverity_digest"),
            lsm_may_consent: btf.function("bpf_lsm_get_retval_range").is_none(),
            secure_exec: btf
                .bit("linux_binprm", "secureexec")
                .ok_or(OffsetError::Missing("linux_binprm.secureexec".into()))?,
            mounts: Mounts::of(btf)?,
        })
    }
}

/// Finds every offset.
fn find(btf: &Btf<'_>) -> Result<Vec<(&'static str, u32)>, OffsetError> {
    EXPECTED.iter().map(|(global, expected)| Ok((*global, find_one(btf, global, *expected)?))).collect()
}

fn find_one(btf: &Btf<'_>, global: &str, expected: Shape) -> Result<u32, OffsetError> {
    let member = global.replacen("__", ".", 1);
    let found = global.split_once("__").and_then(|(structure, member)| btf.member(structure, member));
    match found {
        Some(found) if found.shape == expected => Ok(found.offset),
        Some(found) => Err(OffsetError::Different { member, expected, found: found.shape }),
        None => Err(OffsetError::Missing(member)),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn a_missing_member_is_refused_by_its_name() {
        let mut empty = vec![0x9f, 0xeb, 1, 0];
        empty.extend([24u32, 0, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()));
        let error = find(&Btf::parse(&empty).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "this kernel's type information has no member `task_struct.pid`");
    }
}
