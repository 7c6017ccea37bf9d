//! `socket_post_create`: a new socket gets the label of the task that created it.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use bfp_bundle::socket_kind::{Kind, kind};

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
        // While a first policy is applied, tasks have no label yet. Later, a task without one can neither connect nor
        // send, and can create only the sockets that this hook checks.
        return 0;
    };
    if owners::note(sk, noted) {
        return 0;
    }
    // The socket's packets could not be distinguished from an unlisted program's; or only the egress filter judges it,
    // which takes a socket without a label for the kernel's own.
    let is_judged = matches!(kind(ctx.arg(1), ctx.arg(2), ctx.arg(3)), Kind::Judged);
    if !is_judged || tables::is_governed(label) { -ENOMEM } else { 0 }
}
