//! `socket_post_create`: a new socket gets the label of the task that created it.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use bfp_bundle::socket_kind::{Kind, kind};

use crate::identity::labels;
use crate::identity::owners;
use crate::kernel::arguments::arguments;
use crate::kernel::storage::Missing;
use crate::kernel::{self, Pointer, member};
use crate::tables;

const ENOMEM: i32 = 12;

#[lsm(hook = "socket_post_create")]
pub fn socket_post_create(ctx: LsmContext) -> i32 {
    arguments!(ctx, socket: Pointer, family: i32, r#type: i32, protocol: i32, by_kernel: i32);
    if by_kernel != 0 {
        return 0;
    }
    // SAFETY: a `struct socket *`.
    let sk: Pointer = unsafe { member(socket, &kernel::socket__sk) };
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
    let is_judged = matches!(kind(family, r#type, protocol), Kind::Judged);
    if !is_judged || tables::is_governed(label) { -ENOMEM } else { 0 }
}
