//! `inet_sendpage`: before 6.5, splice and sendfile pass pages to an Internet socket by this function, and no socket
//! hook is called (net/socket.c, `sock_sendpage`). Attached only if the kernel still has that path.
//!
//! `file_permission` is called there and could deny, but it is called for every read and write of every file, and would
//! slow down each. This program runs only where pages enter such a socket. It cannot deny: it taints the socket, and
//! the egress filter drops all that the socket sends from then on. Sockets of other families either send such pages by
//! `socket_sendmsg` (net/core/sock.c, `sock_no_sendpage`) or do not send to a network.

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
