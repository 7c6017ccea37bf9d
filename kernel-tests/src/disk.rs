//! A guest's root file system: an ext4 disk with fs-verity.
//!
//! In: busybox, host files, host trees, texts. Out: one disk image. Always: a dynamically linked
//! program comes with its libraries, and every file belongs to root unless a tree says otherwise.

use crate::Failure;
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Spare room for files that the guest writes and for Merkle trees, in MiB.
const SPARE_MIB: u64 = 48;

/// The files of a disk that is being made.
pub(crate) struct Staging {
    root: PathBuf,
}

impl Staging {
    /// A root with busybox under all its names, in the new folder `root`.
    pub(crate) fn new(root: PathBuf, busybox: &Path) -> Result<Self, Failure> {
        let staging = Self { root };
        for dir in
            ["/bin", "/etc", "/dev", "/proc", "/sys", "/run", "/tmp", "/root", "/var", "/usr/bin", "/lib", "/lib64"]
        {
            staging.folder(Path::new(dir))?;
        }
        staging.file(busybox, "/bin/busybox")?;
        for applet in output(Command::new(busybox).arg("--list"))?.lines().filter(|name| *name != "busybox") {
            let link = staging.on_host(&format!("/bin/{applet}"));
            symlink("busybox", &link).map_err(Failure::at("make", &link))?;
        }
        staging.text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")?;
        staging.text("/etc/group", "root:x:0:\nnogroup:x:65534:\n")?;
        staging.text("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")?;
        Ok(staging)
    }

    /// An empty root, in the new folder `root`: its files are put over an existing system.
    pub(crate) fn empty(root: PathBuf) -> Result<Self, Failure> {
        let staging = Self { root };
        staging.folder(Path::new("/"))?;
        Ok(staging)
    }

    /// Copies a host file alone.
    pub(crate) fn file_alone(&self, source: &Path, guest: &str) -> Result<(), Failure> {
        self.copy(source, guest)
    }

    /// Copies a host file, and the libraries that it needs.
    pub(crate) fn file(&self, source: &Path, guest: &str) -> Result<(), Failure> {
        self.copy(source, guest)?;
        let elf = fs::read(source).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF"));
        if !elf {
            return Ok(());
        }
        // ldd fails on a static program, and then prints no library either.
        let run = Command::new("ldd").arg(source).env("LC_ALL", "C").stderr(Stdio::null()).output();
        let run = run.map_err(|e| Failure::host("cannot run `ldd`", e))?;
        let listed = String::from_utf8_lossy(&run.stdout);
        if listed.contains("=> not found") {
            return Err(Failure::Host(format!("`{}` misses libraries on this machine:\n{listed}", source.display())));
        }
        for library in listed.lines().filter_map(library_path) {
            let at = place_of(library);
            if !self.on_host(&at).exists() {
                self.copy(Path::new(library), &at)?;
            }
        }
        Ok(())
    }

    /// Copies a host tree, with its links, owners and modes, into a folder of the guest.
    pub(crate) fn tree(&self, source: &Path, guest: &str) -> Result<(), Failure> {
        self.folder(Path::new(guest))?;
        let to = self.on_host(guest);
        output(Command::new("cp").args(["-a", "--remove-destination"]).arg(source.join(".")).arg(to)).map(drop)
    }

    /// Writes a text file.
    pub(crate) fn text(&self, guest: &str, content: &str) -> Result<(), Failure> {
        self.bytes(guest, content.as_bytes())
    }

    /// Writes a file.
    pub(crate) fn bytes(&self, guest: &str, content: &[u8]) -> Result<(), Failure> {
        let path = self.make_room(guest)?;
        fs::write(&path, content).map_err(Failure::at("write", &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).map_err(Failure::at("write", &path))
    }

    /// Makes a symbolic link.
    pub(crate) fn link(&self, target: &str, guest: &str) -> Result<(), Failure> {
        let link = self.make_room(guest)?;
        symlink(target, &link).map_err(Failure::at("make", &link))
    }

    /// The size of the future image. It takes few values, because the kept states of booted machines depend on it.
    pub(crate) fn size_mib(&self) -> u64 {
        (size(&self.root) / (1 << 20) + SPARE_MIB).next_power_of_two().max(64)
    }

    /// Makes the disk image.
    pub(crate) fn write_image(&self, image: &Path) -> Result<(), Failure> {
        let size = format!("{}M", self.size_mib());
        // Debian keeps mke2fs outside an ordinary user's PATH.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        let options = ["-q", "-F", "-t", "ext4", "-b", "4096", "-O", "verity,^has_journal"];
        let extended = "lazy_itable_init=1,nodiscard,root_owner=0:0";
        let mut mke2fs = Command::new("mke2fs");
        mke2fs.args(options).args(["-E", extended, "-d"]).arg(&self.root).arg(image).arg(size).env("PATH", path);
        output(&mut mke2fs).map(drop)
    }

    fn copy(&self, source: &Path, guest: &str) -> Result<(), Failure> {
        let to = self.make_room(guest)?;
        fs::copy(source, &to).map_err(Failure::at("copy", source)).map(drop)
    }

    /// Creates the parent folder and clears the path: a busybox link there would be written through.
    fn make_room(&self, guest: &str) -> Result<PathBuf, Failure> {
        if let Some(parent) = Path::new(guest).parent() {
            self.folder(parent)?;
        }
        let path = self.on_host(guest);
        if path.is_symlink() {
            fs::remove_file(&path).map_err(Failure::at("replace", &path))?;
        }
        Ok(path)
    }

    /// Creates a folder and its parents, with the modes that a guest's user expects under any umask.
    fn folder(&self, guest: &Path) -> Result<(), Failure> {
        if let Some(parent) = guest.parent() {
            self.folder(parent)?;
        }
        let path = self.root.join(guest.strip_prefix("/").unwrap_or(guest));
        if !path.is_dir() {
            fs::create_dir(&path).map_err(Failure::at("make", &path))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(Failure::at("make", &path))?;
        }
        Ok(())
    }

    fn on_host(&self, guest: &str) -> PathBuf {
        self.root.join(guest.trim_start_matches('/'))
    }
}

/// The path in a line of ldd: `libc.so.6 => /lib/libc.so.6 (0x…)`, or the loader's own
/// `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn library_path(line: &str) -> Option<&str> {
    let (before, _) = line.trim().rsplit_once(" (0x")?;
    let path = before.rsplit_once("=> ").map_or(before, |(_, path)| path);
    path.starts_with('/').then_some(path)
}

/// Where the guest's loader finds a library: at the host's path, unless the host has it in an unusual one.
fn place_of(library: &str) -> String {
    let standard = ["/lib/", "/lib64/", "/usr/lib/", "/usr/lib64/"].iter().any(|dir| library.starts_with(dir));
    let name = library.rsplit('/').next().unwrap_or(library);
    if standard { library.to_owned() } else { format!("/lib/x86_64-linux-gnu/{name}") }
}

/// Bytes in a tree, each file rounded up to whole blocks.
fn size(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let size_of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => size(&entry.path()),
        Ok(data) => data.len().next_multiple_of(4096),
        Err(_) => 0,
    };
    entries.flatten().map(size_of).sum()
}

/// A tool's output, or a failure that quotes its error message.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let run = command.output().map_err(|e| Failure::host(format!("cannot run `{name}` (run `just setup`)"), e))?;
    if !run.status.success() {
        return Err(Failure::host(format!("`{name}` failed"), String::from_utf8_lossy(&run.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&run.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_ldd() {
        let check = |line, path| assert_eq!(library_path(line), path);
        check("\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)", Some("/lib/x86_64-linux-gnu/libc.so.6"));
        check("\t/lib64/ld-linux-x86-64.so.2 (0x00007f)", Some("/lib64/ld-linux-x86-64.so.2"));
        check("\tlinux-vdso.so.1 (0x00007f)", None);
        check("\tstatically linked", None);
    }

    #[test]
    fn a_library_from_a_private_folder_moves_to_a_standard_one() {
        assert_eq!(place_of("/home/me/knot/libknot.so.13"), "/lib/x86_64-linux-gnu/libknot.so.13");
        assert_eq!(place_of("/usr/lib/x86_64-linux-gnu/libssl.so.3"), "/usr/lib/x86_64-linux-gnu/libssl.so.3");
    }
}
