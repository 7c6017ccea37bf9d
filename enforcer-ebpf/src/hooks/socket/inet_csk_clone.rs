//! `inet_csk_clone`: the kernel has made a socket for a peer that connected to a listening socket, and marks it, so that
//! what is sent by it is judged as an answer to a client.
//!
//! Called for every such socket and for no other (net/ipv4/inet_connection_sock.c, `inet_csk_clone_lock`): after the
//! handshake, by a SYN cookie, and by TCP Fast Open on the side that listens. A socket that connects, also at the same
//! time as its peer, is not cloned. The label of the listening socket has been copied by then (net/core/sock.c,
//! `sk_clone_lock`).

use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::identity::owners;
use crate::kernel::Pointer;

#[lsm(hook = "inet_csk_clone")]
pub fn inet_csk_clone(ctx: LsmContext) -> i32 {
    // The hook returns nothing. Its first argument is the new `struct sock *` (include/linux/lsm_hook_defs.h).
    let sk: Pointer = ctx.arg(0);
    owners::mark_accepted(sk);
    0
}
