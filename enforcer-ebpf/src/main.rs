//! The programs that decide in the kernel.
//!
//! Directories are layers: a module uses those above it in this list, and none below (compiler/tests/arrows.rs). The
//! process that makes a request was noted when it executed its program ([`identity::labels`]).
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

/// Reads kernel structures, at offsets that the enforcer takes from the running kernel's BTF.
mod kernel;

/// The policy's tables, as frozen array maps.
mod tables;

mod identity;

mod decision;

mod hooks;

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

/// Never reached: the verifier rejects a program in which it could be.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
