//! `mmap_file` and `file_mprotect`: a program with pinned libraries cannot map any other file for execution, and the
//! enforcer under lockdown none but its own.
//!
//! The kernel maps the program's own file and its loader through the same hook, after it has committed the exec
//! (fs/binfmt_elf.c, `load_elf_binary`), so the label is the new one by then.

use aya_ebpf::{bindings::task_struct, macros::lsm, programs::LsmContext};
use bfp_bundle::{event::Kind, identity::Part};

use crate::decision::events::refuse;
use crate::identity::content;
use crate::identity::enforcers;
use crate::identity::guard;
use crate::identity::labels::{self, current_label};
use crate::kernel::arguments::arguments;
use crate::kernel::{Pointer, argument};

/// `PROT_WRITE` and `PROT_EXEC`, include/uapi/asm-generic/mman-common.h.
const WRITE: u64 = 2;
const EXECUTE: u64 = 4;

#[lsm(hook = "mmap_file")]
pub fn mmap_file(ctx: LsmContext) -> i32 {
    arguments!(ctx, file: Pointer, _requested: u64, protection: u64, _flags: u64);
    if protection & EXECUTE == 0 {
        return 0;
    }
    let label = current_label();
    let is_enforcer = enforcers::is_current();
    if !is_enforcer && !guard::keeps_to_libraries(label) {
        return 0;
    }
    // Memory that is writable and executable runs whatever is written to it.
    if protection & WRITE != 0 || is_anonymous(&ctx) {
        return refuse(Kind::Mapping);
    }
    // Newer kernels require this test, and older ones remove it; see `is_anonymous`.
    if file.is_null() {
        return refuse(Kind::Mapping);
    }
    // The enforcer is statically linked: anything else that it loads could be another user's code.
    if is_enforcer {
        // SAFETY: the first argument, which is not null.
        return if unsafe { enforcers::is_file(file) } { 0 } else { refuse(Kind::Mapping) };
    }
    let task: *mut task_struct = labels::current();
    // SAFETY: the first argument, which is not null, of the task that runs.
    let is_listed = unsafe {
        content::is_bound(file, label.program, Part::Mapped)
            || content::is_pinned(task, file, label.program, Part::Mapped)
    };
    if is_listed { 0 } else { refuse(Kind::Mapping) }
}

#[lsm(hook = "file_mprotect")]
pub fn file_mprotect(ctx: LsmContext) -> i32 {
    arguments!(ctx, _area: Pointer, _requested: u64, protection: u64);
    if protection & EXECUTE == 0 {
        return 0;
    }
    // A loader maps code as executable from the start, not by a later change.
    if enforcers::is_current() || guard::keeps_to_libraries(current_label()) { refuse(Kind::Mapping) } else { 0 }
}

/// Whether memory without a file is mapped.
///
/// The verifier of kernels before 6.14 assumes that the file is never null, and removes a test of it as needless. So
/// the argument is read as a number, about which the verifier knows nothing.
#[inline(always)]
fn is_anonymous(ctx: &LsmContext) -> bool {
    argument(ctx, 0).is_none_or(|file| file == 0)
}
