//! Names: a program is whatever file is at a name in the host's tree when it is executed. Releases, replaced folders,
//! patterns, mounts and overlays. Each scenario applies a policy of fixtures/identity, all of which say the same about
//! their program: it alone reaches the KMS, and it reaches nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Scenario;
use super::host::{Host, KMS_V4, OUTSIDE_V4, PORT, SIGNER, THIEF, to};
use crate::destination::Destination;
use crate::enforcer::{self, Ended, PINS};
use crate::listeners::Expected;
use crate::programs::{Programs, Running, copy_probe_to};

pub(super) const SCENARIOS: &[Scenario] = &[
    ("a release that a link leads to is the program, and the next one too", switched_link),
    ("a program whose folder is replaced stays the program", replaced_folder),
    ("a link to a multi-call program is told by name", link_to_many),
    ("a star stands for a folder of each version", star_for_a_folder),
    ("a star stands for a part of a name", star_for_a_part),
    ("a star stands for every file of a folder, of the longest name too", star_for_a_file),
    ("a tree has every program below it", tree),
    ("a program too deep in a tree to be told is held", too_deep),
    ("a name of 255 bytes is a name", longest_name),
    ("a program written by both names of a merged /usr is one", merged),
    ("in a clone of the host's mounts the signer is the signer", cloned_mounts),
    ("in a clone with a /tmp of its own the signer is the signer", private_tmp),
    ("the signer's file mounted elsewhere in a clone has no grant and is confined", mounted_elsewhere),
    ("a program mounted where a link leads keeps the restrictions of where it lies", mounted_over_a_target),
    ("a confined program that changes its root stays confined", confined_in_chroot),
    ("an old build that was kept open has no grant and is confined", old_build),
    ("a program on an overlay of two filesystems outlives the kernel's caches", dropped_caches),
    ("a program on an overlay of two filesystems outlives a lack of memory", lack_of_memory),
];

fn kms() -> Destination {
    Destination::tcp(KMS_V4, PORT)
}

fn outside() -> Destination {
    Destination::tcp(OUTSIDE_V4, PORT)
}

/// A bundle that the harness builds from fixtures/identity.
pub(super) fn bundle(name: &str) -> PathBuf {
    PathBuf::from(format!("/identity/{name}.bfpb"))
}

/// Enforces a policy while `then` runs.
fn under(host: &Host, name: &str, then: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    host.unenforced()?;
    enforcer::apply(&bundle(name))?;
    then().and(enforcer::remove())
}

/// Alone reaches the KMS, and reaches nothing else. `by` starts it: a program and its first arguments.
fn is_the_program_by(host: &Host, by: &str, path: &str) -> Result<(), String> {
    let (first, rest) = by.split_once(' ').unwrap_or((by, ""));
    let words = |way: String| format!("{rest} {path} {way}");
    host.reaches(first, &words(to("tcp", KMS_V4)), kms())?;
    host.refused(first, &words(to("tcp", OUTSIDE_V4)))
}

pub(super) fn is_the_program(host: &Host, path: &str) -> Result<(), String> {
    host.reaches(path, &to("tcp", KMS_V4), kms())?;
    host.refused(path, &to("tcp", OUTSIDE_V4))
}

/// It is an unlisted program.
pub(super) fn is_a_stranger(host: &Host, path: &str) -> Result<(), String> {
    host.refused(path, &to("tcp", KMS_V4))?;
    host.reaches(path, &to("tcp", OUTSIDE_V4), outside())
}

/// Reaches neither: it has no grant, and is confined.
fn is_held(host: &Host, path: &str) -> Result<(), String> {
    host.refused(path, &to("tcp", KMS_V4))?;
    host.refused(path, &to("tcp", OUTSIDE_V4))
}

/// Checks that the enforcer printed all of these words, on any stream.
pub(super) fn says(ended: &Ended, words: &[&str]) -> Result<(), String> {
    let said = format!("{}{}", ended.stdout, ended.stderr);
    match words.iter().find(|word| !said.contains(**word)) {
        Some(word) => Err(format!("expected `{word}`, seen: {said}")),
        None => Ok(()),
    }
}

fn generations() -> Result<BTreeSet<String>, String> {
    let names = fs::read_dir(PINS).map_err(|error| format!("{PINS}: {error}"))?;
    Ok(names.flatten().map(|name| name.file_name().to_string_lossy().into_owned()).collect())
}

fn switched_link(host: &Host) -> Result<(), String> {
    const LINK: &str = "/srv/app/current";
    let [first, second] = ["/srv/app/r1/bin/app", "/srv/app/r2/bin/app"];
    let app = "/srv/app/current/bin/app";
    let _releases = Programs::install([first, second])?;
    let lead_to = |release: &str| {
        let new = "/srv/app/.current.new";
        symlink(release, new).and_then(|()| fs::rename(new, LINK)).map_err(|error| format!("{LINK}: {error}"))
    };
    host.unenforced()?;
    lead_to("r1")?;
    let policy = bundle("link");
    let tried = enforcer::try_apply(&policy).and_then(|ended| {
        ended.expect_code(0)?;
        // The link, and a pattern that needs none.
        says(&ended, &[app, first, "/srv/app/*/bin/app"])?;
        is_the_program(host, app)?;
        let before = generations()?;
        enforcer::apply(&policy)?;
        if generations()? != before {
            return Err(format!("applied again where nothing changed: {before:?} became {:?}", generations()?));
        }
        lead_to("r2")?;
        let status = enforcer::status_of(&bundle("link"))?;
        status.expect_code(1)?;
        says(&status, &["degraded", LINK])?;
        host.refused(first, &to("tcp", OUTSIDE_V4))?;
        enforcer::apply(&policy)?;
        is_the_program(host, app)?;
        is_the_program(host, second)?;
        // The old release is not an unlisted program, even after the next apply and whoever starts it.
        is_held(host, first)?;
        enforcer::apply_again(&policy)?;
        is_held(host, first)?;
        is_the_program(host, second)?;
        enforcer::status_of(&bundle("link"))?.expect_code(0)
    });
    tried.and(enforcer::remove()).and(fs::remove_dir_all("/srv/app").map_err(|error| error.to_string()))
}

fn replaced_folder(host: &Host) -> Result<(), String> {
    let svc = "/srv/svc/bin/svc";
    let _programs = Programs::install([svc, "/srv/svc.new/bin/svc"])?;
    let tried = under(host, "folder", || {
        is_the_program(host, svc)?;
        let swapped = fs::rename("/srv/svc", "/srv/svc.old").and_then(|()| fs::rename("/srv/svc.new", "/srv/svc"));
        swapped.map_err(|error| error.to_string())?;
        is_the_program(host, svc)
    });
    let _old = fs::remove_dir_all("/srv/svc.old");
    tried
}

fn link_to_many(host: &Host) -> Result<(), String> {
    let (link, many) = ("/usr/local/bin/wget", "/bin/busybox");
    host.unenforced()?;
    fs::create_dir_all("/usr/local/bin").map_err(|error| error.to_string())?;
    symlink(many, link).map_err(|error| format!("{link}: {error}"))?;
    let ended = enforcer::try_apply(&bundle("applet"));
    let tried = ended.and_then(|ended| says(&ended, &[link, many]));
    tried.and(enforcer::remove()).and(fs::remove_file(link).map_err(|error| error.to_string()))
}

fn star_for_a_folder(host: &Host) -> Result<(), String> {
    let [first, later] = ["/opt/app/1.0/bin/app", "/opt/app/2.0~rc1/bin/app"];
    let others = ["/opt/app/bin/app", "/opt/app/1.0/old/bin/app", "/opt/app/1.0/bin/app2"];
    let _programs = Programs::install([first].into_iter().chain(others))?;
    under(host, "versions", || {
        is_the_program(host, first)?;
        let _later = Programs::install([later])?;
        is_the_program(host, later)?;
        others.iter().try_for_each(|other| is_a_stranger(host, other))
    })
}

fn star_for_a_part(host: &Host) -> Result<(), String> {
    let vaults = ["/nix/store/s3h5-vault-1.17/bin/vault", "/nix/store/-vault-/bin/vault"];
    let others = ["/nix/store/s3h5-vault/bin/vault", "/nix/store/s3h5-consul-1.17/bin/vault", "/nix/store/bin/vault"];
    let _programs = Programs::install(vaults.into_iter().chain(others))?;
    under(host, "store", || {
        vaults.iter().try_for_each(|vault| is_the_program(host, vault))?;
        others.iter().try_for_each(|other| is_a_stranger(host, other))
    })
}

fn star_for_a_file(host: &Host) -> Result<(), String> {
    let longest = format!("/opt/tools/bin/{}", "y".repeat(255));
    let others = ["/opt/tools/bin/more/tool", "/opt/tools/tool"];
    let _programs = Programs::install(["/opt/tools/bin/tool", longest.as_str()].into_iter().chain(others))?;
    under(host, "tools", || {
        is_the_program(host, "/opt/tools/bin/tool")?;
        is_the_program(host, &longest)?;
        others.iter().try_for_each(|other| is_a_stranger(host, other))
    })
}

fn tree(host: &Host) -> Result<(), String> {
    let below = ["/opt/tree/tool", "/opt/tree/a/b/c/d/tool"];
    let others = ["/opt/trees/tool", "/srv/opt/tree/tool"];
    let _programs = Programs::install(below.into_iter().chain(others))?;
    under(host, "tree", || {
        below.iter().try_for_each(|program| is_the_program(host, program))?;
        others.iter().try_for_each(|other| is_a_stranger(host, other))
    })
}

/// More folders than the kernel programs walk: requests of a file that cannot be identified are denied.
fn too_deep(host: &Host) -> Result<(), String> {
    let deep = format!("/opt/tree/{}tool", "d/".repeat(200));
    let _programs = Programs::install(["/opt/tree/tool", deep.as_str()])?;
    let tried = under(host, "tree", || is_held(host, &deep).and(is_the_program(host, "/opt/tree/tool")));
    let _folders = fs::remove_dir_all("/opt/tree/d");
    tried
}

fn longest_name(host: &Host) -> Result<(), String> {
    let long = format!("/opt/long/{}", "x".repeat(255));
    let other = format!("/opt/long/{}", "x".repeat(254));
    let _programs = Programs::install([long.as_str(), other.as_str()])?;
    under(host, "long", || is_the_program(host, &long).and_then(|()| is_a_stranger(host, &other)))
}

fn merged(host: &Host) -> Result<(), String> {
    let _program = Programs::install(["/usr/bin/both"])?;
    under(host, "merged", || is_the_program(host, "/usr/bin/both"))
}

fn cloned_mounts(host: &Host) -> Result<(), String> {
    host.enforced()?;
    is_the_program_by(host, "busybox unshare -m", SIGNER)?;
    host.refused("busybox", &format!("unshare -m {THIEF} {}", to("tcp", KMS_V4)))
}

/// As for a service with PrivateTmp.
fn private_tmp(host: &Host) -> Result<(), String> {
    const SCRIPT: &str = "/usr/local/with-a-tmp-of-its-own";
    host.enforced()?;
    fs::create_dir_all("/usr/local").map_err(|error| error.to_string())?;
    fs::write(SCRIPT, "mount -t tmpfs none /tmp && exec \"$@\"\n").map_err(|error| format!("{SCRIPT}: {error}"))?;
    let tried = is_the_program_by(host, &format!("busybox unshare -m sh {SCRIPT}"), SIGNER);
    tried.and(fs::remove_file(SCRIPT).map_err(|error| format!("{SCRIPT}: {error}")))
}

fn mounted_elsewhere(host: &Host) -> Result<(), String> {
    const ELSEWHERE: &str = "/usr/elsewhere";
    host.enforced()?;
    fs::write(ELSEWHERE, "").map_err(|error| format!("{ELSEWHERE}: {error}"))?;
    let tried = [KMS_V4, OUTSIDE_V4].into_iter().try_for_each(|address| {
        let shown = format!("exec {ELSEWHERE} {}", to("tcp", address));
        host.refused(THIEF, &format!("in-mount-namespace {SIGNER} {ELSEWHERE} {shown}"))
    });
    tried.and(fs::remove_file(ELSEWHERE).map_err(|error| format!("{ELSEWHERE}: {error}")))
}

fn mounted_over_a_target(host: &Host) -> Result<(), String> {
    const TARGET: &str = "/srv/bound/r1/bin/app";
    const ELSEWHERE: &str = "/srv/bound/elsewhere";
    let own = "/srv/own/bin/app";
    let _programs = Programs::install([own, TARGET, ELSEWHERE])?;
    symlink("r1", "/srv/bound/current").map_err(|error| format!("current: {error}"))?;
    let mounted = |from: &str, to: &str, then: &dyn Fn() -> Result<(), String>| {
        enforcer::end(Command::new("busybox").args(["mount", "--bind", from, to]))?.expect_code(0)?;
        then().and(enforcer::end(Command::new("busybox").args(["umount", to]))?.expect_code(0))
    };
    let tried = under(host, "bound", || {
        is_the_program(host, TARGET)?;
        // Each may reach what the other may not.
        mounted(own, TARGET, &|| is_held(host, TARGET))?;
        // Conversely, the name of the link's target is nowhere but at the file's original place.
        mounted(TARGET, ELSEWHERE, &|| is_held(host, ELSEWHERE))?;
        is_the_program(host, TARGET)?;
        is_a_stranger(host, ELSEWHERE)
    });
    tried.and(
        ["/srv/bound", "/srv/own"]
            .into_iter()
            .try_for_each(|folder| fs::remove_dir_all(folder).map_err(|error| format!("{folder}: {error}"))),
    )
}

fn confined_in_chroot(host: &Host) -> Result<(), String> {
    let root = "/tmp/jail";
    let _jail = Programs::install([format!("{root}{SIGNER}").as_str()])?;
    host.enforced()?;
    for address in [KMS_V4, OUTSIDE_V4] {
        host.refused(SIGNER, &format!("in-chroot {root} exec {SIGNER} {}", to("tcp", address)))?;
    }
    Ok(())
}

fn old_build(host: &Host) -> Result<(), String> {
    host.enforced()?;
    for address in [KMS_V4, OUTSIDE_V4] {
        let arguments = format!("exec-opened {SIGNER} {}", to("tcp", address));
        let words: Vec<&str> = arguments.split_whitespace().collect();
        let mut keeper = Running::start_until(THIEF, &words, "ready")?;
        let new = "/usr/bin/.signer.new";
        copy_probe_to(Path::new(new))?;
        fs::rename(new, SIGNER).map_err(|error| format!("{SIGNER}: {error}"))?;
        host.goes_on(&mut keeper, Expected::Refused)?;
    }
    is_the_program(host, SIGNER)
}

/// Layers on two filesystems, so that the inode numbers of folders are assigned again when they are read again
/// (fs/overlayfs/inode.c, `ovl_map_dev_ino`).
struct Layers;

impl Layers {
    const LOWER: &'static str = "/var/layers";
    const UPPER: &'static str = "/tmp/layers";
    const MERGED: &'static str = "/mnt/layers";
    const APP: &'static str = "/mnt/layers/usr/bin/app";
    const OTHERS: u32 = 3000;

    fn mount() -> Result<Layers, String> {
        let (lower, upper, merged) = (Layers::LOWER, Layers::UPPER, Layers::MERGED);
        for folder in [&format!("{upper}/up"), &format!("{upper}/work"), merged] {
            fs::create_dir_all(folder).map_err(|error| format!("{folder}: {error}"))?;
        }
        copy_probe_to(Path::new(&format!("{lower}/usr/bin/app")))?;
        // Enough for the kernel to evict some of it.
        for number in 0..Layers::OTHERS {
            let folder = format!("{lower}/usr/share/{number}");
            let made = fs::create_dir_all(&folder).and_then(|()| fs::write(format!("{folder}/file"), ""));
            made.map_err(|error| format!("{folder}: {error}"))?;
        }
        let options = format!("lowerdir={lower},upperdir={upper}/up,workdir={upper}/work");
        let mount = ["mount", "-t", "overlay", "-o", &options, "overlay", merged];
        enforcer::end(Command::new("busybox").args(mount))?.expect_code(0)?;
        // A folder that both layers have.
        fs::write(format!("{merged}/usr/bin/other"), "").map_err(|error| format!("{merged}: {error}"))?;
        Ok(Layers)
    }
}

impl Drop for Layers {
    fn drop(&mut self) {
        let _busy = enforcer::end(Command::new("busybox").args(["umount", Layers::MERGED]));
        for folder in [Layers::LOWER, Layers::UPPER] {
            let _gone = fs::remove_dir_all(folder);
        }
    }
}

/// The program keeps its identity after the kernel's caches were disturbed, and so does what is written above.
fn outlives(host: &Host, happen: fn() -> Result<(), String>) -> Result<(), String> {
    host.unenforced()?;
    let _layers = Layers::mount()?;
    under(host, "layers", || {
        is_the_program(host, Layers::APP)?;
        for _ in 0..3 {
            until_evicted(happen)?;
            is_the_program(host, Layers::APP)?;
        }
        let new = format!("{}/usr/bin/.app.new", Layers::MERGED);
        copy_probe_to(Path::new(&new))?;
        fs::rename(&new, Layers::APP).map_err(|error| format!("{new}: {error}"))?;
        until_evicted(happen)?;
        is_the_program(host, Layers::APP)
    })
}

/// Repeats `happen` until the kernel has evicted the program's folder, which shows in a new inode number when it is
/// read again. Without that the program was not affected.
fn until_evicted(happen: fn() -> Result<(), String>) -> Result<(), String> {
    const TIMES: u32 = 3;
    let folder = Path::new(Layers::APP).parent().unwrap_or(Path::new("/"));
    let number =
        || fs::metadata(folder).map(|told| told.ino()).map_err(|error| format!("{}: {error}", folder.display()));
    let before = number()?;
    for _ in 0..TIMES {
        happen()?;
        if number()? != before {
            return Ok(());
        }
    }
    Err(format!("{} has the number {before} still: the kernel has not forgotten it", folder.display()))
}

fn dropped_caches(host: &Host) -> Result<(), String> {
    outlives(host, || fs::write("/proc/sys/vm/drop_caches", "3").map_err(|error| format!("drop_caches: {error}")))
}

/// Makes the kernel reclaim memory as it does under pressure, without a program that must be killed for it: filling
/// memory up to a safe edge evicts no folder.
fn lack_of_memory(host: &Host) -> Result<(), String> {
    const RECLAIM: &str = "/sys/fs/cgroup/memory.reclaim";
    outlives(host, || {
        for number in 0..Layers::OTHERS {
            let _read = fs::metadata(format!("{}/usr/share/{number}/file", Layers::MERGED));
        }
        match fs::write(RECLAIM, "400M") {
            // It did not find that much.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(()),
            written => written.map_err(|error| format!("{RECLAIM}: {error}")),
        }
    })
}
