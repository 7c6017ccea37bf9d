//! `file_receive`: a task takes a descriptor from another (SCM_RIGHTS, pidfd_getfd, a seccomp supervisor). Packets that
//! leave by a socket are judged later, by who sends; for what sends without asking, the rules on `raw` apply here.

use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::decision::socket_kind::judge_raw;
use crate::identity::descriptors;
use crate::identity::labels;
use crate::kernel::argument;
use crate::kernel::storage::Missing;

#[lsm(hook = "file_receive")]
pub fn file_receive(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(1);
    if earlier != 0 {
        return earlier;
    }
    let file = argument(&ctx, 0);
    if file.and_then(descriptors::sends_unasked) == Some(false) {
        return 0;
    }
    judge_raw(labels::of(labels::current(), Missing::Leave))
}
