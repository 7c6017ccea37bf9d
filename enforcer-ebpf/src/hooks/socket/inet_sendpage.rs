//! `inet_sendpage`: before 6.5, splice and sendfile hand pages to an Internet socket by this function, and no hook of
//! sockets is asked (net/socket.c, `sock_sendpage`). Attached only where the kernel still has that way.
//!
//! `file_permission` is asked there and could refuse, but it is asked for every read and write of every file, and each
//! would pay. This program runs where pages enter such a socket and nowhere else. It cannot refuse: it taints the socket,
//! and the backstop drops what is sent by it from then on. Sockets of other families either send such pages by
//! `socket_sendmsg` (net/core/sock.c, `sock_no_sendpage`) or send to no network.

use aya_ebpf::{macros::fentry, programs::FEntryContext};

use crate::decision::socket::judge_use;
use crate::identity::owners;
use crate::kernel::{self, Pointer, member};

#[fentry(function = "inet_sendpage")]
pub fn inet_sendpage(ctx: FEntryContext) -> u32 {
    // SAFETY: `(struct socket *sock, struct page *page, int offset, size_t size, int flags)`.
    unsafe {
        let socket: Pointer = ctx.arg(0);
        let sk: Pointer = member(socket, &kernel::socket__sk);
        if !sk.is_null() && judge_use(sk) != 0 {
            owners::taint(sk);
        }
    }
    0
}
