//! `socket_connect`: every `connect`, over every protocol and by every system call (io_uring too).

use aya_ebpf::{macros::lsm, programs::LsmContext};
use bfp_bundle::sockaddr::Call;

use crate::decision::socket::{judge_name, note_use};
use crate::identity::owners;
use crate::kernel::arguments::arguments;
use crate::kernel::{self, Pointer, member};

#[lsm(hook = "socket_connect")]
pub fn socket_connect(ctx: LsmContext) -> i32 {
    arguments!(ctx, socket: Pointer, address: Pointer, length: i32);
    // SAFETY: a `struct socket *` and a `struct sockaddr *`, which has been copied to the kernel (net/socket.c,
    // `__sys_connect`).
    unsafe {
        let sk: Pointer = member(socket, &kernel::socket__sk);
        if sk.is_null() {
            return 0;
        }
        let verdict = judge_name(Call::Connect, sk, address, length);
        if verdict != 0 {
            return verdict;
        }
        // Also by `AF_UNSPEC`, after which the socket can have another peer, which did not connect to it.
        owners::forget_accepted(sk);
        note_use(sk)
    }
}
