//! The ELF kernel inside a bzImage.
//!
//! In: the bytes of a `vmlinuz`. Out: the bytes of `vmlinux`. Always: the result is an ELF file. QEMU enters it
//! directly, so that no guest spends its first seconds on decompressing itself.
//!
//! The header is described in Documentation/arch/x86/boot.rst of the kernel's source.

use crate::Failure;
use std::{
    io::{Seek as _, Write as _},
    process::{Command, Stdio},
};

const SETUP_SECTORS: usize = 0x1f1;
const MAGIC: usize = 0x202;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// The compressed kernel in a bzImage, and the tool that decompresses it.
#[derive(Debug, PartialEq)]
struct Payload<'a> {
    tool: &'static str,
    compressed: &'a [u8],
}

/// The ELF kernel inside `image`.
pub(crate) fn extract(image: &[u8]) -> Result<Vec<u8>, Failure> {
    let payload = payload(image).map_err(|why| Failure::Host(format!("not a kernel image: {why}")))?;
    let vmlinux = decompress(payload.tool, payload.compressed)?;
    if !vmlinux.starts_with(b"\x7fELF") {
        return Err(Failure::Host("not a kernel image: its payload is no ELF file".to_owned()));
    }
    Ok(vmlinux)
}

/// The output of `tool -dc` for these bytes.
pub(crate) fn decompress(tool: &str, compressed: &[u8]) -> Result<Vec<u8>, Failure> {
    let failed = |cause: &dyn std::fmt::Display| Failure::host(format!("cannot run `{tool}`"), cause);
    // A file as its input: a pipe would need a thread to fill it.
    let mut input = tempfile::tempfile().map_err(|e| failed(&e))?;
    input.write_all(compressed).and_then(|()| input.rewind()).map_err(|e| failed(&e))?;
    let run = Command::new(tool).arg("-dc").stdin(input).stderr(Stdio::piped()).output().map_err(|e| failed(&e))?;
    if run.status.success() { Ok(run.stdout) } else { Err(failed(&String::from_utf8_lossy(&run.stderr))) }
}

fn payload(image: &[u8]) -> Result<Payload<'_>, &'static str> {
    if image.get(MAGIC..MAGIC + 4) != Some(b"HdrS") {
        return Err("it has no boot header");
    }
    let setup_sectors = match image.get(SETUP_SECTORS) {
        // Zero means four, for very old boot loaders.
        Some(0) | None => 4,
        Some(&sectors) => usize::from(sectors),
    };
    let offset = field(image, PAYLOAD_OFFSET).ok_or("its boot header is cut off")?;
    let length = field(image, PAYLOAD_LENGTH).ok_or("its boot header is cut off")?;
    let start = (setup_sectors + 1) * 512 + offset;
    let payload = start.checked_add(length).and_then(|end| image.get(start..end)).ok_or("its payload is cut off")?;
    // The kernel's build appends the decompressed size, except to gzip, which contains it already.
    let sized = payload.get(..payload.len().saturating_sub(4)).unwrap_or_default();
    match payload {
        [0x1f, 0x8b, ..] => Ok(Payload { tool: "gzip", compressed: payload }),
        [0xfd, b'7', ..] => Ok(Payload { tool: "xz", compressed: sized }),
        [0x02, 0x21, ..] => Ok(Payload { tool: "lz4", compressed: sized }),
        [0x28, 0xb5, ..] => Ok(Payload { tool: "zstd", compressed: sized }),
        _ => Err("its compression is unknown"),
    }
}

fn field(image: &[u8], at: usize) -> Option<usize> {
    let bytes = image.get(at..at + 4)?;
    usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

    use super::*;

    /// A bzImage of one setup sector whose payload is `content`.
    fn image(content: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024];
        image[SETUP_SECTORS] = 1;
        image[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        image[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&16u32.to_le_bytes());
        let length = u32::try_from(content.len()).unwrap();
        image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
        image.extend([0xaa; 16]);
        image.extend(content);
        image.extend([0xbb; 100]);
        image
    }

    #[test]
    fn the_appended_size_is_no_part_of_an_xz_payload() {
        let image = image(b"\xfd7zXZ\x01\x02\x03\x04");
        assert_eq!(payload(&image), Ok(Payload { tool: "xz", compressed: b"\xfd7zXZ" }));
    }

    #[test]
    fn a_gzip_payload_is_whole() {
        let image = image(b"\x1f\x8bdata");
        assert_eq!(payload(&image), Ok(Payload { tool: "gzip", compressed: b"\x1f\x8bdata" }));
    }

    #[test]
    fn a_payload_beyond_the_end_is_refused() {
        let mut image = image(b"\x1f\x8bdata");
        image.truncate(1024 + 16 + 3);
        assert_eq!(payload(&image), Err("its payload is cut off"));
    }

    #[test]
    fn a_text_is_not_a_kernel() {
        assert_eq!(payload(b"hello"), Err("it has no boot header"));
        assert_eq!(payload(&image(b"plain")), Err("its compression is unknown"));
    }

    #[test]
    fn a_payload_without_elf_is_refused() {
        let zstd = Command::new("sh").args(["-c", "printf hello | zstd -c"]).output().unwrap().stdout;
        let refused = extract(&image(&[&zstd[..], &[5, 0, 0, 0]].concat())).unwrap_err();
        assert_eq!(refused.to_string(), "not a kernel image: its payload is no ELF file");
    }
}
