//! What enters: an errno. What leaves: its name in errno(3), the word the suite compares.

use rustix::io::Errno;

/// The names that a socket call, a fork, an exec or a mount may answer with; any other number is
/// `EOTHER`, which no check expects.
pub(crate) fn errno_name(errno: Errno) -> &'static str {
    match errno {
        Errno::ACCESS => "EACCES",
        Errno::ADDRINUSE => "EADDRINUSE",
        Errno::ADDRNOTAVAIL => "EADDRNOTAVAIL",
        Errno::AFNOSUPPORT => "EAFNOSUPPORT",
        Errno::AGAIN => "EAGAIN",
        Errno::ALREADY => "EALREADY",
        Errno::BADF => "EBADF",
        Errno::CONNABORTED => "ECONNABORTED",
        Errno::CONNREFUSED => "ECONNREFUSED",
        Errno::CONNRESET => "ECONNRESET",
        Errno::DESTADDRREQ => "EDESTADDRREQ",
        Errno::EXIST => "EEXIST",
        Errno::FAULT => "EFAULT",
        Errno::HOSTUNREACH => "EHOSTUNREACH",
        Errno::INPROGRESS => "EINPROGRESS",
        Errno::INTR => "EINTR",
        Errno::INVAL => "EINVAL",
        Errno::IO => "EIO",
        Errno::ISCONN => "EISCONN",
        Errno::MSGSIZE => "EMSGSIZE",
        Errno::NETDOWN => "ENETDOWN",
        Errno::NETUNREACH => "ENETUNREACH",
        Errno::NOBUFS => "ENOBUFS",
        Errno::NODEV => "ENODEV",
        Errno::NOENT => "ENOENT",
        Errno::NOEXEC => "ENOEXEC",
        Errno::NOMEM => "ENOMEM",
        Errno::NOSYS => "ENOSYS",
        Errno::NOTCONN => "ENOTCONN",
        Errno::NOTDIR => "ENOTDIR",
        Errno::OPNOTSUPP => "EOPNOTSUPP",
        Errno::PERM => "EPERM",
        Errno::PIPE => "EPIPE",
        Errno::PROTONOSUPPORT => "EPROTONOSUPPORT",
        Errno::TIMEDOUT => "ETIMEDOUT",
        Errno::TXTBSY => "ETXTBSY",
        _ => "EOTHER",
    }
}
