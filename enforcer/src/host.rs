//! What the host must provide before anything is loaded. Each missing requirement is an error of its own.

/// System calls that neither std nor aya provides. The only file with unsafe code.
pub(crate) mod syscall;

pub mod btf;

pub mod offsets;

pub(crate) mod kfunc;

pub mod folders;

pub mod followed;

pub mod replacement;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::Actionable;
use crate::host::btf::Btf;

/// The kernel's own type information.
pub const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// The filesystem that keeps BPF objects alive.
pub const BPFFS_PATH: &str = "/sys/fs/bpf";

/// Why this host cannot enforce a policy.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its variant is")]
pub enum HostError {
    #[error("`/sys/kernel/security/lsm` cannot be read: {0}")]
    NoModuleList(io::Error),
    #[error(
        "the kernel does not call BPF LSM programs: `bpf` is not among its security modules (`{0}`); the setting \
         would be `lsm={0},bpf`"
    )]
    NoBpfModule(String),
    #[error("the kernel's own lockdown mode is `confidentiality`, in which BPF programs cannot read kernel memory")]
    Confidential,
    #[error("the kernel's type information `{BTF_PATH}` cannot be read: {0}")]
    NoBtf(io::Error),
    #[error("no BPF filesystem is mounted at `{BPFFS_PATH}`")]
    NoBpffs,
    #[error("no cgroup v2 hierarchy is mounted")]
    NoCgroups,
    #[error("`{0}` is not the root of the cgroup hierarchy")]
    NotTheRootCgroup(PathBuf),
    #[error("the root of the cgroup hierarchy `{path}` cannot be opened: {error}")]
    CgroupUnreadable { path: PathBuf, error: io::Error },
    #[error("this process lacks the capability to load BPF programs")]
    NoCapability,
    #[error("this kernel is older than 6.2 and fully preemptible ({0}): it can miss the labels of processes")]
    LabelsAreMissed(&'static str),
    #[error(
        "the policy names units of systemd, and the first process is in the cgroup `{0}`, not in `0::/init.scope` alone"
    )]
    NoUnits(String),
    #[error("`{path}` cannot be read: {error}")]
    NoProc { path: PathBuf, error: io::Error },
}

impl Actionable for HostError {
    fn help(&self) -> &'static str {
        match self {
            HostError::NoModuleList(_) => {
                "mount securityfs at /sys/kernel/security; in a container, run it on the host instead"
            }
            HostError::NoBpfModule(_) => {
                "add the whole setting to the kernel's command line, because modules that it leaves out are switched \
                 off, and reboot"
            }
            HostError::Confidential => {
                "reboot with `lockdown=integrity` on the kernel's command line, or without `lockdown=`; the mode \
                 cannot be lowered before"
            }
            HostError::NoBtf(_) => "boot a kernel that is built with CONFIG_DEBUG_INFO_BTF",
            HostError::NoBpffs => "mount it: mount -t bpf bpf /sys/fs/bpf",
            HostError::NoCgroups => "mount it: mount -t cgroup2 cgroup2 /sys/fs/cgroup",
            HostError::NotTheRootCgroup(_) => "run it on the host, outside of any cgroup namespace",
            HostError::CgroupUnreadable { .. } => "run it as root",
            HostError::NoCapability => "run it as root, with CAP_SYS_ADMIN or CAP_BPF and CAP_PERFMON",
            HostError::LabelsAreMissed(_) => {
                "boot a newer kernel, or this one with `preempt=voluntary` on its command line if it is built with \
                 PREEMPT_DYNAMIC"
            }
            HostError::NoUnits(_) => {
                "boot this host with systemd and cgroups of version 2 alone, or apply a policy that names no unit"
            }
            HostError::NoProc { .. } => "mount proc at /proc",
        }
    }
}

/// The host that a policy is applied to.
#[derive(Debug)]
pub struct Host {
    /// The kernel's type information, BTF.
    pub types: Vec<u8>,
    /// The root cgroup, where programs see the packets of every process.
    pub cgroups: File,
}

/// Checks the requirements, in order.
///
/// # Errors
/// The first requirement that the host does not meet.
pub fn check() -> Result<Host, HostError> {
    if !may_load(&read_proc("/proc/self/status")?) {
        return Err(HostError::NoCapability);
    }
    let modules = std::fs::read_to_string("/sys/kernel/security/lsm").map_err(HostError::NoModuleList)?;
    if !modules.trim().split(',').any(|module| module == "bpf") {
        return Err(HostError::NoBpfModule(modules.trim().to_owned()));
    }
    // A kernel without this module does not have this file.
    if is_confidential(&std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default()) {
        return Err(HostError::Confidential);
    }
    let mounts = read_proc("/proc/self/mounts")?;
    if !is_bpffs_mounted(&mounts) {
        return Err(HostError::NoBpffs);
    }
    let cgroups = open_cgroups(&PathBuf::from(cgroup_mount(&mounts).ok_or(HostError::NoCgroups)?))?;
    let types = syscall::kernel_types().or_else(|_| std::fs::read(BTF_PATH)).map_err(HostError::NoBtf)?;
    let debugged = std::fs::read_to_string("/sys/kernel/debug/sched/preempt");
    let preempted =
        full_preemption(&read_proc("/proc/version")?, &read_proc("/proc/cmdline")?, debugged.ok().as_deref());
    // Malformed type information is rejected by its next reader.
    if let Some(sign) = preempted
        && Btf::parse(&types).is_ok_and(|types| may_miss_labels(&types))
    {
        return Err(HostError::LabelsAreMissed(sign));
    }
    Ok(Host { types, cgroups })
}

/// Checks that the cgroups of this host are made by systemd, so that their names are those of units.
///
/// # Errors
/// The first process is elsewhere than systemd puts itself, or in a hierarchy of version 1 as well.
pub fn check_units() -> Result<(), HostError> {
    match read_proc("/proc/1/cgroup")?.trim_end() {
        "0::/init.scope" => Ok(()),
        other => Err(HostError::NoUnits(other.lines().collect::<Vec<_>>().join(", "))),
    }
}

fn open_cgroups(root: &Path) -> Result<File, HostError> {
    // Every cgroup but the root has this file (kernel/cgroup/cgroup.c, `cgroup_base_files`).
    if root.join("cgroup.events").exists() {
        return Err(HostError::NotTheRootCgroup(root.to_owned()));
    }
    File::open(root).map_err(|error| HostError::CgroupUnreadable { path: root.to_owned(), error })
}

/// The mount point of cgroup version 2.
fn cgroup_mount(mounts: &str) -> Option<&str> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let place = fields.next()?;
        (fields.next() == Some("cgroup2")).then_some(place)
    })
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

/// Whether the mode in brackets refuses the helpers that read memory (kernel/trace/bpf_trace.c,
/// `LOCKDOWN_BPF_READ_KERNEL`).
fn is_confidential(modes: &str) -> bool {
    modes.split_whitespace().any(|mode| mode == "[confidentiality]")
}

fn is_bpffs_mounted(mounts: &str) -> bool {
    // The last mount at a path is the visible one.
    let kinds = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        (fields.next() == Some(BPFFS_PATH)).then(|| fields.next())
    });
    kinds.fold(None, |_, kind| kind) == Some("bpf")
}

/// Whether `bpf_task_storage_get` finds nothing while a task that was preempted in it holds the processor's counter
/// (kernel/bpf/bpf_task_storage.c, `bpf_task_storage_trylock`). From 6.2 on, LSM programs do not check the counter, and
/// tracing programs have a function of their own that does; later the counter is gone.
fn may_miss_labels(types: &Btf<'_>) -> bool {
    types.has_variable("bpf_task_storage_busy") && types.function("bpf_task_storage_get_recur").is_none()
}

/// The evidence that the kernel is fully preemptible, if there is any: its current mode, its command line, or its
/// build.
fn full_preemption(version: &str, command_line: &str, debugged: Option<&str>) -> Option<&'static str> {
    let built = |with: &str| version.split_whitespace().any(|word| word == with);
    if built("PREEMPT_RT") {
        return Some("PREEMPT_RT");
    }
    if let Some(modes) = debugged {
        return modes.contains("(full)").then_some("`(full)` in /sys/kernel/debug/sched/preempt");
    }
    if !built("PREEMPT_DYNAMIC") {
        return built("PREEMPT").then_some("PREEMPT");
    }
    let asked = command_line.split_whitespace().filter_map(|word| word.strip_prefix("preempt=")).next_back();
    (asked == Some("full")).then_some("`preempt=full`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_asks_no_bpf_programs_is_reported_with_the_whole_list_to_write() {
        let error = HostError::NoBpfModule("capability,landlock,apparmor".to_owned());
        assert!(error.to_string().ends_with("would be `lsm=capability,landlock,apparmor,bpf`"), "{error}");
    }

    #[test]
    fn the_mode_of_lockdown_is_the_one_in_brackets() {
        assert!(is_confidential("none integrity [confidentiality]\n"));
        for other in ["none [integrity] confidentiality\n", "[none] integrity confidentiality\n", ""] {
            assert!(!is_confidential(other), "{other}");
        }
    }

    #[test]
    fn full_preemption_is_reported_by_the_build_the_command_line_and_the_kernel_itself() {
        let dynamic = "Linux version 6.1.0-50-cloud-amd64 (gcc) #1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1";
        let command_line = Some("`preempt=full`");
        let itself = Some("`(full)` in /sys/kernel/debug/sched/preempt");
        let cases = [
            ("Linux version 5.15 #1 SMP", "quiet", None, None),
            ("Linux version 6.1.0 #1 SMP PREEMPT", "quiet", None, Some("PREEMPT")),
            ("Linux version 6.1.0-rt #1 SMP PREEMPT_RT", "preempt=none", None, Some("PREEMPT_RT")),
            ("Linux version 6.1.0-rt #1 SMP PREEMPT_RT", "", Some("none (voluntary) full"), Some("PREEMPT_RT")),
            (dynamic, "quiet", None, None),
            (dynamic, "quiet preempt=full ro", None, command_line),
            (dynamic, "preempt=full preempt=voluntary", None, None),
            (dynamic, "preempt=none preempt=full\n", None, command_line),
            (dynamic, "xpreempt=full preempt=fuller", None, None),
            (dynamic, "preempt=full", Some("none (voluntary) full\n"), None),
            (dynamic, "", Some("none voluntary (full)\n"), itself),
        ];
        for (version, arguments, debugged, expected) in cases {
            let found = full_preemption(version, arguments, debugged);
            assert_eq!(found, expected, "{version}, {arguments}, {debugged:?}");
        }
    }

    #[test]
    fn capabilities_are_read_from_the_effective_set() {
        assert!(may_load("CapPrm:\t0\nCapEff:\t000001ffffffffff\n"));
        assert!(may_load("CapEff:\t000000c000000000\n"));
        assert!(!may_load("CapEff:\t0000004000000000\n"));
        assert!(!may_load("CapPrm:\t000001ffffffffff\nCapEff:\t0000000000000000\n"));
        assert!(!may_load(""));
    }

    #[test]
    fn cgroups_are_found_by_their_kind() {
        let hybrid = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(cgroup_mount(hybrid), Some("/sys/fs/cgroup/unified"));
        assert_eq!(cgroup_mount("cgroup2 /sys/fs/cgroup tmpfs rw 0 0\n"), None);
    }

    #[test]
    fn the_uppermost_mount_counts() {
        assert!(is_bpffs_mounted("bpf /sys/fs/bpf bpf rw 0 0\n"));
        assert!(!is_bpffs_mounted("bpf /sys/fs/bpf bpf rw 0 0\ntmpfs /sys/fs/bpf tmpfs rw 0 0\n"));
        assert!(!is_bpffs_mounted("bpf /elsewhere bpf rw 0 0\n"));
    }
}
