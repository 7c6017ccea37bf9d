//! A QEMU process: booted, or started from the kept state of a machine that was booted before.
//!
//! In: a kernel, an initrd, a disk and a size. Out: a running machine whose second serial port can be read and written.
//! Always: it ends with its [`Machine`], and with the process that started it.
//!
//! A state is kept when the guest's first program waits for the signal to continue: no disk is mounted yet, so that one
//! state serves every disk of the same size. It is found by a digest of everything that produced it, so that a state is
//! never used for a machine that it does not fit.

use crate::{Failure, Kernel};
use std::{
    env,
    fs::{self, File},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{Read, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// What the first program in a guest prints when it waits.
pub(crate) const READY: &[u8] = b"bfp-ready\n";

/// States of one kernel that are kept; each takes some 60 MB.
const STATES_KEPT: usize = 6;

/// A boot that takes seconds, not half a minute, under QEMU's emulation: no self-tests, no
/// certificates, no clearing of pages. None of it changes what a policy meets.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 quiet panic=-1 reboot=t audit=0 random.trust_cpu=on cryptomgr.notests \
    init_on_alloc=0 tsc=reliable no_timer_check 8250.nr_uarts=2 \
    initcall_blacklist=jent_mod_init,load_system_certificate_list";

/// How a machine starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Always boot, and keep nothing.
    Cold,
    /// From the kept state; boot and keep one where there is none.
    Kept,
}

/// What a machine is made of.
pub(crate) struct Parts<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
    pub(crate) kernel_arguments: &'a str,
    pub(crate) initrd: &'a [u8],
    pub(crate) disk: &'a Path,
    pub(crate) disk_mib: u64,
    /// A second disk.
    pub(crate) base: Option<&'a Base>,
    /// An empty folder for this machine's own files.
    pub(crate) work: &'a Path,
}

/// The disk of a system, and what becomes of what is written to it.
pub(crate) enum Base {
    /// It is gone with the machine.
    Forgets(PathBuf),
    /// It stays.
    Keeps(PathBuf),
}

/// A running machine.
pub(crate) struct Machine {
    qemu: Child,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
    console: PathBuf,
}

/// What a machine's serial port gave.
pub(crate) enum Heard {
    Bytes(Vec<u8>),
    Nothing,
    End,
}

impl Machine {
    pub(crate) fn start(parts: &Parts<'_>, start: Start, deadline: Instant) -> Result<Self, Failure> {
        let initrd = parts.work.join("initrd");
        fs::write(&initrd, parts.initrd).map_err(Failure::at("write", &initrd))?;
        match start {
            Start::Cold => Self::launch(parts, &[], parts.work),
            Start::Kept => {
                let state = kept_state(parts, deadline)?;
                // QEMU runs where the state is, since a path in a shell command would need quoting.
                Self::launch(parts, &["-incoming".to_owned(), format!("exec:cat {state}")], &parts.kernel.states())
            }
        }
    }

    /// The bytes that arrive within `patience`.
    pub(crate) fn hear(&self, patience: Duration) -> Heard {
        match self.output.recv_timeout(patience) {
            Ok(bytes) => Heard::Bytes(bytes),
            Err(RecvTimeoutError::Timeout) => Heard::Nothing,
            Err(RecvTimeoutError::Disconnected) => Heard::End,
        }
    }

    /// Tells the waiting guest to continue, with the time. Repeated until the guest continues, because a machine that
    /// has just started loses what its serial port receives.
    pub(crate) fn tell_to_go(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // A machine that is gone is noticed at the next read.
        let _gone = writeln!(self.input, "go {now} end").and_then(|()| self.input.flush());
    }

    /// Everything the kernel has printed.
    pub(crate) fn console(&self) -> String {
        let bytes = fs::read(&self.console).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }

    fn launch(parts: &Parts<'_>, more: &[String], dir: &Path) -> Result<Self, Failure> {
        let console = parts.work.join("console");
        let drive = format!("if=none,id=disk,format=raw,cache=unsafe,file={}", comma_doubled(parts.disk));
        // The kernel kills QEMU when the thread that started it ends, however that happens.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", &qemu()]).args(fixed_arguments(parts)).args(["-drive", &drive]);
        if let Some(base) = parts.base {
            let (disk, snapshot) = match base {
                Base::Forgets(disk) => (disk, "on"),
                Base::Keeps(disk) => (disk, "off"),
            };
            let disk = comma_doubled(disk);
            let drive = format!("if=none,id=base,format=raw,cache=unsafe,snapshot={snapshot},file={disk}");
            command.args(["-drive", &drive]);
        }
        command.arg("-initrd").arg(parts.work.join("initrd"));
        command.args(["-serial", &format!("file:{}", comma_doubled(&console))]);
        command.args(["-chardev", "stdio,id=talk,signal=off", "-serial", "chardev:talk"]).args(more).current_dir(dir);
        let log = File::create(parts.work.join("qemu.log")).map_err(Failure::at("write", parts.work))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let missing = |e| Failure::host("cannot start QEMU (run `just setup`)", e);
        let mut child = command.spawn().map_err(missing)?;
        let (Some(input), Some(mut stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::Host("QEMU was started without pipes".to_owned()));
        };
        let (sender, output) = channel();
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                let bytes = buffer.get(..count).unwrap_or_default().to_vec();
                if sender.send(bytes).is_err() {
                    break;
                }
            }
        });
        Ok(Self { qemu: child, input, output, console })
    }

    /// The failure of a machine that ended by itself: QEMU's error, the kernel's, and the output of the guest's own
    /// programs.
    pub(crate) fn broken(&self, work: &Path, said: &[u8]) -> Failure {
        let complaint = fs::read_to_string(work.join("qemu.log")).unwrap_or_default();
        Failure::Broken { console: complaint + &self.console() + &String::from_utf8_lossy(said) }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Nothing in a guest is kept: its disk is removed with its run.
        let _already_ended = self.qemu.kill();
        let _reaped = self.qemu.wait();
    }
}

fn qemu() -> String {
    env::var("BFP_QEMU").unwrap_or_else(|_| "qemu-system-x86_64".to_owned())
}

/// The arguments that a kept state depends on.
fn fixed_arguments(parts: &Parts<'_>) -> Vec<String> {
    let memory = parts.memory_mib.to_string();
    let cpus = parts.cpus.to_string();
    let append = format!("{KERNEL_ARGUMENTS}{} {}", without_cmpxchg16b(parts.kernel), parts.kernel_arguments);
    let vmlinux = parts.kernel.vmlinux().to_string_lossy();
    // Guests crash now and then on the cmpxchg16b of QEMU 7.2; see also `without_cmpxchg16b`.
    let cpu = "qemu64,-cx16";
    let fixed = [
        &["-M", "pc", "-accel", "tcg,thread=multi", "-cpu", cpu, "-m", &memory, "-smp", &cpus][..],
        &["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
        &["-device", "virtio-blk-pci,drive=disk", "-kernel", &vmlinux, "-append", &append],
    ];
    let base = if parts.base.is_some() { &["-device", "virtio-blk-pci,drive=base"][..] } else { &[] };
    fixed.concat().iter().chain(base).map(|argument| (*argument).to_owned()).collect()
}

/// QEMU splits its options at commas, and takes a doubled comma literally.
fn comma_doubled(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

/// The name of the state that fits these parts, in the kernel's folder of states.
fn kept_state(parts: &Parts<'_>, deadline: Instant) -> Result<String, Failure> {
    let dir = parts.kernel.states();
    fs::create_dir_all(&dir).map_err(Failure::at("make", &dir))?;
    let name = state_name(parts)?;
    let state = dir.join(&name);
    // Of several runs that need it at the same time, one boots and the others wait.
    let lock = dir.join("lock");
    let held = File::create(&lock).map_err(Failure::at("write", &lock))?;
    if state.exists() {
        return Ok(name);
    }
    held.lock().map_err(Failure::at("lock", &lock))?;
    if !state.exists() {
        let half = format!("{name}.half");
        boot_and_keep(parts, &dir, &half, deadline)?;
        fs::rename(dir.join(&half), &state).map_err(Failure::at("write", &state))?;
        forget_old_states(&dir);
    }
    Ok(name)
}

fn state_name(parts: &Parts<'_>) -> Result<String, Failure> {
    let vmlinux = parts.kernel.vmlinux();
    let data = fs::metadata(vmlinux).map_err(Failure::at("read", vmlinux))?;
    let version = crate::disk::output(Command::new(qemu()).arg("--version"))?;
    let mut hasher = DefaultHasher::new();
    let written = data.modified().ok();
    (fixed_arguments(parts), parts.initrd, parts.disk_mib, version, data.len(), written).hash(&mut hasher);
    Ok(format!("{:016x}.state", hasher.finish()))
}

/// Boots until the guest waits, and writes the machine's state to the file `name` in `dir`.
fn boot_and_keep(parts: &Parts<'_>, dir: &Path, name: &str, deadline: Instant) -> Result<(), Failure> {
    let began = Instant::now();
    let monitor = parts.work.join("monitor");
    let more = ["-monitor".to_owned(), format!("unix:{},server=on,wait=off", comma_doubled(&monitor))];
    let machine = Machine::launch(parts, &more, dir)?;
    let mut heard = Vec::new();
    while !heard.ends_with(READY) {
        match machine.hear(deadline.saturating_duration_since(Instant::now())) {
            Heard::Bytes(bytes) => heard.extend(bytes),
            Heard::Nothing => return Err(Failure::TooSlow { limit: began.elapsed(), console: machine.console() }),
            Heard::End => return Err(machine.broken(parts.work, &heard)),
        }
    }
    let kept = talk_to_monitor(&monitor, name).map_err(|e| Failure::host("cannot keep the booted machine", e))?;
    if !kept.contains("Migration status: completed") {
        return Err(Failure::host("cannot keep the booted machine", kept));
    }
    Ok(())
}

/// Makes QEMU write its state and exit. Returns the monitor's answer.
fn talk_to_monitor(monitor: &Path, name: &str) -> std::io::Result<String> {
    let mut talk = UnixStream::connect(monitor)?;
    talk.set_read_timeout(Some(Duration::from_secs(60)))?;
    // The guest has just printed that it waits; this gives it the moment to do so.
    thread::sleep(Duration::from_millis(200));
    write!(talk, "migrate_set_parameter max-bandwidth 16G\nmigrate \"exec:cat >{name}\"\ninfo migrate\nquit\n")?;
    let mut answer = Vec::new();
    talk.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Removes all but the newest states. A run that still reads one has it open.
fn forget_old_states(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let states = entries.flatten().filter(|entry| entry.path().extension().is_some_and(|e| e == "state"));
    let mut states: Vec<_> =
        states.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
    states.sort();
    for (_, path) in states.iter().rev().skip(STATES_KEPT) {
        // One that cannot be removed is tried again the next time.
        let _kept = fs::remove_file(path);
    }
}
/// Since 7.x, BPF storage comes from `kmalloc_nolock`, which on a processor without cmpxchg16b serves
/// only slabs with debugging (mm/slub.c).
fn without_cmpxchg16b(kernel: &Kernel) -> &'static str {
    if kernel.series().starts_with("7.") { " slab_debug=F" } else { "" }
}
