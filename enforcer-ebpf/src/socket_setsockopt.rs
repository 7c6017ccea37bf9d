//! `socket_setsockopt`: options that put another destination on the wire than the one that was judged are
//! refused to those whom the policy names. The backstop judges the packets of everyone else.

use aya_ebpf::{macros::lsm, programs::LsmContext};

use bfp_bundle::event::Kind;

use crate::{events::refuse, labels, storage::Missing, tables};

// Levels and options, include/uapi/linux/in.h and in6.h.
const IPPROTO_IP: i32 = 0;
const IP_HDRINCL: i32 = 3;
/// Carries source routes (LSRR, SSRR).
const IP_OPTIONS: i32 = 4;
const IPPROTO_IPV6: i32 = 41;
const IPV6_2292PKTOPTIONS: i32 = 6;
const IPV6_2292RTHDR: i32 = 5;
const IPV6_HDRINCL: i32 = 36;
const IPV6_RTHDR: i32 = 57;

#[lsm(hook = "socket_setsockopt")]
pub fn socket_setsockopt(ctx: LsmContext) -> i32 {
    let earlier: i32 = ctx.arg(3);
    if earlier != 0 {
        return earlier;
    }
    // `(struct socket *sock, int level, int optname)`
    let (level, option): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    let reroutes = match level {
        IPPROTO_IP => matches!(option, IP_HDRINCL | IP_OPTIONS),
        IPPROTO_IPV6 => matches!(option, IPV6_2292RTHDR | IPV6_2292PKTOPTIONS | IPV6_HDRINCL | IPV6_RTHDR),
        _ => false,
    };
    let is_governed = || tables::is_governed(labels::of(labels::current(), Missing::Leave));
    if reroutes && is_governed() { refuse(Kind::Option) } else { 0 }
}
