//! The demo, from the host's side: a policy's whole life. A local DNS server answers for `kms.internal`; the compiler
//! locks the answers, builds and verifies the bundle; then a kernel enforces it while a signer and a thief really
//! connect: this machine's own if `bfp-enforcer doctor` reports that it can, otherwise a stock Debian kernel in QEMU.
//!
//! Status: 0 if every row of the table was as expected.

use std::env;
use std::fs;
use std::io;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::Duration;

use bfp_kernel_tests::command::say;
use bfp_kernel_tests::{Guest, Kernel};
use clap::Parser;

/// Show bfp at work
#[derive(Parser)]
struct Arguments {
    /// Where bfpc, bfp-enforcer, probe and suite are
    #[arg(long, value_name = "DIR")]
    programs: PathBuf,
    /// The DNS server
    #[arg(long, value_name = "KNOTD")]
    knotd: PathBuf,
    /// Series of the kernel in QEMU
    #[arg(long, default_value = "6.12")]
    kernel: String,
    /// Where to enforce, instead of asking `bfp-enforcer doctor`
    #[arg(long = "where", value_enum)]
    place: Option<Place>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Place {
    /// On this machine's kernel, in namespaces of its own
    Direct,
    /// On a stock Debian kernel in QEMU
    Qemu,
}

/// Builds a root of its own around the staged files and shows the demo in it. The network, the mounts and the BPF
/// filesystem are those of this process alone: when it ends, or is killed, nothing is left attached. sysfs is mounted
/// again because it shows the network interfaces of the process that mounts it.
const DIRECT: &str = r#"set -e
root=$1
for folder in lib lib64 usr/lib usr/lib64; do
    [ ! -d /$folder ] || { mkdir -p $root/$folder; mount --bind -o ro /$folder $root/$folder; }
done
mkdir -p $root/proc $root/sys $root/dev $root/tmp
mount -t proc proc $root/proc
mount -t sysfs sysfs $root/sys
mount -t securityfs securityfs $root/sys/kernel/security
mount -t bpf bpf $root/sys/fs/bpf
mount --rbind /dev $root/dev
PATH=/bin exec chroot $root /bin/suite --demo
"#;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("demo: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<u8, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let at = folder.path();
    let bfpc = fs::canonicalize(arguments.programs.join("bfpc")).map_err(|error| format!("bfpc: {error}"))?;
    fs::copy("fixtures/demo/kms.bfp", at.join("kms.bfp")).map_err(|error| format!("fixtures/demo: {error}"))?;

    let (_server, port) = dns_server(&arguments.knotd, at)?;
    let step =
        |words: &[&str]| call(Command::new(&bfpc).args(words).current_dir(at), &format!("bfpc {}", words.join(" ")));
    step(&["lock", "kms.bfp", "--resolver", &format!("127.0.0.1:{port}")])?;
    say(&fs::read_to_string(at.join("kms.bfp.lock")).map_err(|error| error.to_string())?);
    step(&["keygen", "demo-key"])?;
    fs::create_dir_all(at.join("guest/bundles/demo")).map_err(|error| error.to_string())?;
    fs::create_dir_all(at.join("guest/trust")).map_err(|error| error.to_string())?;
    step(&["build", "kms.bfp", "-o", "guest/bundles/demo/policy.bfpb", "--key", "demo-key"])?;
    step(&["verify", "guest/bundles/demo/policy.bfpb", "--trust", "demo-key.pub"])?;
    fs::copy(at.join("demo-key.pub"), at.join("guest/trust/demo.pem")).map_err(|error| error.to_string())?;

    let staged = at.join("guest");
    match place(arguments)? {
        Place::Direct => direct(arguments, &staged),
        Place::Qemu => in_qemu(arguments, &staged),
    }
}

/// Decides where to enforce, and prints why.
fn place(arguments: &Arguments) -> Result<Place, String> {
    if let Some(place) = arguments.place {
        return Ok(place);
    }
    let doctor = Command::new(arguments.programs.join("bfp-enforcer")).arg("doctor").output();
    let doctor = doctor.map_err(|error| format!("bfp-enforcer: {error}"))?;
    if doctor.status.success() {
        say("\n== directly: `bfp-enforcer doctor` says that this kernel can enforce");
        return Ok(Place::Direct);
    }
    let told = String::from_utf8_lossy(&doctor.stdout).into_owned();
    let why = told.lines().find_map(|line| line.strip_prefix("no  ")).unwrap_or("bfp-enforcer doctor failed");
    say(&format!("\n== not directly, because this machine cannot enforce: {why}"));
    Ok(Place::Qemu)
}

fn direct(arguments: &Arguments, staged: &Path) -> Result<u8, String> {
    let bin = staged.join("bin");
    fs::create_dir_all(&bin).map_err(|error| error.to_string())?;
    let busybox = Path::new("/bin/busybox").to_owned();
    let programs = ["bfp-enforcer", "probe", "suite"].map(|name| arguments.programs.join(name));
    for program in programs.iter().chain([&busybox]) {
        let name = program.file_name().unwrap_or_default();
        fs::copy(program, bin.join(name)).map_err(|error| format!("{}: {error}", program.display()))?;
    }
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--"])
        .args(["sh", "-c", DIRECT, "demo"])
        .arg(staged)
        .status();
    let status = status.map_err(|error| format!("unshare: {error}"))?;
    status.code().and_then(|code| u8::try_from(code).ok()).ok_or_else(|| format!("the demo ended by {status}"))
}

fn in_qemu(arguments: &Arguments, staged: &Path) -> Result<u8, String> {
    let kernel = Kernel::find(&arguments.kernel).map_err(|error| error.to_string())?;
    say(&format!("== in QEMU, on {}", kernel.package()));
    let mut guest = Guest::new(&kernel).memory_mib(512).time_limit(Duration::from_secs(300)).tree(staged, "/");
    for name in ["bfp-enforcer", "probe", "suite"] {
        guest = guest.file(arguments.programs.join(name), format!("/bin/{name}"));
    }
    let outcome = guest.run_into("suite --demo", &mut io::stdout().lock()).map_err(|failure| failure.to_string())?;
    Ok(outcome.status)
}

/// A DNS server that ends with its owner.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves the demo's zone on a free port of 127.0.0.1.
fn dns_server(knotd: &Path, at: &Path) -> Result<(Server, u16), String> {
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).map_err(|e| e.to_string())?.port();
    let zone = env::current_dir().map_err(|error| error.to_string())?.join("fixtures/demo/kms.internal.zone");
    let (state, zone) = (at.display(), zone.display());
    let configuration = format!(
        "server:\n    listen: [ 127.0.0.1@{port} ]\n    rundir: {state}\n\
         database:\n    storage: {state}\n\
         zone:\n  - domain: kms.internal\n    file: {zone}\n    zonefile-sync: -1\n"
    );
    let file = at.join("knot.conf");
    fs::write(&file, configuration).map_err(|error| error.to_string())?;
    say(&format!("== a DNS server for kms.internal on 127.0.0.1:{port}"));
    let server = Command::new(knotd).arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let server = Server(server.map_err(|error| format!("{}: {error}", knotd.display()))?);
    // It answers once its control socket is there.
    for _ in 0..100 {
        if at.join("knot.sock").exists() {
            return Ok((server, port));
        }
        sleep(Duration::from_millis(50));
    }
    Err("the DNS server does not come up".to_owned())
}

fn call(command: &mut Command, shown: &str) -> Result<(), String> {
    say(&format!("$ {shown}"));
    let status = command.status().map_err(|error| format!("{shown}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{shown}: {status}")) }
}
