//! `iter/task_file`: labels the sockets that are open when a policy is applied, each with the task that has it open.
//! The first such task counts until another one sends.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{file, task_struct},
    helpers::generated::bpf_sock_from_file,
};

use crate::identity::labels;
use crate::identity::owners;
use crate::kernel::storage::Missing;
use crate::kernel::{self, Pointer, member};

/// `struct bpf_iter__task_file`, kernel/bpf/task_iter.c.
#[repr(C)]
pub struct Context {
    meta: *mut c_void,
    task: *mut task_struct,
    descriptor: u32,
    padding: u32,
    file: *mut file,
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn iter_task_file(ctx: *mut Context) -> i32 {
    // SAFETY: the kernel passes this context; task and file are null at the end.
    unsafe {
        let (task, file) = ((*ctx).task, (*ctx).file);
        if task.is_null() || file.is_null() {
            return 0;
        }
        let socket: Pointer = bpf_sock_from_file(file).cast_const().cast();
        if socket.is_null() {
            return 0;
        }
        let sk: Pointer = member(socket, &kernel::socket__sk);
        if !sk.is_null()
            && let Some(label) = labels::of(task, Missing::Leave).as_ref()
        {
            owners::note_first(sk, label);
        }
    }
    0
}
