//! The kernel tests, from the host's side: compiles and signs every policy of fixtures/accept, takes the bundles with
//! their verdict tables into a guest for each requested kernel, and runs the suite there.
//!
//! Status: 0 if every kernel passed; 1 otherwise, also if a kernel or a program is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use bfp_kernel_tests::command::{call, output_of, say};
use bfp_kernel_tests::guest::side_by_side;
use bfp_kernel_tests::progress::Progress;
use bfp_kernel_tests::{Guest, Kernel};
use clap::Parser;

/// Run the kernel tests under stock Debian kernels
#[derive(Parser)]
struct Arguments {
    /// Where bfpc, bfp-enforcer, probe and suite are
    #[arg(long, value_name = "DIR")]
    programs: PathBuf,
    /// The attack catalogue; none is tried where the folder does not exist
    #[arg(long, value_name = "DIR", default_value = "fixtures/attacks")]
    attacks: PathBuf,
    /// The attacks on updates
    #[arg(long, value_name = "DIR", default_value = "fixtures/updates")]
    updates_folder: PathBuf,
    /// The folder with the compiler and the enforcer of the release before this one, for attempts that go up and down
    #[arg(long, value_name = "DIR", requires = "updates")]
    before: Option<PathBuf>,
    /// The fixtures: a folder for each policy
    #[arg(long, value_name = "DIR", default_value = "fixtures/accept")]
    fixtures: PathBuf,
    /// Run only what has this in its name, or one of several that `|` divides
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Run only this part of the suite
    #[arg(long, value_name = "PART", value_parser = PARTS, conflicts_with_all = ["only", "without_bpf", "preempted", "updates", "divided"])]
    part: Option<String>,
    /// Run only what holds under a kernel that is booted without BPF among its security modules
    #[arg(long, conflicts_with = "only")]
    without_bpf: bool,
    /// Run only what holds under a kernel that is booted to be preempted anywhere
    #[arg(long, conflicts_with_all = ["only", "without_bpf"])]
    preempted: bool,
    /// Run only the attacks on updates, and print them as a table
    #[arg(long, conflicts_with_all = ["only", "without_bpf"])]
    updates: bool,
    /// A faster set: a sample of the attacks, of the scenarios, of the attacks on updates and of the rows of the verdict
    /// tables, and what hardly depends on the kernel under one of them: the first is spared the attacks on updates and
    /// the scenarios, but for those that mean something under an old kernel alone, the others the verdict tables
    #[arg(long, conflicts_with_all = ["only", "without_bpf", "preempted", "updates"])]
    divided: bool,
    /// Print what passed too
    #[arg(long)]
    verbose: bool,
    /// Series of the kernels: 6.1, 6.12, 6.18, 7.3
    #[arg(required = true)]
    kernels: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("kernel: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    let staging = tempfile::tempdir().map_err(|error| error.to_string())?;
    let root = staging.path();
    bundles(arguments, root)?;
    side_by_side(&jobs(arguments), |job| job.run(arguments, root))
}

/// A command in a guest of one kernel.
struct Job<'a> {
    series: &'a str,
    /// Its name beside the kernel's; empty if the kernel has only one job.
    name: &'static str,
    command: String,
    boot: Boot,
}

/// How the kernel is booted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Boot {
    Stock,
    /// Without BPF among its security modules.
    WithoutBpf,
    /// Preempted anywhere.
    Preempted,
}

/// The parts of the suite, the longest first: each is a job of its own, so that all guests finish at about the same
/// time.
const PARTS: [&str; 4] = ["scenarios", "attacks", "tables", "updates"];

/// The scenario that is meaningful only under an old kernel: newer ones reject the attempt by themselves.
const OF_AN_OLD_KERNEL: &str = "lockdown: root gets no security module that consents";

fn jobs(arguments: &Arguments) -> Vec<Job<'_>> {
    let each = |name, command: &str, boot| {
        let series = arguments.kernels.iter();
        let job = move |series| Job { series, name, command: command.to_owned(), boot };
        series.map(|series| job(series.as_str())).collect::<Vec<_>>()
    };
    let without_bpf = || each("without BPF", "suite --without-bpf", Boot::WithoutBpf);
    let preempted = || each("preempted", "suite --preempted", Boot::Preempted);
    if arguments.without_bpf {
        return without_bpf();
    }
    if arguments.preempted {
        return preempted();
    }
    if arguments.updates {
        return each("", "suite --updates", Boot::Stock);
    }
    if let Some(only) = &arguments.only {
        return each("", &format!("suite --only '{only}'"), Boot::Stock);
    }
    if let Some(part) = &arguments.part {
        return each("", &format!("suite --part {part}"), Boot::Stock);
    }
    let mut jobs: Vec<Job<'_>> =
        PARTS.into_iter().flat_map(|part| each(part, &format!("suite --part {part}"), Boot::Stock)).collect();
    if arguments.divided {
        let first = arguments.kernels.first().map(String::as_str);
        for job in &mut jobs {
            let is_first = Some(job.series) == first;
            job.command = match job.name {
                // A name without a scenario is not a check, and a run without a check fails.
                "scenarios" if is_first => format!("suite --only '{OF_AN_OLD_KERNEL}'"),
                "attacks" if is_first => "suite --sample attacks-first".to_owned(),
                "attacks" => "suite --sample attacks-second".to_owned(),
                part => format!("suite --sample {part}"),
            };
        }
        jobs.retain(|job| match job.name {
            "updates" => Some(job.series) != first,
            "tables" => Some(job.series) == first,
            _ => true,
        });
    }
    jobs.extend(without_bpf());
    jobs.extend(preempted());
    jobs
}

/// The features that attacks and scenarios need and that stock kernels have as modules.
const MODULES: [&str; 15] = [
    "tun",
    "macvtap",
    "sctp",
    "l2tp_ip",
    "veth",
    "ip_gre",
    "ipip",
    "nf_tables",
    "nft_chain_nat",
    "nft_nat",
    "binfmt_misc",
    "btrfs",
    "loop",
    "overlay",
    "nbd",
];

/// The attacks' other tools, which the set-up installs: an attack whose tool is missing fails.
const TOOLS: [&str; 3] = ["/usr/sbin/ip", "/usr/sbin/nft", "/bin/bash"];

/// For jobs of a minute: a guest that hangs must not take an hour to be noticed.
const SHORT: Duration = Duration::from_secs(900);

impl Job<'_> {
    /// Whether every check passed. Each line is printed as it comes; passed checks are counted.
    fn run(&self, arguments: &Arguments, root: &Path) -> Result<bool, String> {
        let name = format!("{} {}", self.series, self.name);
        let name = name.trim_end();
        let failed = |failure| format!("kernel {name}: {failure}");
        let kernel = Kernel::find(self.series).map_err(failed)?;
        let guest = match self.boot {
            Boot::Stock => guest(arguments, root, &kernel),
            Boot::WithoutBpf => {
                guest(arguments, root, &kernel).lsm("landlock,lockdown,yama,integrity").time_limit(SHORT)
            }
            Boot::Preempted => guest(arguments, root, &kernel).append("preempt=full").time_limit(SHORT),
        };
        let tells =
            if arguments.verbose || arguments.updates { |_: &str| true } else { |line: &str| !line.starts_with("ok ") };
        let mut progress = Progress::new(name, tells);
        let outcome = guest.run_into(&self.command, &mut progress).map_err(failed)?;
        progress.close();
        Ok(outcome.status == 0)
    }
}

/// A guest with everything that the suite needs.
fn guest<'k>(arguments: &Arguments, root: &Path, kernel: &'k Kernel) -> Guest<'k> {
    let mut guest = Guest::new(kernel).memory_mib(512).time_limit(Duration::from_secs(3600)).tree(root, "/");
    for name in ["bfpc", "bfp-enforcer", "probe", "probe-dynamic", "attacker", "attacker-dynamic", "suite"] {
        guest = guest.file(arguments.programs.join(name), format!("/bin/{name}"));
    }
    if let Some(before) = &arguments.before {
        guest = guest.file(before.join("bfp-enforcer"), "/bin/bfp-enforcer-before");
        guest = guest.file(before.join("bfpc"), "/bin/bfpc-before");
    }
    for module in MODULES {
        guest = guest.module(module);
    }
    guest = guest.file(arguments.programs.join("misleading.so"), "/lib/misleading.so");
    // Where libraries look for it, besides where programs do.
    guest = guest.file("/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
    for tool in TOOLS {
        guest = guest.file(tool, tool);
    }
    // The set-up installs it; if it is missing, the scenario that needs it fails.
    guest = guest.file("/usr/bin/strace", "/bin/strace").file("/usr/bin/fsverity", "/bin/fsverity");
    guest.file("/usr/sbin/mkfs.btrfs", "/bin/mkfs.btrfs")
}

/// Lays out /bundles and /trust for the guest.
fn bundles(arguments: &Arguments, root: &Path) -> Result<(), String> {
    let bfpc = arguments.programs.join("bfpc");
    let trust = root.join("trust");
    fs::create_dir_all(&trust).map_err(|error| error.to_string())?;
    // The secret key stays outside the guest.
    let keys = tempfile::tempdir().map_err(|error| error.to_string())?;
    let key = keys.path().join("key");
    call(Command::new(&bfpc).arg("keygen").arg(&key))?;
    fs::copy(keys.path().join("key.pub"), trust.join("key.pem")).map_err(|error| error.to_string())?;
    let mut folders: Vec<PathBuf> = fs::read_dir(&arguments.fixtures)
        .map_err(|error| format!("{}: {error}", arguments.fixtures.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    folders.sort();
    attacks(&arguments.attacks, root, &bfpc, &key)?;
    pinned(&arguments.programs, root, &bfpc, &key)?;
    locked(root, &bfpc, &key)?;
    identity(root, &bfpc, &key)?;
    updates(&arguments.updates_folder, root)?;
    for folder in folders {
        let name = folder.file_name().unwrap_or_default();
        let target = root.join("bundles").join(name);
        fs::create_dir_all(&target).map_err(|error| error.to_string())?;
        fs::copy(folder.join("verdicts.txt"), target.join("verdicts.txt"))
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        // If it exists, the policy pins contents that the guest does not have.
        let impostors = folder.join("impostors.txt");
        if impostors.exists() {
            fs::copy(&impostors, target.join("impostors.txt"))
                .map_err(|error| format!("{}: {error}", impostors.display()))?;
        }
        let bundle = target.join("policy.bfpb");
        let policy = folder.join("policy.bfp");
        call(Command::new(&bfpc).arg("build").arg(policy).arg("-o").arg(&bundle).arg("--key").arg(&key))?;
        let programs = programs_of(&bfpc, &bundle)?;
        fs::write(target.join("programs.txt"), programs.join("\n")).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The policies that pin the probe as the signer: its build, the next one too, and its libraries.
const PINNED: [&str; 3] = ["policy", "upgrade", "libraries"];

/// The libraries of the probe, at Debian's paths.
const LIBRARIES: [&str; 3] =
    ["/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6", "/lib/x86_64-linux-gnu/libgcc_s.so.1"];

/// Lays out /pinned for the guest: the probe of this machine is the build that its policies pin, and the next one is
/// the same with one more byte.
fn pinned(programs: &Path, root: &Path, bfpc: &Path, key: &Path) -> Result<(), String> {
    let sources = tempfile::tempdir().map_err(|error| error.to_string())?;
    let put = |from: &Path, name: &str| {
        fs::copy(from, sources.path().join(name)).map_err(|error| format!("{}: {error}", from.display()))
    };
    let build = programs.join("probe");
    let mut bytes = fs::read(&build).map_err(|error| format!("{}: {error}", build.display()))?;
    for name in ["signer", "signer-next"] {
        fs::write(sources.path().join(name), &bytes).map_err(|error| error.to_string())?;
        bytes.push(0);
    }
    put(&programs.join("probe-dynamic"), "signer-dynamic")?;
    // The guest's libraries are this machine's, which come with every program.
    for library in LIBRARIES.map(Path::new) {
        put(library, &library.file_name().unwrap_or_default().to_string_lossy())?;
    }
    let target = root.join("pinned");
    fs::create_dir_all(&target).map_err(|error| error.to_string())?;
    for name in PINNED {
        let file = format!("{name}.bfp");
        put(&Path::new("fixtures/pinned").join(&file), &file)?;
        let (policy, bundle) = (sources.path().join(file), target.join(format!("{name}.bfpb")));
        call(Command::new(bfpc).arg("lock").arg(&policy))?;
        call(Command::new(bfpc).arg("build").arg(policy).arg("-o").arg(bundle).arg("--key").arg(key))?;
    }
    Ok(())
}

/// How many revisions of the policy that is alternately put under lockdown and released the guest gets.
const REVISIONS: u32 = 48;

/// Lays out /locked for the guest: revisions of one policy, alternately with and without lockdown.
fn locked(root: &Path, bfpc: &Path, key: &Path) -> Result<(), String> {
    let target = root.join("locked");
    fs::create_dir_all(&target).map_err(|error| error.to_string())?;
    for revision in 1..=REVISIONS {
        let bundle = target.join(format!("{revision}.bfpb"));
        build(bfpc, Path::new("fixtures/locked/policy.bfp"), &bundle, key, revision, revision % 2 == 1)?;
    }
    Ok(())
}

/// Lays out /identity for the guest: a bundle for each policy that names the program in another way.
fn identity(root: &Path, bfpc: &Path, key: &Path) -> Result<(), String> {
    let (from, target) = (Path::new("fixtures/identity"), root.join("identity"));
    fs::create_dir_all(&target).map_err(|error| error.to_string())?;
    for file in fs::read_dir(from).map_err(|error| format!("{}: {error}", from.display()))?.flatten() {
        let policy = file.path();
        let name = policy.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        build(bfpc, &policy, &target.join(format!("{name}.bfpb")), key, 1, false)?;
    }
    Ok(())
}

fn build(bfpc: &Path, policy: &Path, bundle: &Path, key: &Path, revision: u32, is_locked: bool) -> Result<(), String> {
    let mut command = Command::new(bfpc);
    command.arg("build").arg(policy).arg("-o").arg(bundle).arg("--key").arg(key);
    command.args(["--revision", &revision.to_string()]);
    call(if is_locked { command.arg("--lockdown") } else { &mut command })
}

/// How many revisions of the attacks' policy follow the first.
const FURTHER_REVISIONS: u32 = 32;

/// Lays out /attacks for the guest.
fn attacks(from: &Path, root: &Path, bfpc: &Path, key: &Path) -> Result<(), String> {
    if !from.exists() {
        return Ok(());
    }
    let target = root.join("attacks");
    fs::create_dir_all(&target).map_err(|error| error.to_string())?;
    for file in fs::read_dir(from).map_err(|error| format!("{}: {error}", from.display()))?.flatten() {
        let path = file.path();
        fs::copy(&path, target.join(file.file_name())).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let policy = from.join("policy.bfp");
    for (name, revision, is_locked) in [("policy", 1, false), ("locked", 100, true), ("open", 101, false)] {
        build(bfpc, &policy, &target.join(format!("{name}.bfpb")), key, revision, is_locked)?;
    }
    // For attacks during which another policy is applied: alternately with a further program, and unchanged.
    let next = from.join("next.bfp");
    for revision in 2..2 + FURTHER_REVISIONS {
        let policy = if revision % 2 == 0 { &next } else { &policy };
        build(bfpc, policy, &target.join(format!("revision-{revision}.bfpb")), key, revision, false)?;
    }
    Ok(())
}

/// Lays out /updates for the guest.
fn updates(from: &Path, root: &Path) -> Result<(), String> {
    let target = root.join("updates");
    fs::create_dir_all(&target).map_err(|error| error.to_string())?;
    for file in fs::read_dir(from).map_err(|error| format!("{}: {error}", from.display()))?.flatten() {
        let path = file.path();
        fs::copy(&path, target.join(file.file_name())).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// The paths of the programs that a bundle's policy names: each must exist for it to be applied.
fn programs_of(bfpc: &Path, bundle: &Path) -> Result<Vec<String>, String> {
    #[derive(serde::Deserialize)]
    struct Inspected {
        programs: Vec<Program>,
    }
    #[derive(serde::Deserialize)]
    struct Program {
        path: String,
    }
    let said = output_of(Command::new(bfpc).arg("inspect").arg(bundle).arg("--format").arg("json"))?;
    let inspected: Inspected = serde_json::from_slice(&said).map_err(|error| format!("bfpc inspect: {error}"))?;
    Ok(inspected.programs.into_iter().map(|program| program.path).collect())
}
