//! What the host must offer before anything is loaded: each thing that it lacks has a sentence.

use std::io;
use std::path::PathBuf;

/// The kernel's own type information.
pub const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// The filesystem that keeps programs in force.
pub const BPFFS_PATH: &str = "/sys/fs/bpf";

/// Why this host cannot enforce a policy.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The list of security modules cannot be read.
    #[error("`/sys/kernel/security/lsm` cannot be read: {0}")]
    NoModuleList(io::Error),
    /// `bpf` is not in it.
    #[error("the kernel does not ask BPF programs: `bpf` is not among its security modules (`{0}`)")]
    NoBpfModule(String),
    /// No type information.
    #[error("the kernel's type information `{BTF_PATH}` cannot be read: {0}")]
    NoBtf(io::Error),
    /// No BPF filesystem.
    #[error("no BPF filesystem is mounted at `{BPFFS_PATH}`")]
    NoBpffs,
    /// Not privileged.
    #[error("this process may not load programs into the kernel")]
    NoCapability,
    /// `/proc` is not there.
    #[error("`{path}` cannot be read: {error}")]
    NoProc {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl HostError {
    /// What the person who reads the message can do.
    pub fn help(&self) -> &'static str {
        match self {
            HostError::NoModuleList(_) => "mount securityfs at /sys/kernel/security",
            HostError::NoBpfModule(_) => "add `bpf` to `lsm=` on the kernel's command line and boot again",
            HostError::NoBtf(_) => "boot a kernel that is built with CONFIG_DEBUG_INFO_BTF",
            HostError::NoBpffs => "mount it: mount -t bpf bpf /sys/fs/bpf",
            HostError::NoCapability => "run it as root, with CAP_SYS_ADMIN or CAP_BPF and CAP_PERFMON",
            HostError::NoProc { .. } => "mount proc at /proc",
        }
    }
}

/// Checks the host, and reads its kernel's type information.
pub fn check() -> Result<Vec<u8>, HostError> {
    if !may_load(&read_proc("/proc/self/status")?) {
        return Err(HostError::NoCapability);
    }
    let modules = std::fs::read_to_string("/sys/kernel/security/lsm").map_err(HostError::NoModuleList)?;
    if !modules.trim().split(',').any(|module| module == "bpf") {
        return Err(HostError::NoBpfModule(modules.trim().to_owned()));
    }
    if !is_bpffs_mounted(&read_proc("/proc/self/mounts")?) {
        return Err(HostError::NoBpffs);
    }
    std::fs::read(BTF_PATH).map_err(HostError::NoBtf)
}

fn read_proc(path: &str) -> Result<String, HostError> {
    std::fs::read_to_string(path).map_err(|error| HostError::NoProc { path: path.into(), error })
}

fn may_load(status: &str) -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    const PERFMON_AND_BPF: u64 = 1 << 38 | 1 << 39;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0);
    held & SYS_ADMIN != 0 || held & PERFMON_AND_BPF == PERFMON_AND_BPF
}

fn is_bpffs_mounted(mounts: &str) -> bool {
    // The last mount over a place is the one that is seen.
    let kinds = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        (fields.next() == Some(BPFFS_PATH)).then(|| fields.next())
    });
    kinds.fold(None, |_, kind| kind) == Some("bpf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_effective_set() {
        assert!(may_load("CapPrm:\t0\nCapEff:\t000001ffffffffff\n"));
        assert!(may_load("CapEff:\t000000c000000000\n"));
        assert!(!may_load("CapEff:\t0000004000000000\n"));
        assert!(!may_load("CapPrm:\t000001ffffffffff\nCapEff:\t0000000000000000\n"));
        assert!(!may_load(""));
    }

    #[test]
    fn the_uppermost_mount_counts() {
        assert!(is_bpffs_mounted("bpf /sys/fs/bpf bpf rw 0 0\n"));
        assert!(!is_bpffs_mounted("bpf /sys/fs/bpf bpf rw 0 0\ntmpfs /sys/fs/bpf tmpfs rw 0 0\n"));
        assert!(!is_bpffs_mounted("bpf /elsewhere bpf rw 0 0\n"));
    }
}
