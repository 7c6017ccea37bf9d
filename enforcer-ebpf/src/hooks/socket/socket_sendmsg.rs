//! `socket_sendmsg`: unconnected datagrams, TCP Fast Open (which never reaches `socket_connect`), and every send on a
//! connected socket.
//!
//! The address and the peer are both judged, because it depends on the protocol which of them is used.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use bfp_bundle::sockaddr::Call;

use crate::decision::socket::{judge_name, judge_use};
use crate::kernel::arguments::arguments;
use crate::kernel::{self, Pointer, member};

#[lsm(hook = "socket_sendmsg")]
pub fn socket_sendmsg(ctx: LsmContext) -> i32 {
    arguments!(ctx, socket: Pointer, message: Pointer, _size: i32);
    // SAFETY: a `struct socket *` and a `struct msghdr *`, whose name has been copied to the kernel (net/socket.c,
    // `__sys_sendto` and `copy_msghdr_from_user`).
    unsafe {
        let sk: Pointer = member(socket, &kernel::socket__sk);
        if sk.is_null() {
            return 0;
        }
        let name: Pointer = member(message, &kernel::msghdr__msg_name);
        if !name.is_null() {
            let length: i32 = member(message, &kernel::msghdr__msg_namelen);
            let verdict = judge_name(Call::Send, sk, name, length);
            if verdict != 0 {
                return verdict;
            }
        }
        judge_use(sk)
    }
}
