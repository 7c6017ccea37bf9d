//! `tun_dev_create` and `tun_dev_open`: data that is written to a TUN or TAP device enters the machine as if from a
//! wire, and leaves it without a socket. The rules on `raw` apply.

use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::decision::socket_kind::judge_raw;
use crate::identity::labels;
use crate::kernel::storage::Missing;

#[lsm(hook = "tun_dev_create")]
pub fn tun_dev_create(ctx: LsmContext) -> i32 {
    after(ctx.arg(0))
}

#[lsm(hook = "tun_dev_open")]
pub fn tun_dev_open(ctx: LsmContext) -> i32 {
    after(ctx.arg(1))
}

#[inline(always)]
fn after(earlier: i32) -> i32 {
    if earlier != 0 {
        return earlier;
    }
    judge_raw(labels::of(labels::current(), Missing::Leave))
}
