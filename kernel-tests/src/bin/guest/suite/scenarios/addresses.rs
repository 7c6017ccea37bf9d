//! Addresses whose meaning differs from their form: unspecified, bound, of no family, or named after a connection to
//! another destination.

use super::Scenario;
use super::host::{Host, KMS_V4, KMS_V6, LOOPBACK_V4, LOOPBACK_V6, OUTSIDE_V4, OUTSIDE_V6, PORT, SIGNER, THIEF, to};
use crate::destination::Destination;

pub(super) const SCENARIOS: &[Scenario] = &[
    ("an unspecified address counts as loopback", unspecified_is_loopback),
    ("an unspecified address from a bound socket is no way around", unspecified_from_bound_socket),
    ("a name of no family is no way around", unspec_name),
    ("a socket connected to nobody first is no way around", dissolved_socket),
    ("a socket connected to somewhere allowed is no way around", connected_socket),
];

fn unspecified_is_loopback(host: &Host) -> Result<(), String> {
    host.enforced()?;
    for (unspecified, loopback) in [("0.0.0.0", LOOPBACK_V4), ("::", LOOPBACK_V6), ("::ffff:0.0.0.0", LOOPBACK_V4)] {
        for way in ["tcp", "fastopen"] {
            let arguments = format!("{way} {unspecified} {PORT}");
            host.refused(SIGNER, &arguments)?;
            host.reaches(THIEF, &arguments, Destination::tcp(loopback, PORT))?;
        }
        for way in ["udp", "sendto", "sendmsg"] {
            let arguments = format!("{way} {unspecified} {PORT}");
            host.refused(SIGNER, &arguments)?;
            host.reaches(THIEF, &arguments, Destination::udp(loopback, PORT))?;
        }
    }
    Ok(())
}

/// To 0.0.0.0 the kernel sends from and to the address that the socket is bound to
/// (net/ipv4/route.c:ip_route_output_key_hash_rcu).
fn unspecified_from_bound_socket(host: &Host) -> Result<(), String> {
    // Without a policy this is a way to the KMS; otherwise the scenario would show nothing.
    host.unenforced()?;
    let tcp = format!("bound-unspecified 0.0.0.0 {PORT} --bind {KMS_V4}");
    let datagrams = ["udp", "sendto", "sendmsg"].map(|way| format!("{way} 0.0.0.0 {PORT} --bind {KMS_V4}"));
    host.reaches(THIEF, &tcp, Destination::tcp(KMS_V4, PORT))?;
    for udp in &datagrams {
        host.reaches(THIEF, udp, Destination::udp(KMS_V4, PORT))?;
    }
    host.enforced()?;
    host.refused(THIEF, &tcp)?;
    datagrams.iter().try_for_each(|udp| host.refused(THIEF, udp))
}

fn unspec_name(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    host.reaches(THIEF, &to("unspec-sendto", KMS_V4), Destination::udp(KMS_V4, PORT))?;
    host.enforced()?;
    host.refused(THIEF, &to("unspec-sendto", KMS_V4))?;
    host.refused(SIGNER, &to("unspec-sendto", OUTSIDE_V4))
}

fn dissolved_socket(host: &Host) -> Result<(), String> {
    host.enforced()?;
    for (program, address) in [(THIEF, KMS_V4), (THIEF, KMS_V6), (SIGNER, OUTSIDE_V4), (SIGNER, OUTSIDE_V6)] {
        host.refused(program, &to("connect-unspec-then-tcp", address))?;
    }
    Ok(())
}

fn connected_socket(host: &Host) -> Result<(), String> {
    host.enforced()?;
    host.refused(THIEF, &to("connected-then-sendto", KMS_V4))?;
    host.refused(THIEF, &format!("connected-then-sendto {KMS_V6} {PORT} --via [{OUTSIDE_V6}]:{PORT}"))?;
    host.refused(SIGNER, &format!("connected-then-sendto {OUTSIDE_V4} {PORT} --via {KMS_V4}:{PORT}"))?;
    host.refused(SIGNER, &format!("connected-then-sendto {OUTSIDE_V6} {PORT} --via [{KMS_V6}]:{PORT}"))?;
    // A destination that the policy's table allows stays allowed on such a socket.
    let onward = format!("connected-then-sendto {OUTSIDE_V4} {PORT}");
    host.reaches(THIEF, &onward, Destination::udp(OUTSIDE_V4, PORT))
}
