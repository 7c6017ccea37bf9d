//! The same by io_uring, where no system call names the address: plain, by a worker (IOSQE_ASYNC), and by
//! the kernel's own thread (SQPOLL).
#![expect(unsafe_code, reason = "what an entry points to lives until it is completed, which is waited for")]

use std::os::fd::{AsRawFd, OwnedFd};

use io_uring::{IoUring, cqueue, opcode, squeue, types::Fd};

use crate::Technique;
use crate::aim::Aim;
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
