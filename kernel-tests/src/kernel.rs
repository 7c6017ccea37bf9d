//! A stock Debian kernel in the cache, where `setup.sh` put it.
//!
//! In: the name of a series, such as `6.12`. Out: the paths of its vmlinux and its modules. Always: the files exist;
//! the vmlinux was extracted once and is shared by every run.

use crate::{Failure, vmlinux};
use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

/// A stock Debian kernel that is ready to boot.
#[derive(Debug, Clone)]
pub struct Kernel {
    series: String,
    package: String,
    dir: PathBuf,
    vmlinux: PathBuf,
    modules: PathBuf,
}

impl Kernel {
    /// The kernel of this series in the cache.
    ///
    /// # Errors
    /// `setup.sh` has not fetched it, or its image cannot be extracted.
    pub fn find(series: &str) -> Result<Self, Failure> {
        let dir = cache()?.join("kernels").join(series);
        let Ok(package) = fs::read_to_string(dir.join("package")) else {
            return Err(Failure::Host(format!("no kernel `{series}` in the cache: run `just setup {series}`")));
        };
        let package = package.lines().filter_map(|line| line.split_once(": ")).map(|(_, value)| value);
        let package = package.collect::<Vec<_>>().join(" ");
        // Debian moved its modules to /usr and, from 7.0 on, put the image beside them.
        let modules = only_entry(&dir.join("usr/lib/modules")).or_else(|| only_entry(&dir.join("lib/modules")));
        let modules = modules.ok_or_else(|| Failure::Host(format!("no modules in `{}`", dir.display())))?;
        let image = match modules.join("vmlinuz") {
            beside if beside.exists() => beside,
            _ => dir.join("boot").join(["vmlinuz-", &name(&modules)].concat()),
        };
        let vmlinux = dir.join("vmlinux");
        if !vmlinux.exists() {
            let bytes = fs::read(&image).map_err(Failure::at("read", &image))?;
            write_whole(&vmlinux, &vmlinux::extract(&bytes)?)?;
        }
        Ok(Self { series: series.to_owned(), package, dir, vmlinux, modules })
    }

    /// The series it was found by.
    #[must_use]
    pub fn series(&self) -> &str {
        &self.series
    }

    /// The package and its version.
    #[must_use]
    pub fn package(&self) -> &str {
        &self.package
    }

    pub(crate) fn vmlinux(&self) -> &Path {
        &self.vmlinux
    }

    /// Where this kernel's `.ko` files are.
    pub(crate) fn modules(&self) -> &Path {
        &self.modules
    }

    /// Where this kernel's booted machines are kept.
    pub(crate) fn states(&self) -> PathBuf {
        self.dir.join("states")
    }
}

/// Writes a file that other processes see either complete or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(Failure::at("write to", dir))?;
    std::io::Write::write_all(&mut file, bytes).map_err(Failure::at("write", path))?;
    file.persist(path).map_err(|e| Failure::at("write", path)(e.error))?;
    Ok(())
}

pub(crate) fn cache() -> Result<PathBuf, Failure> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("BFP_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("bfp")))
        .or_else(|| set("HOME").map(|dir| dir.join(".cache/bfp")))
        .ok_or_else(|| Failure::Host("none of BFP_CACHE, XDG_CACHE_HOME and HOME is set".to_owned()))
}

fn only_entry(dir: &Path) -> Option<PathBuf> {
    Some(fs::read_dir(dir).ok()?.next()?.ok()?.path())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(OsStr::new("")).to_string_lossy().into_owned()
}
