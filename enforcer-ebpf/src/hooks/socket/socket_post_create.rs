//! `socket_post_create`: a new socket belongs to the task that made it.

use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::decision::socket_kind::{Kind, kind};
use crate::identity::labels;
use crate::identity::owners;
use crate::kernel::storage::Missing;
use crate::kernel::{self, Pointer, member};
use crate::tables;

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
    let label = labels::of(labels::current(), Missing::Leave);
    // SAFETY: a label in the map's memory where it is not null.
    let Some(noted) = (unsafe { label.as_ref() }) else {
        // While a first policy is being applied, tasks have no label yet. Later, such a task connects and sends
        // nothing, and makes no other socket than those that this is asked about.
        return 0;
    };
    if owners::note(sk, noted) {
        return 0;
    }
    // A socket whose packets could not be told from a stranger's; or one that the backstop alone judges, which takes
    // what has no label for the kernel's own.
    let is_judged = matches!(kind(ctx.arg(1), ctx.arg(2), ctx.arg(3)), Kind::Judged);
    if !is_judged || tables::is_governed(label) { -ENOMEM } else { 0 }
}
