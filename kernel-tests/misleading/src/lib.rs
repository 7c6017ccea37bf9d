//! A library that an attacker puts in the signer's way. Loaded into a program, it attacks before that program
//! begins, says what became of it, and ends the process. What enters: `BFP_AIM`, as the arguments of the
//! attacker's program. Without it, it does nothing. With `BFP_WAITS` it first says `waits`, and goes on when it is told.
#![expect(unsafe_code, reason = "a constructor, and symbols by the names that a loader looks for")]

use std::ffi::c_uint;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

// SAFETY: the loader calls what stands here once, when everything that the library needs is loaded.
#[unsafe(link_section = ".init_array")]
#[used]
static AT_LOADING: extern "C" fn() = attack;

extern "C" fn attack() {
    let Ok(aim) = std::env::var("BFP_AIM") else { return };
    let mut words = aim.split(' ');
    let (transport, forbidden) = (words.next(), words.next().and_then(|word| word.parse().ok()));
    let Some(forbidden) = forbidden else { return };
    if std::env::var_os("BFP_WAITS").is_some() {
        let _unheard = std::io::stdout().write_all(b"waits\n");
        let _line = std::io::stdin().read(&mut [0; 1]);
    }
    let line = match send(transport == Some("tcp"), forbidden) {
        Ok(()) => "ok".to_owned(),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => "the library's connect EPERM".to_owned(),
        Err(error) => format!("the library {error}"),
    };
    // Where nobody listens, the silence tells.
    let _unheard = std::io::stdout().write_all(format!("{line}\n").as_bytes());
    // SAFETY: ends the process here and now.
    unsafe { libc::_exit(0) };
}

fn send(by_tcp: bool, forbidden: SocketAddr) -> std::io::Result<()> {
    if by_tcp {
        return TcpStream::connect_timeout(&forbidden, Duration::from_secs(2))?.write_all(b"bfp-secret");
    }
    let any: SocketAddr = if forbidden.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    UdpSocket::bind(any)?.send_to(b"bfp-secret", forbidden).map(drop)
}

/// What a library for LD_AUDIT must have: the version of the interface that it wants.
#[unsafe(no_mangle)]
pub extern "C" fn la_version(version: c_uint) -> c_uint {
    version
}

/// Under the name of libgcc_s.so.1 it must have what a Rust program takes from there; none of it is called.
macro_rules! stands_for {
    ($($name:ident)*) => {
        $(
            #[unsafe(no_mangle)]
            #[expect(missing_docs, reason = "its name says it, and it does nothing")]
            pub extern "C" fn $name() {
                std::process::abort()
            }
        )*
    };
}

stands_for! {
    _Unwind_Backtrace _Unwind_DeleteException _Unwind_FindEnclosingFunction _Unwind_GetCFA _Unwind_GetDataRelBase
    _Unwind_GetIP _Unwind_GetIPInfo _Unwind_GetLanguageSpecificData _Unwind_GetRegionStart _Unwind_GetTextRelBase
    _Unwind_RaiseException _Unwind_Resume _Unwind_SetGR _Unwind_SetIP
}
