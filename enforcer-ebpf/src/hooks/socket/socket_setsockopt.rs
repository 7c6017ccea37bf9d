//! `socket_setsockopt`: options that put another destination on the wire than the judged one, or data into headers that
//! no send hook sees, are denied to governed processes. The egress filter judges the packets of all others.
//!
//! Joining or leaving a multicast group, or choosing its sources, sends a report to the network: a packet of the
//! kernel's own, with up to some hundred bytes that the process chose, and without a socket that could be judged. So
//! the option is judged by the destination of reports, for every process.

use aya_ebpf::{macros::lsm, programs::LsmContext};

use bfp_bundle::event::Kind;

use crate::decision::events::refuse;
use crate::decision::verdict;
use crate::identity::labels;
use crate::kernel::Pointer;
use crate::kernel::arguments::arguments;
use crate::kernel::storage::Missing;
use crate::tables;

// Levels and options, include/uapi/linux/in.h and in6.h.
const IPPROTO_IP: i32 = 0;
const IP_HDRINCL: i32 = 3;
/// Carries source routes (LSRR, SSRR).
const IP_OPTIONS: i32 = 4;
const IP_ADD_MEMBERSHIP: i32 = 35;
/// `MCAST_MSFILTER`. All options from [`IP_ADD_MEMBERSHIP`] to this one are about groups and their sources.
const LAST_ABOUT_GROUPS: i32 = 48;
/// `MCAST_JOIN_GROUP`, of both levels.
const MCAST_JOIN_GROUP: i32 = 42;
const IPPROTO_IPV6: i32 = 41;
const IPV6_2292PKTOPTIONS: i32 = 6;
const IPV6_2292HOPOPTS: i32 = 3;
const IPV6_2292DSTOPTS: i32 = 4;
const IPV6_2292RTHDR: i32 = 5;
const IPV6_ADD_MEMBERSHIP: i32 = 20;
const IPV6_DROP_MEMBERSHIP: i32 = 21;
const IPV6_JOIN_ANYCAST: i32 = 27;
const IPV6_LEAVE_ANYCAST: i32 = 28;
const IPV6_HDRINCL: i32 = 36;
const IPV6_HOPOPTS: i32 = 54;
const IPV6_RTHDRDSTOPTS: i32 = 55;
const IPV6_RTHDR: i32 = 57;
const IPV6_DSTOPTS: i32 = 59;

/// 224.0.0.22, the destination of IGMPv3 reports (RFC 3376, 4.2.14), and their protocol.
const REPORTS_V4: (u32, u32) = (0xe000_0016, 2);
/// ff02::16, the destination of MLDv2 reports (RFC 3810, 5.2.14), and their protocol.
const REPORTS_V6: (u64, u64, u32) = (0xff02 << 48, 0x16, 58);

#[lsm(hook = "socket_setsockopt")]
pub fn socket_setsockopt(ctx: LsmContext) -> i32 {
    arguments!(ctx, _socket: Pointer, level: i32, option: i32);
    // Most options are none of these, and need no look-up of the label.
    let label = || labels::of(labels::current(), Missing::Leave);
    match level {
        IPPROTO_IP if (IP_ADD_MEMBERSHIP..=LAST_ABOUT_GROUPS).contains(&option) => {
            let (address, protocol) = REPORTS_V4;
            return verdict::errno(verdict::judge_v4(label(), address, 0, protocol));
        }
        IPPROTO_IPV6 if is_about_groups(option) => {
            let (high, low, protocol) = REPORTS_V6;
            return verdict::errno(verdict::judge_v6(label(), high, low, 0, protocol));
        }
        _ => {}
    }
    let is_unjudged = match level {
        IPPROTO_IP => matches!(option, IP_HDRINCL | IP_OPTIONS),
        IPPROTO_IPV6 => matches!(
            option,
            IPV6_2292RTHDR
                | IPV6_2292PKTOPTIONS
                | IPV6_HDRINCL
                | IPV6_RTHDR
                | IPV6_2292HOPOPTS
                | IPV6_2292DSTOPTS
                | IPV6_HOPOPTS
                | IPV6_RTHDRDSTOPTS
                | IPV6_DSTOPTS
        ),
        _ => false,
    };
    if is_unjudged && tables::is_governed(label()) { refuse(Kind::Option) } else { 0 }
}

/// Whether an IPv6 option makes the kernel report the groups of a process.
#[inline(always)]
fn is_about_groups(option: i32) -> bool {
    (MCAST_JOIN_GROUP..=LAST_ABOUT_GROUPS).contains(&option)
        || matches!(option, IPV6_ADD_MEMBERSHIP | IPV6_DROP_MEMBERSHIP | IPV6_JOIN_ANYCAST | IPV6_LEAVE_ANYCAST)
}
