//! Root configures the kernel so that packets go elsewhere than the call said: network namespaces, tunnels, address
//! translation, its own programs. All of this goes with the guest, and each attempt removes what would disturb the
//! next.
#![expect(unsafe_code, reason = "setns, and bpf(2) with raw structures")]

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::process::Command;

use crate::Technique;
use crate::aim::Aim;
use crate::named;
use crate::other::{STRANGER, shell};
use crate::rerouted::{self, packet};
use crate::switches::{both, bpf};
use crate::sys::{self, Name, Refused};

pub(crate) const TECHNIQUES: &[Technique] = &[
    ("behind-a-veth-pair", behind_veth_pair),
    ("source-route-behind-a-veth-pair", source_route_behind_veth_pair),
    ("tunnel-gre", |aim| tunnel(aim, "gre")),
    ("tunnel-ipip", |aim| tunnel(aim, "ipip")),
    ("translated-address", translated),
    ("rewritten-at-the-device", rewritten_at_device),
    ("rewritten-by-a-cgroup-program", rewritten_by_program),
    ("macvtap-device", macvtap),
    ("core-dump-helper", core_dump_helper),
];

/// Runs an attack in a network that a pair of devices connects to the host, which forwards.
fn behind(aim: &Aim, attack: fn(&Aim) -> Result<(), Refused>) -> Result<(), Refused> {
    let name = std::process::id();
    shell(&format!(
        "ip=/usr/sbin/ip; $ip netns add n{name}; $ip link add a{name} type veth peer name b{name} netns n{name}
         $ip address add 10.99.0.1/24 dev a{name}; $ip link set a{name} up; in=\"$ip -n n{name}\"
         $in address add 10.99.0.2/24 dev b{name}; $in link set lo up; $in link set b{name} up
         $in route add default via 10.99.0.1; echo 1 > /proc/sys/net/ipv4/ip_forward"
    ))?;
    let network = File::open(format!("/run/netns/n{name}")).map_err(Refused::io("open"))?;
    let own = File::open("/proc/self/ns/net").map_err(Refused::io("open"))?;
    enter(&network)?;
    let outcome = attack(aim);
    enter(&own)?;
    shell(&format!("/usr/sbin/ip link del a{name}; /usr/sbin/ip netns del n{name}"))?;
    outcome
}

fn enter(network: &File) -> Result<(), Refused> {
    // SAFETY: takes numbers.
    sys::check("setns", unsafe { libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) }.into()).map(drop)
}

fn behind_veth_pair(aim: &Aim) -> Result<(), Refused> {
    behind(aim, named::connect)
}

fn source_route_behind_veth_pair(aim: &Aim) -> Result<(), Refused> {
    behind(aim, rerouted::source_route_by_control_message)
}

/// A tunnel to the forbidden address; the packets in it are for the granted one.
fn tunnel(aim: &Aim, kind: &str) -> Result<(), Refused> {
    // Nothing else enters it: neither the traffic of IPv6 itself nor neighbour discovery.
    let (name, far, granted) = (format!("t{}", std::process::id()), aim.forbidden.ip(), aim.granted.ip());
    shell(&format!(
        "ip=/usr/sbin/ip; $ip link add {name} type {kind} local 127.0.0.1 remote {far}
         echo 1 > /proc/sys/net/ipv6/conf/{name}/disable_ipv6; $ip link set {name} up
         $ip address add 10.98.0.1/32 dev {name}; $ip route add {granted}/32 dev {name} src 10.98.0.1"
    ))?;
    let outcome = through(aim, &name);
    shell(&format!("/usr/sbin/ip link del {name}"))?;
    outcome
}

/// Sends to the granted address, by a device.
fn through(aim: &Aim, device: &str) -> Result<(), Refused> {
    let socket = sys::open(aim)?;
    let device = CString::new(device).map_err(|_| Refused::new("device", libc::EINVAL))?;
    sys::set_bytes(&socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, device.as_bytes_with_nul())?;
    sys::sendto(&socket, sys::MESSAGE, 0, &Name::of(aim.granted))
}

fn to_granted(aim: &Aim) -> Result<(), Refused> {
    named::connect(&Aim { forbidden: aim.granted, ..aim.clone() })
}

/// With rules of the packet filter in force.
fn with_rules(aim: &Aim, family: &str, rules: &str) -> Result<(), Refused> {
    shell(&format!("/usr/sbin/nft 'table {family} bfp {{ {rules}; }}'"))?;
    let outcome = to_granted(aim);
    shell(&format!("/usr/sbin/nft delete table {family} bfp"))?;
    outcome
}

fn translated(aim: &Aim) -> Result<(), Refused> {
    let (granted, forbidden) = (aim.granted.ip(), aim.forbidden.ip());
    let (family, word) = if aim.forbidden.is_ipv4() { ("ip", "ip") } else { ("ip6", "ip6") };
    let rule = format!("{word} daddr {granted} dnat to {forbidden}");
    with_rules(aim, family, &format!("chain out {{ type nat hook output priority -100; {rule}; }}"))
}

fn rewritten_at_device(aim: &Aim) -> Result<(), Refused> {
    let (granted, forbidden) = (aim.granted.ip(), aim.forbidden.ip());
    let word = if aim.forbidden.is_ipv4() { "ip" } else { "ip6" };
    let rule = format!("{word} daddr {granted} {word} daddr set {forbidden}");
    with_rules(aim, "netdev", &format!("chain out {{ type filter hook egress device lo priority 0; {rule}; }}"))
}

// include/uapi/linux/bpf.h
const PROG_LOAD: i32 = 5;
const PROG_ATTACH: i32 = 8;
const CGROUP_SOCK_ADDR: u32 = 18;
const INET4_CONNECT: u32 = 10;

/// A program of the attacker's own, which changes the address of a connect after it has been judged.
fn rewritten_by_program(aim: &Aim) -> Result<(), Refused> {
    const CGROUP: &str = "/sys/fs/cgroup/bfp-own";
    let address = u32::from_ne_bytes(aim.forbidden_v4().octets());
    // r2 = address; *(u32 *)(r1 + user_ip4) = r2; r0 = 1; exit
    let instructions: [u64; 4] =
        [0x02b4 | u64::from(address) << 32, 0x0004_2163, 0x0000_0001_0000_00b4, 0x0000_0000_0000_0095];
    let mut load = [0; 16];
    load[0] = both(CGROUP_SOCK_ADDR, instructions.len() as u32);
    load[1] = instructions.as_ptr().expose_provenance() as u64;
    load[2] = c"GPL".as_ptr().expose_provenance() as u64;
    // `expected_attach_type`, the second half of the word after `prog_ifindex`.
    load[8] = both(0, INET4_CONNECT);
    let program = bpf(PROG_LOAD, &mut load)? as u32;
    fs::create_dir_all(CGROUP).map_err(Refused::io("mkdir"))?;
    let folder = File::open(CGROUP).map_err(Refused::io("open"))?;
    let mut attach = [0; 16];
    attach[0] = both(folder.as_raw_fd() as u32, program);
    attach[1] = both(INET4_CONNECT, 0);
    bpf(PROG_ATTACH, &mut attach)?;
    fs::write(format!("{CGROUP}/cgroup.procs"), "0").map_err(Refused::io("write"))?;
    let outcome = to_granted(aim);
    fs::write("/sys/fs/cgroup/cgroup.procs", "0").map_err(Refused::io("write"))?;
    fs::remove_dir(CGROUP).map_err(Refused::io("rmdir"))?;
    outcome
}

/// A device beside another one, whose far side is a file: data that is written there leaves by the other device.
fn macvtap(aim: &Aim) -> Result<(), Refused> {
    /// `struct virtio_net_hdr`: nothing is offloaded to the device.
    const OFFLOADED: [u8; 10] = [0; 10];
    let name = std::process::id();
    shell(&format!(
        "ip=/usr/sbin/ip; $ip link add a{name} type veth peer name b{name}; $ip link set a{name} up
         $ip link set b{name} up; $ip link add link a{name} name m{name} type macvtap mode bridge
         $ip link set m{name} up"
    ))?;
    let index = fs::read_to_string(format!("/sys/class/net/m{name}/ifindex")).map_err(Refused::io("open"))?;
    let protocol = if aim.forbidden.is_ipv4() { libc::ETH_P_IP } else { libc::ETH_P_IPV6 } as u16;
    let mut frame = OFFLOADED.to_vec();
    // To the broadcast address, from an unused one.
    frame.extend([0xff; 6]);
    frame.extend([2, 0, 0, 0, 0, 9]);
    frame.extend(protocol.to_be_bytes());
    frame.extend(packet(aim));
    let written = fs::OpenOptions::new().write(true).open(format!("/dev/tap{}", index.trim()));
    let written = written
        .map_err(Refused::io("open"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, &frame).map_err(Refused::io("write")));
    shell(&format!("/usr/sbin/ip link del m{name}; /usr/sbin/ip link del a{name}"))?;
    written
}

/// The kernel starts a program for a process that dumps core, and that program is not a child of the process.
fn core_dump_helper(aim: &Aim) -> Result<(), Refused> {
    const PATTERN: &str = "/proc/sys/kernel/core_pattern";
    let before = fs::read(PATTERN).map_err(Refused::io("read"))?;
    fs::write(PATTERN, format!("|{STRANGER} connect {}", aim.words().join(" "))).map_err(Refused::io("write"))?;
    // It has started by the time the process is gone.
    let died = Command::new("/bin/sh").args(["-c", "kill -ABRT $$"]).status().map_err(Refused::io("execve"));
    fs::write(PATTERN, before).map_err(Refused::io("write"))?;
    died.map(drop)
}
