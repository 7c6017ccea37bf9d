//! `socket_create`: a socket without a destination that can be judged is denied to governed processes, and subject to
//! the rules on `raw` for all others.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use bfp_bundle::socket_kind::kind;

use crate::decision::socket_kind::judge_kind;
use crate::identity::labels;
use crate::kernel::arguments::arguments;
use crate::kernel::storage::Missing;

#[lsm(hook = "socket_create")]
pub fn socket_create(ctx: LsmContext) -> i32 {
    arguments!(ctx, family: i32, r#type: i32, protocol: i32, by_kernel: i32);
    if by_kernel != 0 {
        return 0;
    }
    judge_kind(labels::of(labels::current(), Missing::Leave), kind(family, r#type, protocol))
}
