//! `socket_post_create`: a new socket belongs to the task that made it.

use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::{
    kernel::{self, Pointer, member},
    labels, owners,
    storage::Missing,
};

const ENOMEM: i32 = 12;

#[lsm(hook = "socket_post_create")]
pub fn socket_post_create(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(5);
    let by_kernel: i32 = ctx.arg(4);
    if earlier != 0 || by_kernel != 0 {
        return earlier;
    }
    // SAFETY: `(struct socket *sock, int family, int type, int protocol, int kern)`
    let sk: Pointer = unsafe { member(ctx.arg(0), &kernel::socket__sk) };
    if sk.is_null() {
        return 0;
    }
    let noted = owners::note(sk, labels::of(labels::current(), Missing::Leave));
    // A socket whose packets could not be told from a stranger's.
    if !noted && labels::current_label().is_governed() { -ENOMEM } else { 0 }
}
