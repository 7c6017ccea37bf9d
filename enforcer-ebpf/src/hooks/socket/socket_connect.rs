//! `socket_connect`: every `connect`, over every protocol and by every system call (io_uring too).

use aya_ebpf::{macros::lsm, programs::LsmContext};
use bfp_bundle::sockaddr::Call;

use crate::decision::socket::{judge_name, note_use};
use crate::kernel::{self, Pointer, member};

#[lsm(hook = "socket_connect")]
pub fn socket_connect(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    if earlier != 0 {
        return earlier;
    }
    // SAFETY: `(struct socket *sock, struct sockaddr *address, int addrlen)`, and the address has been
    // copied to the kernel (net/socket.c, `__sys_connect`).
    unsafe {
        let socket: Pointer = ctx.arg(0);
        let sk: Pointer = member(socket, &kernel::socket__sk);
        if sk.is_null() {
            return 0;
        }
        let verdict = judge_name(Call::Connect, sk, ctx.arg(1), ctx.arg(2));
        if verdict != 0 { verdict } else { note_use(sk) }
    }
}
