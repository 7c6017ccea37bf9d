//! `socket_create`: a socket without a destination that can be judged is denied to governed processes, and subject to
//! the rules on `raw` for all others.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use bfp_bundle::socket_kind::kind;

use crate::decision::socket_kind::judge_kind;
use crate::identity::labels;
use crate::kernel::storage::Missing;

#[lsm(hook = "socket_create")]
pub fn socket_create(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(4);
    let by_kernel: i32 = ctx.arg(3);
    if earlier != 0 || by_kernel != 0 {
        return earlier;
    }
    // `(int family, int type, int protocol, int kern)`
    judge_kind(labels::of(labels::current(), Missing::Leave), kind(ctx.arg(0), ctx.arg(1), ctx.arg(2)))
}
