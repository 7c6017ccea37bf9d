//! A command, run as root in a guest of its own.
//!
//! In: a kernel, the guest's files, a command. Out: the command's exit status and exactly the bytes that it wrote
//! (standard output and standard error, in the order written). Always: a guest that ends otherwise than by its
//! command's end is a [`Failure`].

use crate::{
    Debian, Failure, Kernel,
    cpio::Cpio,
    debian,
    disk::{Staging, output},
    machine::{Base, Heard, Machine, Parts, Start},
    module,
    workshop::Workshop,
};
use std::{
    env, fs,
    io::{self, Read as _, Write},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// How many guests run side by side. Each has one processor, and is idle for much of its time: it waits for the kernel,
/// which releases attached programs slowly, and for packets that must not arrive.
const AT_ONCE: usize = 3;

/// Runs jobs in guests, in order, as many at a time as a small machine can run. Returns whether every one passed.
///
/// # Errors
/// The first job that could not be run.
pub fn side_by_side<J: Sync>(jobs: &[J], run: impl Fn(&J) -> Result<bool, String> + Sync) -> Result<bool, String> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<bool, String> {
        let mut all_passed = true;
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            all_passed &= run(job)?;
        }
        Ok(all_passed)
    };
    let ended = thread::scope(|scope| {
        let running: Vec<_> = (0..AT_ONCE.min(jobs.len())).map(|_| scope.spawn(work)).collect();
        running.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let mut all_passed = true;
    for passed in ended {
        all_passed &= passed.map_err(|_panic| "a thread with a guest died".to_owned())??;
    }
    Ok(all_passed)
}

/// Waits for the signal to continue, which carries the time. The end of the script depends on the system.
const FIRST_PROGRAM: &str = "#!/bin/sh
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
for module in /modules/*; do [ ! -e $module ] || insmod $module; done
ifconfig lo 127.0.0.1 up
hostname guest
exec </dev/ttyS1 >/dev/ttyS1 2>&1
stty raw -echo
[ -b /dev/vda ] || exit 1
echo bfp-ready
while read -r word now end; do [ \"$word $end\" != 'go end' ] || break; done
date -s @$now >/dev/console
";

const ONTO_DISK: &str = "\
mount -t ext4 -o noatime,noinit_itable /dev/vda /disk && cd /disk && mount --move . / && exec chroot . /bin/sh /.bfp/init
";

/// Runs the command, between two marks that no command can guess.
const SECOND_PROGRAM: &str = ". /.bfp/env
at() { mkdir -p $2 && mount -t $1 $1 $2 || exit 1; }
at proc /proc
at sysfs /sys
at devtmpfs /dev
at devpts /dev/pts
at tmpfs /dev/shm
at securityfs /sys/kernel/security
at bpf /sys/fs/bpf
at cgroup2 /sys/fs/cgroup
at tracefs /sys/kernel/tracing
at tmpfs /tmp
at tmpfs /run
if [ $OWNER != 0 ]; then find / -xdev -user $OWNER -exec chown -h 0:0 {} +; fi
for module in /.bfp/modules/*; do [ ! -e $module ] || insmod $module || exit 1; done
exec </dev/null
mark=$MARK; unset MARK OWNER
cd /root
printf '\\000begin-%s\\n' $mark
sh /.bfp/command
printf '\\000end-%s %d\\n' $mark $?
sync
reboot -f
";

const ENVIRONMENT: &str = "export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root TERM=dumb\n";

/// A guest that is being described.
#[derive(Debug, Clone)]
#[must_use = "a guest does nothing before `run`"]
pub struct Guest<'a> {
    kernel: &'a Kernel,
    files: Vec<(PathBuf, String)>,
    trees: Vec<(PathBuf, String)>,
    modules: Vec<String>,
    memory_mib: u32,
    cpus: u32,
    lsm: String,
    append: String,
    limit: Duration,
    start: Start,
    debian: Option<Debian>,
    disk: Option<PathBuf>,
    units: Vec<(String, String, String)>,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its exit status, as a shell reports it: 128 plus the signal's number if a signal ended it.
    pub status: u8,
    /// What it wrote to standard output and standard error.
    pub output: Vec<u8>,
    /// What the kernel printed while it booted and while the command ran.
    pub console: String,
}

impl Outcome {
    /// The output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }
}

impl<'a> Guest<'a> {
    /// A guest under this kernel, with busybox and nothing else.
    pub fn new(kernel: &'a Kernel) -> Self {
        Self {
            kernel,
            files: Vec::new(),
            trees: Vec::new(),
            modules: Vec::new(),
            memory_mib: 256,
            cpus: 1,
            lsm: "landlock,lockdown,yama,integrity,bpf".to_owned(),
            append: String::new(),
            limit: Duration::from_secs(60),
            start: Start::Kept,
            debian: None,
            disk: None,
            units: Vec::new(),
        }
    }

    /// Takes a host file along, with the libraries that it needs.
    pub fn file(mut self, host: impl Into<PathBuf>, guest: impl Into<String>) -> Self {
        self.files.push((host.into(), guest.into()));
        self
    }

    /// Takes the content of a host folder along.
    pub fn tree(mut self, host: impl Into<PathBuf>, guest: impl Into<String>) -> Self {
        self.trees.push((host.into(), guest.into()));
        self
    }

    /// Loads a module of the kernel, and those that it needs.
    pub fn module(mut self, name: impl Into<String>) -> Self {
        self.modules.push(name.into());
        self
    }

    /// Gives it this much memory instead of 256 MiB.
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    /// Gives it several processors.
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// Boots with another `lsm=` list.
    pub fn lsm(mut self, list: impl Into<String>) -> Self {
        self.lsm = list.into();
        self
    }

    /// Adds to the kernel's command line.
    pub fn append(mut self, arguments: impl AsRef<str>) -> Self {
        self.append.push(' ');
        self.append.push_str(arguments.as_ref());
        self
    }

    /// Stops it after this long instead of 60 s, its boot included.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Boots a whole Debian system by systemd, and puts the files and trees over it. The command runs as a service,
    /// once the system has reached multi-user. A file comes alone: its libraries are the system's. The system is booted
    /// afresh on each run, and its writes are discarded afterwards.
    pub fn debian(mut self, system: Debian) -> Self {
        self.debian = Some(system);
        self.start = Start::Cold;
        self
    }

    /// Makes a Debian system write to this disk, which is created if it is missing, and kept: a run with an existing
    /// disk is the same machine after a power loss. Files and trees are put over the system the first time only.
    pub fn disk(mut self, disk: impl Into<PathBuf>) -> Self {
        self.disk = Some(disk.into());
        self
    }

    /// Adds a unit to a Debian system, started by the unit `wanted_by`.
    pub fn unit(mut self, name: impl Into<String>, wanted_by: impl Into<String>, text: impl Into<String>) -> Self {
        self.units.push((name.into(), wanted_by.into(), text.into()));
        self
    }

    /// Boots it afresh. Otherwise it starts from the kept state of a booted machine, and shares its uptime and the
    /// state of its random number generator with every other run.
    pub fn cold(mut self) -> Self {
        self.start = Start::Cold;
        self
    }

    /// Runs a shell command line.
    ///
    /// # Errors
    /// The guest cannot be created or started, is too slow, or ends before its command.
    pub fn run(&self, command: &str) -> Result<Outcome, Failure> {
        self.run_into(command, &mut io::sink())
    }

    /// Runs a shell command line, and passes its output to `live` as it comes.
    ///
    /// # Errors
    /// As [`Guest::run`], and if `live` cannot be written to.
    pub fn run_into(&self, command: &str, live: &mut dyn Write) -> Result<Outcome, Failure> {
        let deadline = Instant::now() + self.limit;
        let busybox = busybox()?;
        let mark = mark()?;
        let work = Workshop::open()?;
        let staging = self.stage(work.path(), &busybox, command, &mark)?;
        let base = self.base()?;
        let disk = work.path().join("disk");
        staging.write_image(&disk)?;
        let parts = Parts {
            kernel: self.kernel,
            memory_mib: self.memory_mib,
            cpus: self.cpus,
            kernel_arguments: &format!("lsm={}{}", self.lsm, self.append),
            initrd: &self.initrd(&busybox)?,
            disk: &disk,
            disk_mib: staging.size_mib(),
            base: base.as_ref(),
            work: work.path(),
        };
        let mut machine = Machine::start(&parts, self.start, deadline)?;
        let mut output = Vec::new();
        let mut transcript = Transcript::new(&mark);
        loop {
            let patience = deadline.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                return Err(Failure::TooSlow { limit: self.limit, console: machine.console() });
            }
            let waits = !transcript.began && !transcript.has_heard(debian::GOES_ON);
            match machine.hear(if waits { patience.min(Duration::from_millis(20)) } else { patience }) {
                Heard::Bytes(bytes) => {
                    let said = transcript.take(&bytes);
                    let shown = live.write_all(&said).and_then(|()| live.flush());
                    shown.map_err(|e| Failure::host("cannot hand on the guest's output", e))?;
                    output.extend(said);
                }
                Heard::Nothing => {}
                Heard::End => return Err(machine.broken(work.path(), &transcript.held)),
            }
            if let Some(status) = transcript.status {
                return Ok(Outcome { status, output, console: machine.console() });
            }
            if waits {
                machine.tell_to_go();
            }
        }
    }

    fn stage(&self, work: &Path, busybox: &Path, command: &str, mark: &str) -> Result<Staging, Failure> {
        if let Some(system) = &self.debian {
            system.must_fit(self.kernel)?;
            return self.stage_over_debian(work, command, mark);
        }
        let staging = Staging::new(work.join("root"), busybox)?;
        for (host, guest) in &self.trees {
            staging.tree(host, guest)?;
        }
        for (host, guest) in &self.files {
            staging.file(host, guest)?;
        }
        for (index, module) in module::load_order(self.kernel, &self.modules)?.iter().enumerate() {
            staging.bytes(&format!("/.bfp/modules/{index:02}-{}.ko", module.name), &module.elf)?;
        }
        let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(work).map_err(Failure::at("read", work))?);
        staging.text("/.bfp/env", &format!("MARK={mark} OWNER={owner}\n{ENVIRONMENT}"))?;
        staging.text("/.bfp/init", SECOND_PROGRAM)?;
        staging.text("/.bfp/command", &format!("{command}\n"))?;
        Ok(staging)
    }

    fn stage_over_debian(&self, work: &Path, command: &str, mark: &str) -> Result<Staging, Failure> {
        let staging = Staging::empty(work.join("root"))?;
        if !self.disk.as_ref().is_some_and(|disk| disk.exists()) {
            for (host, guest) in &self.trees {
                staging.tree(host, &debian::place(guest))?;
            }
            for (host, guest) in &self.files {
                staging.file_alone(host, &debian::place(guest))?;
            }
        }
        let own = ("bfp-command.service".to_owned(), "multi-user.target".to_owned(), debian::COMMAND_UNIT.to_owned());
        for (name, wanted_by, text) in self.units.iter().chain([&own]) {
            staging.text(&format!("/.bfp/units/{name}"), text)?;
            staging.link(&format!("../{name}"), &format!("/.bfp/units/{wanted_by}.wants/{name}"))?;
        }
        staging.text("/.bfp/env", &format!("MARK={mark}\n{ENVIRONMENT}"))?;
        staging.text("/.bfp/init", debian::SECOND_PROGRAM)?;
        staging.text("/.bfp/command", &format!("{command}\n"))?;
        Ok(staging)
    }

    /// The disk of the booted system, and whether its writes are kept.
    fn base(&self) -> Result<Option<Base>, Failure> {
        let Some(system) = &self.debian else { return Ok(None) };
        let Some(disk) = &self.disk else { return Ok(Some(Base::Forgets(system.disk().to_owned()))) };
        if !disk.exists() {
            // As a sparse file.
            output(Command::new("cp").arg("--sparse=always").arg(system.disk()).arg(disk))?;
        }
        Ok(Some(Base::Keeps(disk.clone())))
    }

    /// The first file system: enough to find the disk.
    fn initrd(&self, busybox: &Path) -> Result<Vec<u8>, Failure> {
        let mut cpio = Cpio::default();
        for folder in ["bin", "dev", "proc", "disk", "modules", "payload"] {
            cpio.folder(folder);
        }
        cpio.program("bin/busybox", &fs::read(busybox).map_err(Failure::at("read", busybox))?);
        for applet in [
            "sh", "mount", "insmod", "ifconfig", "hostname", "stty", "date", "chroot", "umount", "chown", "cp", "mkdir",
        ] {
            cpio.symlink(&format!("bin/{applet}"), "busybox");
        }
        let needed = ["virtio_pci", "virtio_blk", "ext4"].map(str::to_owned);
        for (index, module) in module::load_order(self.kernel, &needed)?.iter().enumerate() {
            cpio.program(&format!("modules/{index:02}-{}.ko", module.name), &module.elf);
        }
        let end = if self.debian.is_some() { debian::FIRST_PROGRAM } else { ONTO_DISK };
        cpio.program("init", [FIRST_PROGRAM, end].concat().as_bytes());
        Ok(cpio.finish())
    }
}

/// A guest's serial port, with a command's output between two marks.
struct Transcript {
    begin: Vec<u8>,
    end: Vec<u8>,
    /// The possible start of a mark, which is therefore not passed on yet.
    held: Vec<u8>,
    began: bool,
    status: Option<u8>,
}

impl Transcript {
    fn new(mark: &str) -> Self {
        let begin = format!("\0begin-{mark}\n").into_bytes();
        let end = format!("\0end-{mark} ").into_bytes();
        Self { begin, end, held: Vec::new(), began: false, status: None }
    }

    /// Whether these words came before the command began.
    fn has_heard(&self, words: &[u8]) -> bool {
        !self.began && position(&self.held, words).is_some()
    }

    /// Takes bytes from the port. Returns those that the command wrote.
    fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend(bytes);
        if !self.began {
            let Some(at) = position(&self.held, &self.begin) else { return Vec::new() };
            self.held.drain(..at + self.begin.len());
            self.began = true;
        }
        let said = position(&self.held, &self.end).unwrap_or_else(|| {
            // Up to the last place from which everything still matches the mark.
            let from = self.held.len().saturating_sub(self.end.len());
            let tail = |at: &usize| self.held.get(*at..).is_some_and(|rest| self.end.starts_with(rest));
            (from..self.held.len()).find(tail).unwrap_or(self.held.len())
        });
        let said: Vec<u8> = self.held.drain(..said).collect();
        self.status = self.held.strip_prefix(&self.end[..]).and_then(closing_status);
        said
    }
}

/// The status in `7\n…`, once its line is complete.
fn closing_status(rest: &[u8]) -> Option<u8> {
    let line = rest.split(|byte| *byte == b'\n').next()?;
    if line.len() == rest.len() {
        return None;
    }
    str::from_utf8(line).ok()?.parse().ok()
}

fn position(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}

fn mark() -> Result<String, Failure> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 8];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).map_err(Failure::at("read", path))?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

fn busybox() -> Result<PathBuf, Failure> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|dir| dir.join("busybox")).find(|file| file.is_file());
    found.ok_or_else(|| Failure::Host("busybox is missing: run `just setup`".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcribe(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Option<u8>) {
        let mut transcript = Transcript::new("x");
        let said = pieces.iter().map(|piece| transcript.take(piece)).collect();
        (said, transcript.status)
    }

    #[test]
    fn only_what_is_between_the_marks_is_the_commands() {
        let (said, status) = transcribe(&[b"bfp-ready\n\0begin-x\nhello\0end-x 3\n"]);
        assert_eq!((said, status), (vec![b"hello".to_vec()], Some(3)));
    }

    #[test]
    fn marks_that_arrive_byte_by_byte_are_seen() {
        let whole = b"noise\0begin-x\na\0b\nend\0end-x 255\n";
        let pieces: Vec<&[u8]> = whole.chunks(1).collect();
        let (said, status) = transcribe(&pieces);
        assert_eq!((said.concat(), status), (b"a\0b\nend".to_vec(), Some(255)));
    }

    #[test]
    fn output_is_handed_on_at_once() {
        let (said, status) = transcribe(&[b"\0begin-x\n", b"a line\nhalf a", b" line"]);
        assert_eq!((said, status), (vec![vec![], b"a line\nhalf a".to_vec(), b" line".to_vec()], None));
    }

    #[test]
    fn a_status_cut_off_is_no_status() {
        assert_eq!(transcribe(&[b"\0begin-x\n\0end-x 12"]).1, None);
        assert_eq!(transcribe(&[b"\0begin-x\n\0end-x 12\n"]).1, Some(12));
    }
}
