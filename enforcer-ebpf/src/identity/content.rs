//! Whether a file has a content that the policy pins for a program: its fs-verity digest is listed.
//!
//! Either of two ways suffices. The kernel reports the digest of a file that is executed, if it has the function for it
//! (`bpf_get_fsverity_digest`, since 6.8, for LSM programs). And the files that the enforcer measured when it applied
//! the policy are known by their inodes: a file with fs-verity never changes again
//! (Documentation/filesystems/fsverity.rst), and an inode number that is reused comes with another generation.

use core::{ffi::c_void, mem::MaybeUninit, ptr};

use aya_ebpf::{
    bindings::{BPF_F_RDONLY_PROG, bpf_dynptr, task_struct},
    btf_maps::HashMap,
    helpers::generated::bpf_dynptr_from_mem,
    macros::btf_map,
};
use bfp_bundle::{
    identity::{Content, Inode, Part, PinnedContent, PinnedInode},
    label::ProgramId,
};

use crate::identity::files;
use crate::kernel::Pointer;
use crate::kernel::storage::{Missing, TaskStorage};

/// The digests that the policy lists, filled by the enforcer and frozen.
#[btf_map]
static DIGESTS: HashMap<PinnedContent, u64, 1, { BPF_F_RDONLY_PROG as usize }> = HashMap::new();

/// The files that the enforcer measured, filled and frozen likewise.
#[btf_map]
static INODES: HashMap<PinnedInode, u64, 1, { BPF_F_RDONLY_PROG as usize }> = HashMap::new();

/// Where the kernel writes a digest for the task that executes or maps a file. Per task and not per processor, because
/// these programs can be interrupted by others of their kind.
#[unsafe(link_section = ".maps")]
#[unsafe(no_mangle)]
static MEASURED: TaskStorage<Measured> = TaskStorage::new();

/// `struct fsverity_digest` with room for SHA-256, include/uapi/linux/fsverity.h.
#[repr(C)]
struct Measured {
    algorithm: u16,
    size: u16,
    digest: Content,
}

const MEASURED_SIZE: u32 = size_of::<Measured>() as u32;
/// `FS_VERITY_HASH_ALG_SHA256`
const SHA256: u16 = 1;

/// A call that the enforcer directs to the kernel's function of this name, or replaces by an error if the kernel has
/// none (enforcer/src/host/kfunc.rs).
const BPF_GET_FSVERITY_DIGEST: usize = 0x6266_7001;

/// Whether the policy pins the content of `file` as this part of `program`.
///
/// # Safety
/// `file` is a trusted `struct file *` to the verifier, and `task` the task that runs now.
#[inline(always)]
pub unsafe fn is_pinned(task: *mut task_struct, file: Pointer, program: ProgramId, part: Part) -> bool {
    // SAFETY: the caller's obligation; `place` is the map's memory when it is not null.
    unsafe {
        let place = MEASURED.get(task, Missing::Create);
        if place.is_null() {
            return false;
        }
        (*place).algorithm = 0;
        let mut digest = MaybeUninit::<bpf_dynptr>::uninit();
        if bpf_dynptr_from_mem(place.cast(), MEASURED_SIZE, 0, digest.as_mut_ptr()) != 0 {
            return false;
        }
        let get_digest: unsafe extern "C" fn(Pointer, *const bpf_dynptr) -> i32 =
            core::mem::transmute(BPF_GET_FSVERITY_DIGEST);
        if get_digest(file, digest.as_ptr()) != 0 || (*place).algorithm != SHA256 {
            return false;
        }
        DIGESTS.get(&PinnedContent { program, part, digest: ptr::read(&raw const (*place).digest) }).is_some()
    }
}

/// Whether `file` is one that the enforcer measured for this part of `program`.
///
/// # Safety
/// `file` is a `struct file *` to the verifier.
#[inline(always)]
pub unsafe fn is_bound(file: Pointer, program: ProgramId, part: Part) -> bool {
    // SAFETY: the caller's obligation.
    match unsafe { files::inode_of(file) } {
        Some(inode) => is_bound_inode(&inode, program, part),
        None => false,
    }
}

/// As [`is_bound`], by the file's inode.
#[inline(always)]
pub fn is_bound_inode(inode: &Inode, program: ProgramId, part: Part) -> bool {
    // SAFETY: the map is frozen, so its values do not change.
    unsafe { INODES.get(&PinnedInode { inode: *inode, program, part }) }.is_some()
}

const _: () = assert!(size_of::<Measured>() == 36 && size_of::<*const c_void>() == 8);
