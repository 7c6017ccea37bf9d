//! Makes every address of the guest local, so that traffic to any destination in a table arrives at a listener of this
//! suite. What enters: nothing. What leaves: routes and sysctls; the harness gives the guest no network card, so
//! nothing else is affected.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;

/// Routes every address to the loopback interface.
///
/// # Errors
/// This machine has a network card, or its routes cannot be set.
pub fn make_every_address_local() -> Result<(), String> {
    // A guest with a way out could send test traffic to the world.
    let interfaces = std::fs::read_dir("/sys/class/net").map_err(|e| format!("/sys/class/net: {e}"))?;
    for interface in interfaces.flatten() {
        let name = interface.file_name();
        if interface.path().join("device").exists() {
            return Err(format!("expected no network card, seen `{}`", name.display()));
        }
    }
    ip(&["link", "set", "lo", "up"])?;
    ip(&["route", "replace", "local", "default", "dev", "lo"])?;
    ip(&["-6", "route", "replace", "local", "default", "dev", "lo"])?;
    // A local route sends from the destination's own address, and no packet may come from a
    // multicast one.
    ip(&["route", "replace", "224.0.0.0/4", "dev", "lo", "src", "127.0.0.1"])?;

    sysctl("net/ipv4/tcp_fastopen", "3")?;
    sysctl("net/ipv4/ping_group_range", "0 2147483647")?;
    // Local routes allow an IPv4 listener anywhere; IPv6 checks the interfaces instead.
    sysctl("net/ipv6/ip_nonlocal_bind", "1")
}

/// Gives these addresses to the guest: SCTP looks for its own among those of the interfaces.
///
/// # Errors
/// The addresses cannot be set.
pub fn own(addresses: impl IntoIterator<Item = (Ipv4Addr, Ipv6Addr)>) -> Result<(), String> {
    for (v4, v6) in addresses {
        ip(&["address", "replace", &format!("{v4}/32"), "dev", "lo"])?;
        ip(&["-6", "address", "replace", &format!("{v6}/128"), "dev", "lo"])?;
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = match Command::new("busybox").arg("ip").args(arguments).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => Command::new("ip").args(arguments).output(),
        other => other,
    };
    let output = output.map_err(|error| format!("neither busybox nor ip: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)))
    }
}

fn sysctl(name: &str, value: &str) -> Result<(), String> {
    std::fs::write(format!("/proc/sys/{name}"), value).map_err(|error| format!("{name}: {error}"))
}
