//! The modules that a guest must load, because they are not built into its kernel.
//!
//! In: names. Out: the bytes of these modules and of their dependencies, in loading order. Always: each once, and none
//! that is built in.
//!
//! `modules.dep`, which would have this information, is only written when a kernel is installed.

use crate::{Failure, Kernel, vmlinux::decompress};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A module: its name and its ELF bytes.
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) elf: Vec<u8>,
}

/// Modules that another one loads by the name of an algorithm, so that its `depends=` does not name them. Only some
/// kernels have them as modules (crc32c: 6.18).
const ALGORITHMS: [(&str, &str); 1] = [("btrfs", "crc32c_cryptoapi")];

/// These modules of `kernel` and what they need, in loading order.
pub(crate) fn load_order(kernel: &Kernel, names: &[String]) -> Result<Vec<Module>, Failure> {
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for name in names {
        visit(kernel, name, &mut seen, &mut order)?;
    }
    Ok(order)
}

fn visit(kernel: &Kernel, name: &str, seen: &mut BTreeSet<String>, order: &mut Vec<Module>) -> Result<(), Failure> {
    let name = name.replace('-', "_");
    if !seen.insert(name.clone()) {
        return Ok(());
    }
    let Some(path) = file_of(kernel.modules(), &name) else {
        if is_built_in(kernel, &name) {
            return Ok(());
        }
        return Err(Failure::Host(format!("kernel {} has no module `{name}`", kernel.series())));
    };
    let bytes = fs::read(&path).map_err(Failure::at("read", &path))?;
    let elf = match path.extension().and_then(|e| e.to_str()) {
        Some("xz") => decompress("xz", &bytes)?,
        Some("zst") => decompress("zstd", &bytes)?,
        _ => bytes,
    };
    for needed in depends(&elf) {
        visit(kernel, &needed, seen, order)?;
    }
    for (_, algorithm) in ALGORITHMS.iter().filter(|(user, _)| *user == name) {
        if file_of(kernel.modules(), algorithm).is_some() {
            visit(kernel, algorithm, seen, order)?;
        }
    }
    order.push(Module { name, elf });
    Ok(())
}

/// The names in a module's `depends=` line, which is between zero bytes in its `.modinfo`.
fn depends(elf: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = elf.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = elf.iter().skip(at + KEY.len()).take_while(|byte| **byte != 0).copied().collect();
    let value = String::from_utf8(value).unwrap_or_default();
    value.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn file_of(dir: &Path, name: &str) -> Option<PathBuf> {
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).ok()?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            } else if entry.file_name().to_str().and_then(module_name).is_some_and(|found| found == name) {
                return Some(entry.path());
            }
        }
    }
    None
}

/// `virtio-net.ko.xz` is the module `virtio_net`.
fn module_name(file: &str) -> Option<String> {
    let (stem, rest) = file.split_once(".ko")?;
    matches!(rest, "" | ".xz" | ".zst").then(|| stem.replace('-', "_"))
}

fn is_built_in(kernel: &Kernel, name: &str) -> bool {
    let list = fs::read_to_string(kernel.modules().join("modules.builtin")).unwrap_or_default();
    list.lines().filter_map(|line| module_name(line.rsplit('/').next()?)).any(|built_in| built_in == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modules_needs_are_read_from_its_modinfo() {
        assert_eq!(depends(b"\x7fELF\0license=GPL\0depends=virtio_ring,virtio\0name=x\0"), ["virtio_ring", "virtio"]);
        assert_eq!(depends(b"\0depends=\0name=x\0"), [""; 0]);
        assert_eq!(depends(b"\x7fELF"), [""; 0]);
    }

    #[test]
    fn a_file_is_a_module_by_its_ending() {
        assert_eq!(module_name("virtio-net.ko.xz").as_deref(), Some("virtio_net"));
        assert_eq!(module_name("veth.ko").as_deref(), Some("veth"));
        assert_eq!(module_name("veth.ko.sig"), None);
        assert_eq!(module_name("modules.builtin"), None);
    }
}
