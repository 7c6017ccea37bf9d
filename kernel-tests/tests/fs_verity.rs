//! The compiler's fs-verity digest against the one of Debian's `fsverity`, which the set-up installs.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::fs;
use std::process::Command;

#[test]
fn compiler_and_fsverity_measure_alike() {
    let directory = tempfile::tempdir().unwrap();
    for length in [0, 1, 4095, 4096, 4097, 128 * 4096, 128 * 4096 + 1, 10 << 20, (64 << 20) + 12_345] {
        let content: Vec<u8> = (0..length).map(|at: usize| (at / 7 + at / 4096) as u8).collect();
        let file = directory.path().join(length.to_string());
        fs::write(&file, &content).unwrap();
        let ran = Command::new("fsverity").args(["digest", "--compact"]).arg(&file).output();
        let ran = ran.unwrap_or_else(|error| unreachable!("`fsverity` cannot be run ({error}): run `just setup`"));
        let expected = String::from_utf8(ran.stdout).unwrap();
        let found = bfp_compiler::source::fs_verity::digest(content.as_slice()).unwrap();
        let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, expected.trim(), "{length} bytes: {}", String::from_utf8_lossy(&ran.stderr));
    }
}
