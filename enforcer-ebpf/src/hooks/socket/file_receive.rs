//! `file_receive`: a task takes a descriptor from another (SCM_RIGHTS, pidfd_getfd, a seccomp supervisor). Packets that
//! leave by a socket are judged later, by who sends; for what sends without asking, the rules on `raw` apply here.

use aya_ebpf::{macros::lsm, programs::LsmContext};

use crate::decision::socket_kind::judge_raw;
use crate::identity::descriptors;
use crate::identity::labels;
use crate::kernel::arguments::arguments;
use crate::kernel::storage::Missing;
use crate::kernel::{Pointer, argument};

#[lsm(hook = "file_receive")]
pub fn file_receive(ctx: LsmContext) -> i32 {
    arguments!(ctx, _file: Pointer);
    // As a number, to be followed as one.
    if argument(&ctx, 0).and_then(descriptors::sends_unasked) == Some(false) {
        return 0;
    }
    judge_raw(labels::of(labels::current(), Missing::Leave))
}
