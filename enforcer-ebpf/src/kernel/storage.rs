//! Local storage: a value that the kernel keeps with a task or a socket, and frees with it.
//!
//! aya-ebpf has no wrapper for these maps. The loader reads the same fields from BTF as for any other map.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::{BPF_F_CLONE, BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE, task_struct},
    helpers::generated::{bpf_sk_storage_get, bpf_task_storage_get},
};

/// `enum bpf_map_type`, include/uapi/linux/bpf.h.
const SK_STORAGE: usize = 24;
const TASK_STORAGE: usize = 29;

/// Storage with tasks.
pub type TaskStorage<T> = Storage<T, TASK_STORAGE, { BPF_F_NO_PREALLOC as usize }>;

/// Storage with sockets. An accepted socket gets a copy of the listening socket's value (`BPF_F_CLONE`).
pub type SocketStorage<T> = Storage<T, SK_STORAGE, { BPF_F_NO_PREALLOC as usize | BPF_F_CLONE as usize }>;

/// A map of local storage.
#[repr(C)]
pub struct Storage<T, const TYPE: usize, const FLAGS: usize> {
    r#type: *const [i32; TYPE],
    key: *const i32,
    value: *const T,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; FLAGS],
}

// SAFETY: the fields are never read; they exist for their types.
unsafe impl<T, const TYPE: usize, const FLAGS: usize> Sync for Storage<T, TYPE, FLAGS> {}

/// Whether to create a missing value.
#[derive(Clone, Copy)]
pub enum Missing {
    Leave,
    Create,
}

impl Missing {
    #[inline(always)]
    fn flags(self) -> u64 {
        match self {
            Missing::Leave => 0,
            Missing::Create => u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE),
        }
    }
}

impl<T, const TYPE: usize, const FLAGS: usize> Storage<T, TYPE, FLAGS> {
    pub const fn new() -> Self {
        Storage {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
        }
    }

    #[inline(always)]
    fn map(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }
}

impl<T> TaskStorage<T> {
    /// The value of a task; null if there is none, or no memory for one.
    #[inline(always)]
    pub fn get(&self, task: *mut task_struct, missing: Missing) -> *mut T {
        // SAFETY: the map is a task storage, and the verifier checks that the task is one.
        unsafe { bpf_task_storage_get(self.map(), task, ptr::null_mut(), missing.flags()).cast() }
    }
}

impl<T> SocketStorage<T> {
    /// The value of a socket: a `struct sock` or a `struct bpf_sock` to the verifier. Null if there is none, or no
    /// memory for one.
    #[inline(always)]
    pub fn get(&self, sk: *const c_void, missing: Missing) -> *mut T {
        // SAFETY: the map is a socket storage, and the verifier checks that `sk` is a socket.
        unsafe { bpf_sk_storage_get(self.map(), sk.cast_mut(), ptr::null_mut(), missing.flags()).cast() }
    }
}
