//! Kernel structures, read at offsets that are constants by the time the verifier looks.
//!
//! The enforcer writes each offset into read-only data before it loads the programs, after checking the
//! member's size against the running kernel's BTF. The verifier then knows the number and checks the
//! access against the same BTF, so a wrong offset to a pointer is rejected, and a read that faults yields
//! zero.

/// Single instructions that the compiler must not see through.
pub mod asm;

/// The arguments of LSM hooks.
pub mod arguments;

/// Values that the kernel keeps with tasks and sockets.
pub mod storage;

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{EbpfContext, Global, helpers::generated::bpf_probe_read_kernel, programs::LsmContext};

/// A pointer into the kernel whose type the verifier keeps.
pub type Pointer = *const c_void;

/// An offset that was not set leads nowhere, and is rejected.
const UNSET: u32 = 0xdead_0000;

macro_rules! offsets {
    ($($name:ident: $shape:ident $(($bytes:literal))?),* $(,)?) => { $(
        #[unsafe(no_mangle)]
        pub static $name: Global<u32> = Global::new(UNSET);
    )* };
}

bfp_bundle::kernel_members!(offsets);

/// The member of `base` at `offset`.
///
/// # Safety
/// `base` must be a pointer whose type the verifier knows to have a `T` at `offset`; the verifier rejects
/// the program otherwise.
#[inline(always)]
pub unsafe fn member<T: Copy>(base: Pointer, offset: &Global<u32>) -> T {
    // SAFETY: the caller's obligation. Volatile, so that the access stays as wide as it is written.
    unsafe { core::ptr::read_volatile(base.byte_add(offset.load() as usize).cast::<T>()) }
}

/// A word of kernel memory at an address that is a mere number; nothing where none is.
#[inline(always)]
pub fn word(address: u64) -> Option<u64> {
    let mut word = MaybeUninit::<u64>::uninit();
    // SAFETY: the helper reads as many bytes as it is told, and fails where there are none.
    unsafe {
        let read = bpf_probe_read_kernel(word.as_mut_ptr().cast(), size_of::<u64>() as u32, address as Pointer);
        if read == 0 { Some(word.assume_init()) } else { None }
    }
}

/// As [`word`], of four bytes.
#[inline(always)]
pub fn half_word(address: u64) -> Option<u32> {
    let mut half = MaybeUninit::<u32>::uninit();
    // SAFETY: as of `word`.
    unsafe {
        let read = bpf_probe_read_kernel(half.as_mut_ptr().cast(), size_of::<u32>() as u32, address as Pointer);
        if read == 0 { Some(half.assume_init()) } else { None }
    }
}

/// The address of the member at `offset` of what lies at an address.
#[inline(always)]
pub fn place(address: u64, offset: &Global<u32>) -> u64 {
    address.wrapping_add(u64::from(offset.load()))
}

/// An argument of a hook as a number: for those that may be null, and those that are followed as numbers.
#[inline(always)]
pub fn argument(ctx: &LsmContext, index: u64) -> Option<u64> {
    word(ctx.as_ptr() as u64 + index * 8)
}

/// The address of the member of `base` at `offset`.
#[inline(always)]
pub fn member_address(base: Pointer, offset: &Global<u32>) -> Pointer {
    base.wrapping_byte_add(offset.load() as usize)
}
