//! `file_permission`: before 6.5, splice and sendfile write to a socket without asking `socket_sendmsg`
//! (net/socket.c, `sock_sendpage`). Attached only where the kernel still has that way.

use aya_ebpf::{bindings::file, helpers::generated::bpf_sock_from_file, macros::lsm, programs::LsmContext};

use crate::{
    kernel::{self, Pointer, member},
    socket::judge_use,
};

/// `MAY_WRITE`, include/linux/fs.h.
const MAY_WRITE: i32 = 2;

#[lsm(hook = "file_permission")]
pub fn file_permission(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(2);
    let mask: i32 = ctx.arg(1);
    if earlier != 0 || mask & MAY_WRITE == 0 {
        return earlier;
    }
    // SAFETY: `(struct file *file, int mask)`; the helper gives a `struct socket *` or null.
    unsafe {
        let file: *mut file = ctx.arg(0);
        let socket: Pointer = bpf_sock_from_file(file).cast_const().cast();
        if socket.is_null() {
            return 0;
        }
        let sk: Pointer = member(socket, &kernel::socket__sk);
        if sk.is_null() { 0 } else { judge_use(sk) }
    }
}
