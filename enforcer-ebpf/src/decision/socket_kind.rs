//! Which tasks may use which kinds of sockets.

use bfp_bundle::{event, label::Label, socket_kind::Kind};

use crate::decision::events;
use crate::decision::verdict;
use crate::tables;

/// Judges the use of a kind of socket by a task with this label; 0 or -EPERM.
#[inline(always)]
pub fn judge_kind(label: *const Label, kind: Kind) -> i32 {
    match kind {
        Kind::Judged => 0,
        Kind::Raw => judge_raw(label),
        Kind::Other => {
            if label.is_null() {
                return events::refuse(event::Kind::NoLabel);
            }
            if tables::is_governed(label) { events::refuse(event::Kind::Unjudged) } else { 0 }
        }
    }
}

/// Judges the use of raw and packet sockets by a task with this label; 0 or -EPERM.
#[inline(always)]
pub fn judge_raw(label: *const Label) -> i32 {
    verdict::errno(verdict::judge_raw(label))
}
