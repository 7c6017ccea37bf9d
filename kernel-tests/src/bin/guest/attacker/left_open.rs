//! Devices and sockets that send without a destination on which the kernel could call a hook, which an unlisted program
//! opened: data that is written to a TUN device, and the ring of an AF_XDP socket. Opening them is judged, and so is
//! coming by an open one; its use is not.
#![expect(unsafe_code, reason = "memory that is shared with the kernel, and structures of AF_XDP")]

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, OwnedFd};

use crate::Technique;
use crate::aim::Aim;
use crate::families::{AF_XDP, IFF_TUN_NO_PI, INTERFACE, TUNSETIFF};
use crate::other::shell;
use crate::passed::{with_made, with_passed, with_taken};
use crate::rerouted::packet;
use crate::sys::{self, Refused};

pub(crate) const TECHNIQUES: &[Technique] = &[
    ("inherited-tun-device", tun),
    ("passed-tun-device", passed_tun),
    ("taken-tun-device", taken_tun),
    ("inherited-xdp-socket", xdp_by_send),
    ("inherited-xdp-socket-by-poll", xdp_by_poll),
];

fn tun(aim: &Aim) -> Result<(), Refused> {
    with_made("inherited-tun-device", aim, make_tun, |device| write_packet(device, aim))
}

fn passed_tun(aim: &Aim) -> Result<(), Refused> {
    with_passed("passed-tun-device", aim, make_tun, |device| write_packet(device, aim))
}

fn taken_tun(aim: &Aim) -> Result<(), Refused> {
    with_taken("taken-tun-device", aim, make_tun, |device| write_packet(device, aim))
}

fn write_packet(device: &OwnedFd, aim: &Aim) -> Result<(), Refused> {
    let packet = packet(aim);
    // SAFETY: the bytes are alive and as long as is said.
    let written = unsafe { libc::write(device.as_raw_fd(), packet.as_ptr().cast(), packet.len()) };
    sys::check("write", written as i64).map(drop)
}

/// A device that is up: writes to one that is down fail.
fn make_tun() -> Result<OwnedFd, Refused> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun").map_err(Refused::io("open"))?;
    // SAFETY: zeros are a valid value of every field; the request is alive, and the kernel ends the name with a zero.
    let name = unsafe {
        let mut request: libc::ifreq = zeroed();
        request.ifr_ifru.ifru_flags = IFF_TUN_NO_PI;
        sys::check("ioctl", libc::ioctl(device.as_raw_fd(), TUNSETIFF, &raw mut request).into())?;
        CStr::from_ptr(request.ifr_name.as_ptr()).to_string_lossy().into_owned()
    };
    shell(&format!("/usr/sbin/ip link set {name} up"))?;
    Ok(device.into())
}

fn xdp_by_send(aim: &Aim) -> Result<(), Refused> {
    with_made("inherited-xdp-socket", aim, make_xdp, |socket| {
        let _ring = put_into_ring(socket, aim)?;
        // SAFETY: takes numbers and null pointers: what is sent lies in the ring.
        let sent =
            unsafe { libc::sendto(socket.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0) };
        sys::check("sendto", sent as i64).map(drop)
    })
}

/// Before poll reports whether the ring has room, the kernel sends what is in it.
fn xdp_by_poll(aim: &Aim) -> Result<(), Refused> {
    with_made("inherited-xdp-socket-by-poll", aim, make_xdp, |socket| {
        let ring = put_into_ring(socket, aim)?;
        let mut wanted = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        // SAFETY: one entry, which is alive.
        sys::check("poll", unsafe { libc::poll(&raw mut wanted, 1, 200) }.into())?;
        if ring.is_sent() { Ok(()) } else { Err(Refused::new("poll", libc::EAGAIN)) }
    })
}

// include/uapi/linux/if_xdp.h
const SOL_XDP: i32 = 283;
const XDP_MMAP_OFFSETS: i32 = 1;
const XDP_TX_RING: i32 = 3;
const XDP_UMEM_REG: i32 = 4;
const XDP_UMEM_FILL_RING: i32 = 5;
const XDP_UMEM_COMPLETION_RING: i32 = 6;
const XDP_PGOFF_TX_RING: libc::off_t = 0x8000_0000;
const XDP_COPY: u16 = 1 << 1;
const XDP_USE_NEED_WAKEUP: u16 = 1 << 3;

/// `struct xdp_umem_reg`, as far as every kernel knows it.
#[repr(C)]
struct Memory {
    address: u64,
    length: u64,
    chunk_size: u32,
    headroom: u32,
    flags: u32,
    padding: u32,
}

/// `struct sockaddr_xdp`
#[repr(C)]
struct Device {
    family: u16,
    flags: u16,
    interface: u32,
    queue: u32,
    shared_memory: u32,
}

/// `struct xdp_ring_offset`
#[repr(C)]
#[derive(Clone, Copy)]
struct Offsets {
    producer: u64,
    consumer: u64,
    descriptors: u64,
    flags: u64,
}

/// `struct xdp_desc`
#[repr(C)]
struct Descriptor {
    address: u64,
    length: u32,
    options: u32,
}

/// The file through which the unlisted program and the attacker share the frames. The kernel does not accept memory of
/// files on other filesystems.
const FRAMES: &str = "/tmp/bfp-frames";
const CHUNK: usize = 4096;
const CHUNKS: usize = 4;
const SLOTS: i32 = 4;

/// Memory that is shared with the kernel or another process until this process ends.
fn map(file: &impl AsRawFd, length: usize, offset: libc::off_t) -> Result<*mut u8, Refused> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, where the kernel chooses.
    let place =
        unsafe { libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, file.as_raw_fd(), offset) };
    if place == libc::MAP_FAILED { Err(Refused::last("mmap")) } else { Ok(place.cast()) }
}

fn frames() -> Result<File, Refused> {
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(FRAMES);
    options.map_err(Refused::io("open"))
}

/// A socket on the loopback device, which needs only a send. Before 6.7 the rings of a bound socket cannot be mapped:
/// there the attacker binds it.
fn make_xdp() -> Result<OwnedFd, Refused> {
    let socket = make_xdp_unbound()?;
    bind(&socket)?;
    if Ring::of(&socket).is_ok() { Ok(socket) } else { make_xdp_unbound() }
}

fn make_xdp_unbound() -> Result<OwnedFd, Refused> {
    let file = frames()?;
    file.set_len((CHUNK * CHUNKS) as u64).map_err(Refused::io("ftruncate"))?;
    let place = map(&file, CHUNK * CHUNKS, 0)?;
    let memory = Memory {
        address: place.expose_provenance() as u64,
        length: (CHUNK * CHUNKS) as u64,
        chunk_size: CHUNK as u32,
        headroom: 0,
        flags: 0,
        padding: 0,
    };
    let socket = sys::socket(AF_XDP, libc::SOCK_RAW, 0)?;
    sys::set(&socket, SOL_XDP, XDP_UMEM_REG, &memory)?;
    for ring in [XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_TX_RING] {
        sys::set(&socket, SOL_XDP, ring, &SLOTS)?;
    }
    Ok(socket)
}

fn bind(socket: &OwnedFd) -> Result<(), Refused> {
    let device = Device {
        family: AF_XDP as u16,
        // With this flag poll(2) sends.
        flags: XDP_COPY | XDP_USE_NEED_WAKEUP,
        interface: INTERFACE as u32,
        queue: 0,
        shared_memory: 0,
    };
    let length = size_of::<Device>() as libc::socklen_t;
    // SAFETY: the name is alive and as long as is said.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const device).cast(), length) };
    sys::check("bind", bound.into()).map(drop)
}

/// The send ring.
struct Ring {
    place: *mut u8,
    offsets: Offsets,
}

impl Ring {
    fn of(socket: &OwnedFd) -> Result<Ring, Refused> {
        // `struct xdp_mmap_offsets`: received, to be sent, filled, completed.
        let mut all = [Offsets { producer: 0, consumer: 0, descriptors: 0, flags: 0 }; 4];
        let mut length = size_of_val(&all) as libc::socklen_t;
        // SAFETY: the place is alive and as long as is said.
        let told = unsafe {
            let place = all.as_mut_ptr().cast();
            libc::getsockopt(socket.as_raw_fd(), SOL_XDP, XDP_MMAP_OFFSETS, place, &raw mut length)
        };
        sys::check("getsockopt", told.into())?;
        let [_, offsets, ..] = all;
        let length = offsets.descriptors as usize + SLOTS as usize * size_of::<Descriptor>();
        Ok(Ring { place: map(socket, length, XDP_PGOFF_TX_RING)?, offsets })
    }

    fn put(&self, descriptor: Descriptor) {
        // SAFETY: the kernel said where these lie in the mapping; it reads the slot once the producer has moved on.
        unsafe {
            self.place.add(self.offsets.descriptors as usize).cast::<Descriptor>().write_volatile(descriptor);
            self.place.add(self.offsets.producer as usize).cast::<u32>().write_volatile(1);
        }
    }

    fn is_sent(&self) -> bool {
        // SAFETY: as above.
        unsafe { self.place.add(self.offsets.consumer as usize).cast::<u32>().read_volatile() == 1 }
    }
}

/// A whole frame, in the first chunk.
fn put_into_ring(socket: &OwnedFd, aim: &Aim) -> Result<Ring, Refused> {
    let ring = Ring::of(socket)?;
    // A bound socket stays as it is.
    let _bound = bind(socket);
    let protocol = if aim.forbidden.is_ipv4() { libc::ETH_P_IP } else { libc::ETH_P_IPV6 } as u16;
    // The loopback device's own address, twice.
    let mut frame = vec![0; 12];
    frame.extend(protocol.to_be_bytes());
    frame.extend(packet(aim));
    let place = map(&frames()?, CHUNK * CHUNKS, 0)?;
    // SAFETY: the mapping is longer than the frame, and the kernel reads it only when it is told to.
    unsafe { place.copy_from_nonoverlapping(frame.as_ptr(), frame.len()) };
    ring.put(Descriptor { address: 0, length: frame.len() as u32, options: 0 });
    Ok(ring)
}
