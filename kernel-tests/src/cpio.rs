//! A cpio archive ("newc"), the format of a kernel's first file system.
//!
//! In: entries in the order in which the kernel must create them (a folder before its content). Out: the archive's
//! bytes, closed by the trailer. Always: same entries, same bytes; every name and every content starts at a multiple of
//! four bytes.

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const SYMLINK: u32 = 0o120_777;

/// An archive that is being written.
#[derive(Default)]
pub(crate) struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

impl Cpio {
    pub(crate) fn folder(&mut self, name: &str) {
        self.entry(name, FOLDER, b"");
    }

    pub(crate) fn program(&mut self, name: &str, content: &[u8]) {
        self.entry(name, PROGRAM, content);
    }

    pub(crate) fn symlink(&mut self, name: &str, target: &str) {
        self.entry(name, SYMLINK, target.as_bytes());
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, b"");
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let (uid, gid, links, time) = (0, 0, 1, 0);
        let (device, check) = ([0; 4], 0);
        let mut head = vec![self.entries, mode, uid, gid, links, time, size(content.len())];
        head.extend(device);
        head.extend([size(name.len() + 1), check]);
        self.bytes.extend(b"070701");
        for field in head {
            self.bytes.extend(format!("{field:08X}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The format's fields are 32 bits wide. A larger size becomes one that every kernel rejects.
fn size(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail loudly")]

    use super::*;
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };

    #[test]
    fn an_empty_archive_is_its_trailer() {
        let bytes = Cpio::default().finish();
        assert!(bytes.starts_with(b"07070100000001"));
        assert_eq!(bytes.get(110..121), Some(&b"TRAILER!!!\0"[..]));
        assert_eq!(bytes.len(), 124);
    }

    #[test]
    fn every_entry_starts_at_a_multiple_of_four() {
        for length in 0..9 {
            let mut cpio = Cpio::default();
            cpio.program("name", &vec![b'x'; length]);
            let bytes = cpio.finish();
            let second = bytes.windows(6).rposition(|w| w == b"070701").unwrap();
            assert_eq!((second % 4, second), (0, 116 + length.next_multiple_of(4)));
        }
    }

    #[test]
    fn busybox_lists_what_was_written() {
        let mut cpio = Cpio::default();
        cpio.folder("bin");
        cpio.program("bin/tool", b"odd");
        cpio.symlink("bin/sh", "tool");
        let mut busybox = Command::new("busybox");
        busybox.args(["cpio", "-t"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = busybox.spawn().expect("busybox is there once `just setup` has run");
        child.stdin.take().unwrap().write_all(&cpio.finish()).unwrap();
        let listed = child.wait_with_output().unwrap();
        assert!(listed.status.success());
        assert_eq!(String::from_utf8_lossy(&listed.stdout), "bin\nbin/tool\nbin/sh\n");
    }
}
