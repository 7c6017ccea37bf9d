//! `tun_dev_create` and `tun_dev_open`: data that is written to a TUN or TAP device enters the machine as if from a
//! wire, and leaves it without a socket. The rules on `raw` apply.

use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::decision::socket_kind::judge_raw;
use crate::identity::labels;
use crate::kernel::Pointer;
use crate::kernel::arguments::arguments;
use crate::kernel::storage::Missing;

#[lsm(hook = "tun_dev_create")]
pub fn tun_dev_create(ctx: LsmContext) -> i32 {
    arguments!(ctx);
    judge()
}

#[lsm(hook = "tun_dev_open")]
pub fn tun_dev_open(ctx: LsmContext) -> i32 {
    arguments!(ctx, _security: Pointer);
    judge()
}

#[inline(always)]
fn judge() -> i32 {
    judge_raw(labels::of(labels::current(), Missing::Leave))
}
