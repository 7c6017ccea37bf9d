//! Hosts that cannot enforce, and programs that a host cannot identify or measure. What always holds: if nothing can be
//! enforced, `apply` prints what is missing and what to do, with exit status 4, and leaves the kernel as it found it;
//! if a program cannot be identified, it prints so with exit status 1, and enforces the rest.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use bfp_kernel_tests::objects::Objects;

use super::Scenario;
use super::host::{Host, KMS_V4, OUTSIDE_V4, PORT, SIGNER, THIEF, to};
use crate::destination::Destination;
use crate::enforcer::{self, Ended};
use crate::programs::copy_probe_to;

pub(super) const SCENARIOS: &[Scenario] = &[
    ("a host without the file of type information is enforced on by what the kernel itself tells", without_types),
    ("a host without a BPF filesystem is told so", without_bpffs),
    ("a host with something else over its BPF filesystem is told so", with_another_fs),
    ("a host without cgroup v2 is told so", without_cgroups),
    ("a host that shows a part of its cgroups is told so", with_a_part_of_the_cgroups),
    ("a host without a list of security modules is told so", without_module_list),
    ("a folder of somebody else in the place of the pins is set aside", with_a_foreign_folder),
    ("a kernel that is locked down to confidentiality is told so", locked_down_to_confidentiality),
    ("a host whose tracer is switched off is told so", with_tracer_off),
    ("whoever may not load programs is told so", without_privileges),
    ("memory that may not be locked is not asked for", without_locked_memory),
    ("too little memory leaves nothing behind", with_little_memory),
    ("a program that is a folder is nobody, and is told", folder_for_program),
    ("a program that is a device is nobody, and is told", device_for_program),
    ("a program on overlayfs is the program", on_overlayfs),
    ("a pinned program on overlayfs has no grant, and is told", pinned_on_overlayfs),
    ("a pinned program on a filesystem without fs-verity has no grant, and is told", pinned_in_memory),
];

/// The output under a kernel that does not call BPF programs: run in a guest that is booted so.
pub(super) const WITHOUT_BPF: &[Scenario] = &[
    ("a kernel without BPF among its security modules is told so", without_bpf_module),
    ("a kernel that claims to ask BPF programs and does not is found out", with_a_false_module_list),
];

/// The output under a kernel that may not find the label of a process: run in a guest that is booted to be fully
/// preemptible.
pub(super) const PREEMPTED: &[Scenario] = &[
    ("a kernel that may miss labels is refused by name", preempted),
    ("doctor names a kernel that may miss labels", preempted_to_doctor),
];

const CANNOT_ENFORCE: i32 = 4;
const PINNED: &str = "/pinned/policy.bfpb";

/// Runs `apply` in its own mount namespace, which a shell command prepares.
fn apply_where(bundle: &Path, line: &str) -> Result<Ended, String> {
    let apply = format!("{} {}", enforcer::ENFORCER, enforcer::applying(bundle).join(" "));
    let mut command = Command::new("busybox");
    command.args(["unshare", "-m", "sh", "-ec", &format!("{line}\nexec {apply}")]);
    enforcer::end(&mut command)
}

/// `apply` fails with these words and this advice, and leaves nothing.
fn is_refused(host: &Host, line: &str, words: &str, advice: &str) -> Result<(), String> {
    host.unenforced()?;
    let before = Objects::read()?;
    says(&apply_where(&host.bundle, line)?, words, advice)?;
    before.are_all()
}

fn says(ended: &Ended, words: &str, advice: &str) -> Result<(), String> {
    ended.expect_code(CANNOT_ENFORCE)?;
    let said = &ended.stderr;
    if said.contains(words) && said.lines().any(|line| line.trim_start().starts_with("help: ") && line.contains(advice))
    {
        return Ok(());
    }
    Err(format!("expected `{words}` and the advice `{advice}`, seen: {said}"))
}

fn without_types(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    apply_where(&host.bundle, "mount -t tmpfs none /sys/kernel/btf")?.expect_code(0)?;
    host.refused(THIEF, &to("tcp", KMS_V4))?;
    enforcer::remove()
}

fn without_bpffs(host: &Host) -> Result<(), String> {
    let words = "no BPF filesystem is mounted at `/sys/fs/bpf`";
    is_refused(host, "umount /sys/fs/bpf", words, "mount -t bpf bpf /sys/fs/bpf")
}

/// Every user may create a folder there, unless the filesystem was mounted for root alone.
fn with_a_foreign_folder(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    let line = "mkdir /sys/fs/bpf/bfp; chown 1000 /sys/fs/bpf/bfp; chmod 777 /sys/fs/bpf/bfp";
    apply_where(&host.bundle, line)?.expect_code(0)?;
    host.refused(THIEF, &to("tcp", KMS_V4))?;
    enforcer::remove()?;
    for entry in fs::read_dir("/sys/fs/bpf").map_err(|error| error.to_string())?.flatten() {
        if entry.file_name().to_string_lossy().starts_with("bfp-of-user-1000-") {
            return fs::remove_dir(entry.path()).map_err(|error| error.to_string());
        }
    }
    Err("what stood in the way is not there under another name".to_owned())
}

fn with_another_fs(host: &Host) -> Result<(), String> {
    let words = "no BPF filesystem is mounted at `/sys/fs/bpf`";
    is_refused(host, "mount -t tmpfs none /sys/fs/bpf", words, "mount -t bpf bpf /sys/fs/bpf")
}

fn without_cgroups(host: &Host) -> Result<(), String> {
    let words = "no cgroup v2 hierarchy is mounted";
    is_refused(host, "umount /sys/fs/cgroup", words, "mount -t cgroup2 cgroup2 /sys/fs/cgroup")
}

fn with_a_part_of_the_cgroups(host: &Host) -> Result<(), String> {
    let line = "mkdir -p /sys/fs/cgroup/part /tmp/part; mount --bind /sys/fs/cgroup/part /tmp/part
                umount /sys/fs/cgroup; mount --bind /tmp/part /sys/fs/cgroup; umount /tmp/part";
    is_refused(
        host,
        line,
        "`/sys/fs/cgroup` is not the root of the cgroup hierarchy",
        "outside of any cgroup namespace",
    )
}

fn without_module_list(host: &Host) -> Result<(), String> {
    let words = "`/sys/kernel/security/lsm` cannot be read";
    is_refused(host, "umount /sys/kernel/security", words, "mount securityfs at /sys/kernel/security")
}

/// The real switch cannot be reset, so its file says it: the mode in force is in brackets.
fn locked_down_to_confidentiality(host: &Host) -> Result<(), String> {
    let line = "cp /sys/kernel/security/lsm /tmp/lsm; mount -t tmpfs none /sys/kernel/security
                cp /tmp/lsm /sys/kernel/security; echo 'none integrity [confidentiality]' >/sys/kernel/security/lockdown";
    is_refused(host, line, "the kernel's own lockdown mode is `confidentiality`", "lockdown=integrity")
}

fn with_tracer_off(host: &Host) -> Result<(), String> {
    const SWITCH: &str = "/proc/sys/kernel/ftrace_enabled";
    host.unenforced()?;
    let before = Objects::read()?;
    let set = |value: &str| fs::write(SWITCH, value).map_err(|error| format!("{SWITCH}: {error}"));
    // From 7.3 on it cannot be switched off while the kernel itself uses it.
    if fs::write(SWITCH, "0").is_err_and(|error| error.raw_os_error() == Some(libc::EOPNOTSUPP)) {
        return Ok(());
    }
    set("0")?;
    let ended = enforcer::try_apply(&host.bundle);
    set("1")?;
    let ended = ended?;
    // From 7.3 on the kernel calls LSM programs without the tracer.
    if ended.expect_code(0).is_ok() {
        enforcer::remove()?;
        return before.are_all();
    }
    says(&ended, "the kernel does not", "kernel.ftrace_enabled")?;
    before.are_all()
}

fn without_privileges(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    let before = Objects::read()?;
    let mut command = Command::new(enforcer::ENFORCER);
    let mut arguments = enforcer::applying(&host.bundle);
    // Where it may keep its state.
    if let Some(state) = arguments.last_mut() {
        state.push_str("-of-somebody");
    }
    fs::create_dir_all("/tmp/state").map_err(|error| error.to_string())?;
    fs::set_permissions("/tmp/state", fs::Permissions::from_mode(0o1777)).map_err(|error| error.to_string())?;
    command.args(arguments);
    std::os::unix::process::CommandExt::uid(&mut command, 1000);
    says(&enforcer::end(&mut command)?, "lacks the capability to load BPF programs", "run it as root")?;
    before.are_all()
}

/// Since 5.11 the kernel charges the memory of maps to a cgroup, and does not check this limit.
fn without_locked_memory(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    let before = Objects::read()?;
    apply_where(&host.bundle, "ulimit -l 0")?.expect_code(0)?;
    enforcer::remove()?;
    before.are_all()
}

/// From far too little memory up to enough: at every step the policy is either enforced or nothing is left. An enforcer
/// that the kernel kills can neither print an error nor remove its folder of pins: then nothing is left that decides,
/// and `remove` removes the rest.
fn with_little_memory(host: &Host) -> Result<(), String> {
    const CGROUP: &str = "/sys/fs/cgroup/bfp-small";
    const STEP_KIB: u64 = 1024;
    host.unenforced()?;
    let write = |file: &str, value: &str| fs::write(file, value).map_err(|error| format!("{file}: {error}"));
    write("/sys/fs/cgroup/cgroup.subtree_control", "+memory")?;
    fs::create_dir_all(CGROUP).map_err(|error| format!("{CGROUP}: {error}"))?;
    let before = Objects::read()?;
    let (mut refusals, mut enough) = (0, false);
    for step in 1..=64 {
        write(&format!("{CGROUP}/memory.max"), &format!("{}", step * STEP_KIB * 1024))?;
        let ended = apply_where(&host.bundle, &format!("echo $$ > {CGROUP}/cgroup.procs"))?;
        if ended.expect_code(0).is_ok() {
            enforcer::remove()?;
            enough = true;
            break;
        }
        refusals += 1;
        if ended.is_killed() {
            before.are_all_that_decide().map_err(|left| format!("at {} KiB: {left}", step * STEP_KIB))?;
            enforcer::remove()?;
        } else {
            says(&ended, "", "memory").map_err(|difference| format!("at {} KiB: {difference}", step * STEP_KIB))?;
        }
        before.are_all().map_err(|left| format!("at {} KiB: {left}", step * STEP_KIB))?;
    }
    fs::remove_dir(CGROUP).map_err(|error| format!("{CGROUP}: {error}"))?;
    write("/sys/fs/cgroup/cgroup.subtree_control", "-memory")?;
    match (refusals, enough) {
        (1.., true) => before.are_all(),
        _ => Err(format!("expected a refusal and then a success, seen {refusals} refusals and success: {enough}")),
    }
}

/// Applies a bundle with something else at the signer's path.
fn with_signer(
    host: &Host,
    bundle: &Path,
    put: impl FnOnce() -> Result<(), String>,
) -> Result<(Ended, Objects), String> {
    const ASIDE: &str = "/usr/bin/.signer.aside";
    host.unenforced()?;
    let before = Objects::read()?;
    let wrong = |error: std::io::Error| format!("{SIGNER}: {error}");
    fs::rename(SIGNER, ASIDE).map_err(wrong)?;
    let ended = put().and_then(|()| enforcer::try_apply(bundle));
    let gone = match fs::symlink_metadata(SIGNER) {
        Ok(there) if there.is_dir() => fs::remove_dir(SIGNER),
        Ok(_) => fs::remove_file(SIGNER),
        Err(_) => Ok(()),
    };
    gone.and_then(|()| fs::rename(ASIDE, SIGNER)).map_err(wrong)?;
    Ok((ended?, before))
}

/// Enforced, but without the grants of the signer, which cannot be identified: that is reported by name.
fn is_nobody(ended: &Ended, before: &Objects) -> Result<(), String> {
    const LESS: i32 = 1;
    let told = ended.expect_code(LESS);
    // Removes even what should not have been applied.
    let removed = enforcer::try_remove().map(drop);
    told?;
    removed?;
    if !ended.stderr.contains(SIGNER) && !ended.stdout.contains(SIGNER) {
        return Err(format!("expected {SIGNER} by name, seen: {}{}", ended.stdout, ended.stderr));
    }
    before.are_all()
}

fn folder_for_program(host: &Host) -> Result<(), String> {
    let put = || fs::create_dir(SIGNER).map_err(|error| error.to_string());
    let (ended, before) = with_signer(host, &host.bundle, put)?;
    is_nobody(&ended, &before)
}

fn device_for_program(host: &Host) -> Result<(), String> {
    let put = || symlink("/dev/null", SIGNER).map_err(|error| error.to_string());
    let (ended, before) = with_signer(host, &host.bundle, put)?;
    is_nobody(&ended, &before)
}

const OVERLAY: &str = "/tmp/overlay";

/// Makes the signer's path lead to a file of an overlay while `then` runs.
fn with_overlay(then: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("{OVERLAY}: {error}");
    for folder in ["lower", "upper", "work", "merged"] {
        fs::create_dir_all(format!("{OVERLAY}/{folder}")).map_err(wrong)?;
    }
    copy_probe_to(Path::new(&format!("{OVERLAY}/lower/signer")))?;
    let options = format!("lowerdir={OVERLAY}/lower,upperdir={OVERLAY}/upper,workdir={OVERLAY}/work");
    let merged = format!("{OVERLAY}/merged");
    busybox(&["mount", "-t", "overlay", "-o", &options, "overlay", &merged])?;
    let lead_there =
        || fs::remove_file(SIGNER).and_then(|()| symlink(format!("{merged}/signer"), SIGNER)).map_err(wrong);
    let tried = lead_there().and_then(|()| then());
    fs::remove_file(SIGNER).map_err(wrong)?;
    copy_probe_to(Path::new(SIGNER))?;
    busybox(&["umount", &merged])?;
    fs::remove_dir_all(OVERLAY).map_err(wrong)?;
    tried
}

fn busybox(arguments: &[&str]) -> Result<(), String> {
    enforcer::end(Command::new("busybox").args(arguments))?.expect_code(0)
}

fn on_overlayfs(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    with_overlay(|| {
        host.enforced()?;
        let kms = Destination::tcp(KMS_V4, PORT);
        let is_the_signer = || {
            host.reaches(SIGNER, &to("tcp", KMS_V4), kms)?;
            host.refused(SIGNER, &to("tcp", OUTSIDE_V4))
        };
        let tried = is_the_signer().and_then(|()| {
            host.refused(THIEF, &to("tcp", KMS_V4))?;
            // The file below is not the one that the policy's path leads to.
            host.refused(&format!("{OVERLAY}/lower/signer"), &to("tcp", KMS_V4))?;
            // An upgrade is in the upper layer.
            let (new, merged) = (format!("{OVERLAY}/merged/.new"), format!("{OVERLAY}/merged/signer"));
            copy_probe_to(Path::new(&new))?;
            fs::rename(new, merged).map_err(|error| error.to_string())?;
            is_the_signer()
        });
        tried.and(host.unenforced())
    })
}

fn pinned_on_overlayfs(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    with_overlay(|| {
        let before = Objects::read()?;
        let ended = enforcer::try_apply(Path::new(PINNED))?;
        is_nobody(&ended, &before)
    })
}

fn pinned_in_memory(host: &Host) -> Result<(), String> {
    const ELSEWHERE: &str = "/tmp/signer-in-memory";
    copy_probe_to(Path::new(ELSEWHERE))?;
    let put = || symlink(ELSEWHERE, SIGNER).map_err(|error| error.to_string());
    let (ended, before) = with_signer(host, Path::new(PINNED), put)?;
    fs::remove_file(ELSEWHERE).map_err(|error| format!("{ELSEWHERE}: {error}"))?;
    is_nobody(&ended, &before)
}

fn without_bpf_module(host: &Host) -> Result<(), String> {
    let words = "the kernel does not call BPF LSM programs: `bpf` is not among its security modules";
    is_refused(host, "", words, "add the whole setting to the kernel's command line")
}

fn with_a_false_module_list(host: &Host) -> Result<(), String> {
    let line = "echo -n capability,bpf > /tmp/modules; mount --bind /tmp/modules /sys/kernel/security/lsm";
    is_refused(host, line, "the kernel does not", "check `lsm=` on the kernel's command line")
}

const MISSES_LABELS: &str = "this kernel is older than 6.2 and fully preemptible (`preempt=full`)";

fn preempted(host: &Host) -> Result<(), String> {
    is_refused(host, "", MISSES_LABELS, "`preempt=voluntary`")
}

fn preempted_to_doctor(host: &Host) -> Result<(), String> {
    host.unenforced()?;
    let ended = enforcer::end(Command::new(enforcer::ENFORCER).arg("doctor"))?;
    let said = &ended.stdout;
    if said.contains(MISSES_LABELS) && said.contains("this host cannot enforce") { Ok(()) } else { Err(said.clone()) }
}
