//! Lists the pages of docs/errors, which `bfpc explain-code` prints: docs/errors/STAGE/REASON.md is the page of
//! `STAGE::REASON`.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("../docs/errors");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut pages: Vec<(String, PathBuf)> = Vec::new();
    for stage in fs::read_dir(&root)? {
        let stage = stage?.path();
        println!("cargo::rerun-if-changed={}", stage.display());
        for page in fs::read_dir(&stage)? {
            let page = page?.path();
            let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            pages.push((format!("{}::{}", name(&stage), name(&page)), fs::canonicalize(&page)?));
        }
    }
    pages.sort();
    let mut list = "/// Code and page, in the order of the codes.\nconst PAGES: &[(&str, &str)] = &[\n".to_owned();
    for (code, page) in &pages {
        list += &format!("    ({code:?}, include_str!({:?})),\n", page.to_string_lossy());
    }
    list += "];\n";
    fs::write(Path::new(&env::var_os("OUT_DIR").unwrap_or_default()).join("error_pages.rs"), list)
}
