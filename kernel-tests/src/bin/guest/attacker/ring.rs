//! The same by io_uring, where no system call names the address: plain, by a worker (IOSQE_ASYNC), and by the kernel's
//! own thread (SQPOLL).
#![expect(unsafe_code, reason = "what an entry points to lives until it is completed, which is waited for")]

use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::types::{self, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::Technique;
use crate::aim::Aim;
use crate::rerouted;
use crate::sys::{self, Message, Name, Refused};

pub(crate) const TECHNIQUES: &[Technique] = &[
    ("ring-connect", |aim| connect(aim, Way::Plain)),
    ("ring-connect-async", |aim| connect(aim, Way::Async)),
    ("ring-connect-polled", |aim| connect(aim, Way::Polled)),
    ("ring-sendmsg", |aim| sendmsg(aim, Way::Plain)),
    ("ring-sendmsg-async", |aim| sendmsg(aim, Way::Async)),
    ("ring-sendmsg-polled", |aim| sendmsg(aim, Way::Polled)),
    ("ring-send-to", |aim| send_to(aim, Way::Plain)),
    ("ring-send-to-async", |aim| send_to(aim, Way::Async)),
    ("ring-send-to-polled", |aim| send_to(aim, Way::Polled)),
    ("ring-socket", ring_socket),
    ("ring-source-route", source_route),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Async,
    Polled,
}

/// Puts one entry into a ring and waits for its result.
fn submit(call: &'static str, way: Way, entry: squeue::Entry) -> Result<(), Refused> {
    let mut builder = IoUring::builder();
    if way == Way::Polled {
        builder.setup_sqpoll(1000);
    }
    let mut ring = builder.build(4).map_err(Refused::io("io_uring_setup"))?;
    let entry = if way == Way::Async { entry.flags(squeue::Flags::ASYNC) } else { entry };
    complete(&mut ring, call, entry)
}

fn complete(ring: &mut IoUring, call: &'static str, entry: squeue::Entry) -> Result<(), Refused> {
    // SAFETY: what the entry points to outlives this call, which waits for the completion.
    unsafe { ring.submission().push(&entry) }.map_err(|_| Refused::new("io_uring_enter", libc::EAGAIN))?;
    ring.submit_and_wait(1).map_err(Refused::io("io_uring_enter"))?;
    let completed: Option<cqueue::Entry> = ring.completion().next();
    match completed.map(|entry| entry.result()) {
        Some(result) if result < 0 => Err(Refused::new(call, -result)),
        Some(_) => Ok(()),
        None => Err(Refused::new(call, libc::EAGAIN)),
    }
}

fn fd(socket: &OwnedFd) -> Fd {
    Fd(socket.as_raw_fd())
}

fn connect(aim: &Aim, way: Way) -> Result<(), Refused> {
    let socket = sys::open(aim)?;
    let name = Name::of(aim.forbidden);
    submit("connect", way, opcode::Connect::new(fd(&socket), name.pointer(), name.length).build())?;
    sys::send(&socket)
}

fn sendmsg(aim: &Aim, way: Way) -> Result<(), Refused> {
    let socket = sys::open(aim)?;
    let name = Name::of(aim.forbidden);
    let message = Message::new(Some(&name), &[]);
    let header = message.header();
    submit("sendmsg", way, opcode::SendMsg::new(fd(&socket), &raw const header).build())
}

fn send_to(aim: &Aim, way: Way) -> Result<(), Refused> {
    let socket = sys::open(aim)?;
    let name = Name::of(aim.forbidden);
    let length = sys::MESSAGE.len() as u32;
    let send = opcode::SendZc::new(fd(&socket), sys::MESSAGE.as_ptr(), length)
        .dest_addr(name.pointer())
        .dest_addr_len(name.length);
    submit("send", way, send.build())
}

/// The same without a call for the socket either, in the ring's own table.
fn ring_socket(aim: &Aim) -> Result<(), Refused> {
    let name = Name::of(aim.forbidden);
    let entry = opcode::Socket::new(aim.family(), aim.kind(), 0)
        .file_index(types::DestinationSlot::try_from_slot_target(0).ok())
        .build();
    let mut ring = IoUring::new(4).map_err(Refused::io("io_uring_setup"))?;
    ring.submitter().register_files(&[-1]).map_err(Refused::io("io_uring_register"))?;
    complete(&mut ring, "socket", entry)?;
    complete(&mut ring, "connect", opcode::Connect::new(types::Fixed(0), name.pointer(), name.length).build())?;
    complete(
        &mut ring,
        "send",
        opcode::Send::new(types::Fixed(0), sys::MESSAGE.as_ptr(), sys::MESSAGE.len() as u32).build(),
    )
}

/// A source route over the forbidden address, set by the ring.
fn source_route(aim: &Aim) -> Result<(), Refused> {
    let socket = sys::open(aim)?;
    let route = rerouted::source_route(aim);
    let (level, option) = (libc::IPPROTO_IP as u32, libc::IP_OPTIONS as u32);
    let set = opcode::SetSockOpt::new(fd(&socket), level, option, route.as_ptr().cast(), route.len() as u32);
    submit("setsockopt", Way::Plain, set.build())?;
    sys::sendto(&socket, sys::MESSAGE, 0, &Name::of(aim.granted))
}

/// A message on a connected socket.
pub(crate) fn send(socket: &OwnedFd) -> Result<(), Refused> {
    submit("send", Way::Plain, opcode::Send::new(fd(socket), sys::MESSAGE.as_ptr(), sys::MESSAGE.len() as u32).build())
}

/// The same, by the ring's own number for the socket.
pub(crate) fn send_registered(socket: &OwnedFd) -> Result<(), Refused> {
    let mut ring = IoUring::new(4).map_err(Refused::io("io_uring_setup"))?;
    ring.submitter().register_files(&[socket.as_raw_fd()]).map_err(Refused::io("io_uring_register"))?;
    let length = sys::MESSAGE.len() as u32;
    complete(&mut ring, "send", opcode::Send::new(types::Fixed(0), sys::MESSAGE.as_ptr(), length).build())
}
