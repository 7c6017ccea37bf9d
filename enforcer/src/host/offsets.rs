//! The offsets that the kernel programs read at, by the names of their globals.
//!
//! Enters: type information. Leaves: a number for every global of `enforcer-ebpf/src/kernel.rs`, checked
//! to lead to what the programs read there: the verifier checks pointers, but no widths of numbers.

use crate::host::btf::{Btf, Shape};

/// A global, `STRUCT__MEMBER`, and what the programs take its member for.
type Expectation = (&'static str, Shape);

const EXPECTED: [Expectation; 49] = [
    ("task_struct__pid", Shape::Number(4)),
    ("task_struct__tgid", Shape::Number(4)),
    ("task_struct__fs", Shape::Pointer),
    ("task_struct__nsproxy", Shape::Pointer),
    ("fs_struct__root", Shape::Inside(16)),
    ("nsproxy__mnt_ns", Shape::Pointer),
    ("task_struct__mm", Shape::Pointer),
    ("task_struct__cred", Shape::Pointer),
    ("task_struct__ptrace", Shape::Number(4)),
    ("task_struct__flags", Shape::Number(4)),
    ("task_struct__seccomp", Shape::Inside(16)),
    ("seccomp__filter", Shape::Pointer),
    ("seccomp_filter__prev", Shape::Pointer),
    ("seccomp_filter__notif", Shape::Pointer),
    ("cred__user_ns", Shape::Pointer),
    ("user_namespace__level", Shape::Number(4)),
    ("mm_struct__exe_file", Shape::Pointer),
    ("linux_binprm__file", Shape::Pointer),
    ("file__f_path", Shape::Inside(16)),
    ("path__dentry", Shape::Pointer),
    ("dentry__d_name", Shape::Inside(16)),
    ("dentry__d_hash", Shape::Inside(16)),
    ("qstr__name", Shape::Pointer),
    ("qstr__len", Shape::Number(4)),
    ("dentry__d_parent", Shape::Pointer),
    ("dentry__d_inode", Shape::Pointer),
    ("inode__i_ino", Shape::Number(8)),
    ("inode__i_sb", Shape::Pointer),
    ("inode__i_generation", Shape::Number(4)),
    ("super_block__s_dev", Shape::Number(4)),
    ("super_block__s_root", Shape::Pointer),
    ("vfsmount__mnt_sb", Shape::Pointer),
    ("vfsmount__mnt_root", Shape::Pointer),
    ("path__mnt", Shape::Pointer),
    ("mount__mnt", Shape::Inside(32)),
    ("mount__mnt_parent", Shape::Pointer),
    ("mount__mnt_mountpoint", Shape::Pointer),
    ("mount__mnt_ns", Shape::Pointer),
    ("mount__mnt_group_id", Shape::Number(4)),
    ("mount__mnt_mounts", Shape::Inside(16)),
    ("socket__sk", Shape::Pointer),
    ("sock__sk_protocol", Shape::Number(2)),
    ("sock_common__skc_family", Shape::Number(2)),
    ("sock_common__skc_dport", Shape::Number(2)),
    ("sock_common__skc_daddr", Shape::Number(4)),
    ("sock_common__skc_rcv_saddr", Shape::Number(4)),
    ("sock_common__skc_v6_daddr", Shape::Inside(16)),
    ("msghdr__msg_name", Shape::Pointer),
    ("msghdr__msg_namelen", Shape::Number(4)),
];

/// Why the programs cannot read this kernel's structures.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OffsetError {
    /// No such member.
    #[error("this kernel's type information has no member `{0}`")]
    Missing(String),
    /// The member is something else.
    #[error("this kernel's member `{member}` is {found:?}, and the programs would read {expected:?}")]
    Different {
        /// Which.
        member: String,
        /// What the programs expect.
        expected: Shape,
        /// What the kernel has.
        found: Shape,
    },
}

impl OffsetError {
    /// What the person who reads the message can do.
    pub fn help(&self) -> &'static str {
        "use an enforcer that knows this kernel: structures changed in it"
    }
}

/// What the programs are to know of the running kernel, told by its structures and never by its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Where the members lie that the programs read, by the names of their globals.
    pub offsets: Vec<(&'static str, u32)>,
    /// Splice and sendfile hand pages to a socket by an operation of their own (until 6.5), so that no
    /// hook of sockets is asked.
    pub splice_is_no_send: bool,
    /// The type number of the function by which programs learn the fs-verity digest of a file (since 6.8).
    pub fsverity_digest: Option<u32>,
    /// LSM programs may answer what they like (until 6.12), which the kernel takes for consent to a call of bpf(2).
    pub lsm_may_consent: bool,
    /// Where an exec says that it is in secure-exec mode, in bits from the beginning of `struct linux_binprm`.
    pub secure_exec: u32,
    /// How a filesystem knows its mounts.
    pub mounts: Mounts,
}

/// How a filesystem knows its mounts: by a list through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mounts {
    /// Where the filesystem has the first one.
    pub first: u32,
    /// Where a mount is linked with the others,
    pub node: u32,
    /// and the next one, from there.
    pub next: u32,
    /// Whether the last one leads to the filesystem again (before 6.18), or nowhere.
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
    /// Finds out.
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
    fn every_global_of_the_programs_is_expected_and_no_other() {
        let source = include_str!("../../../enforcer-ebpf/src/kernel.rs");
        let (_, list) = source.split_once("\noffsets!(").unwrap();
        let (list, _) = list.split_once(");").unwrap();
        let globals: Vec<&str> = list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        assert_eq!(globals, EXPECTED.map(|(global, _)| global));
    }

    #[test]
    fn a_missing_member_is_refused_by_its_name() {
        let mut empty = vec![0x9f, 0xeb, 1, 0];
        empty.extend([24u32, 0, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()));
        let error = find(&Btf::parse(&empty).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "this kernel's type information has no member `task_struct.pid`");
    }
}
