//! Single instructions that the compiler must not see through: otherwise it generates code that costs the verifier
//! more, or that the verifier rejects; and instructions that it cannot generate, as `core` has no atomic sums for this
//! target.
//!
//! An empty `asm!` would do as well, but breaks the BTF line info.

/// The lowest bit, so that the verifier sees the mask and the compiler does not remove it.
#[inline(always)]
pub fn bit(allowed: i32) -> i32 {
    let mut bit = i64::from(allowed);
    // SAFETY: one instruction that masks the register it is given.
    unsafe { core::arch::asm!("{0} &= 1", inout(reg) bit, options(pure, nomem, nostack, preserves_flags)) };
    bit as i32
}

/// The same number, about which the compiler knows nothing: so it does not unroll a loop that counts with it.
#[inline(always)]
pub fn opaque(number: u32) -> u32 {
    let mut same = u64::from(number);
    // SAFETY: one instruction that changes nothing in the register it is given.
    unsafe { core::arch::asm!("{0} |= 0", inout(reg) same, options(pure, nomem, nostack, preserves_flags)) };
    same as u32
}

/// The highest bit. LLVM turns a shifted difference back into a comparison and a branch, unless it cannot see the
/// shift.
#[inline(always)]
pub fn sign_bit(word: u64) -> u64 {
    let mut bit = word;
    // SAFETY: one instruction that shifts the register it is given.
    unsafe { core::arch::asm!("{0} >>= 63", inout(reg) bit, options(pure, nomem, nostack, preserves_flags)) };
    bit
}

/// Atomically adds to a number.
///
/// # Safety
/// It is in a map's memory.
#[inline(always)]
pub unsafe fn add(to: *mut u64, number: u64) {
    // SAFETY: one instruction, on memory that the verifier checks.
    unsafe { core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) to, in(reg) number, options(nostack)) }
}

/// Atomically sets bits of a number.
///
/// # Safety
/// As of [`add`].
#[inline(always)]
pub unsafe fn set(bits_of: *mut u64, bits: u64) {
    // SAFETY: as above.
    unsafe { core::arch::asm!("lock *(u64 *)({0} + 0) |= {1}", in(reg) bits_of, in(reg) bits, options(nostack)) }
}

/// Atomically clears all bits of a number that are not in `bits`.
///
/// # Safety
/// As of [`add`].
#[inline(always)]
pub unsafe fn keep(bits_of: *mut u64, bits: u64) {
    // SAFETY: as above.
    unsafe { core::arch::asm!("lock *(u64 *)({0} + 0) &= {1}", in(reg) bits_of, in(reg) bits, options(nostack)) }
}

/// Atomically replaces a number if it is as expected. Returns what it was.
///
/// # Safety
/// As of [`add`].
#[inline(always)]
pub unsafe fn replace(at: *mut u64, expected: u64, by: u64) -> u64 {
    let mut found = expected;
    // SAFETY: as above.
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64({0} + 0, r0, {1})",
            in(reg) at, in(reg) by, inout("r0") found, options(nostack),
        )
    };
    found
}

/// Atomically reads a number and sets it to zero.
///
/// # Safety
/// As of [`add`].
#[inline(always)]
pub unsafe fn take(from: *mut u64) -> u64 {
    let mut number = 0;
    // SAFETY: as above.
    unsafe { core::arch::asm!("{1} = xchg_64({0} + 0, {1})", in(reg) from, inout(reg) number, options(nostack)) };
    number
}
