//! Whom the host trusts: the administrator's keys, and the trust sets that replaced them by rotation.
//!
//! Each adopted trust set is kept as its signed document. Whenever a signature is checked, the whole chain is verified
//! again from the first keys.

use std::io;
use std::path::{Path, PathBuf};

use bfp_bundle::key::{KeyError, PublicKey};
use bfp_bundle::verify::{Refusal, Trust, verify_trust_set};

use crate::admit::input::{self, InputError};
use crate::failure::{Actionable, Exit};

/// The directory of the administrator's keys.
pub const TRUST: &str = "/etc/bfp/trust";

/// The file beside the keys that has the threshold. A single key needs none.
const THRESHOLD: &str = "threshold";

const MAX_KEY_BYTES: u64 = 16 << 10;

/// Why the trusted keys cannot be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its variant is")]
pub enum TrustError {
    #[error("the trusted keys at `{path}` cannot be read: {error}")]
    Unreadable { path: PathBuf, error: io::Error },
    /// A file in the directory is not acceptable.
    #[error(transparent)]
    Input(#[from] InputError),
    #[error("`{path}` has no public key: {error}")]
    NoKey { path: PathBuf, error: KeyError },
    #[error("`{path}` has {blocks} PEM blocks, but a file can have only one key")]
    Several { path: PathBuf, blocks: usize },
    #[error("`{0}` has no file that ends in `.pem`")]
    Empty(PathBuf),
    #[error("`{0}` does not contain a number")]
    NoNumber(PathBuf),
    /// Several keys without a threshold file: if a lost file meant 1, its loss would lower the threshold.
    #[error("`{path}` has {keys} keys, but no file `threshold` that says how many of them must sign")]
    NoThreshold { path: PathBuf, keys: usize },
    #[error("`{path}` has the same key as `{other}`")]
    Twice { path: PathBuf, other: PathBuf },
    #[error("the trusted keys at `{path}` cannot be used: {refusal}")]
    Unusable { path: PathBuf, refusal: Refusal },
    #[error("this host has adopted version {0} of a trust set, and trusts no other keys")]
    Adopted(u64),
    #[error("this host's adopted trust set does not follow from its first keys: {0}")]
    BrokenChain(Refusal),
}

impl Actionable for TrustError {
    fn help(&self) -> &'static str {
        match self {
            TrustError::Unreadable { .. } => "put public keys at /etc/bfp/trust, or name one with `--trust`",
            TrustError::Input(error) => error.help(),
            TrustError::NoKey { .. } => "put public keys there, as `openssl pkey -pubout` writes them",
            TrustError::Several { .. } => "keep each key in a file of its own, with nothing else in it",
            TrustError::Empty(_) => "put at least one public key there",
            TrustError::NoThreshold { .. } => {
                "write the number into a file `threshold` beside the keys, as in the reviewed directory"
            }
            TrustError::Twice { .. } => "keep each key in one file",
            TrustError::NoNumber(_) => "write how many keys must sign, such as 2",
            TrustError::Unusable { .. } => {
                "keep at most 32 keys there, and in its file `threshold` a number from 1 to the number of keys"
            }
            TrustError::Adopted(_) => "omit `--trust`; `bfp-enforcer trust` changes the keys",
            TrustError::BrokenChain(_) => "restore this host's first keys, or see docs/operations.md on starting over",
        }
    }

    fn exit(&self) -> Exit {
        match self {
            TrustError::Unusable { .. } | TrustError::BrokenChain(_) => Exit::Rejected,
            TrustError::Input(error @ InputError::Writable { .. }) => error.exit(),
            _ => Exit::Usage,
        }
    }
}

/// Reads one key, or a directory: every `*.pem` that is not hidden, and the threshold.
///
/// # Errors
/// A file cannot be read or may be changed by another user, a file does not contain exactly one key, or the keys do not
/// form a valid trust set.
pub fn read(path: &Path) -> Result<Trust, TrustError> {
    let unreadable = |error| TrustError::Unreadable { path: path.to_owned(), error };
    let unusable = |refusal| TrustError::Unusable { path: path.to_owned(), refusal };
    let about = std::fs::metadata(path).map_err(unreadable)?;
    if !about.is_dir() {
        return Trust::first(vec![read_key(path)?], 1).map_err(unusable);
    }
    input::check_owner(path, &about)?;
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let found = entry.map_err(unreadable)?.path();
        let is_hidden = found.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && found.extension().is_some_and(|extension| extension == "pem") {
            paths.push(found);
        }
    }
    if paths.is_empty() {
        return Err(TrustError::Empty(path.to_owned()));
    }
    paths.sort();
    let mut keys: Vec<PublicKey> = Vec::with_capacity(paths.len());
    for file in &paths {
        let key = read_key(file)?;
        if let Some(other) = keys.iter().position(|known| *known == key).and_then(|other| paths.get(other)) {
            return Err(TrustError::Twice { path: file.clone(), other: other.clone() });
        }
        keys.push(key);
    }
    let threshold = match (read_threshold(&path.join(THRESHOLD))?, keys.len()) {
        (Some(threshold), _) => threshold,
        (None, 1) => 1,
        (None, keys) => return Err(TrustError::NoThreshold { path: path.to_owned(), keys }),
    };
    Trust::first(keys, threshold).map_err(unusable)
}

fn read_key(path: &Path) -> Result<PublicKey, TrustError> {
    let text = String::from_utf8_lossy(&input::read_own(path, MAX_KEY_BYTES)?).into_owned();
    let path = path.to_owned();
    // An error about the text between two keys would not help.
    PublicKey::from_pem(&text).map_err(|error| match text.matches("-----BEGIN ").count() {
        blocks if blocks > 1 => TrustError::Several { path, blocks },
        _ => TrustError::NoKey { path, error },
    })
}

fn read_threshold(path: &Path) -> Result<Option<usize>, TrustError> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        _ => {
            let text = input::read_own(path, MAX_KEY_BYTES)?;
            let number = String::from_utf8_lossy(&text).trim().parse();
            number.map(Some).map_err(|_| TrustError::NoNumber(path.to_owned()))
        }
    }
}

/// A trust set that the host adopted: its version, and its signed document.
pub type AdoptedSet = (u64, Vec<u8>);

/// Verifies the documents of later trust sets, in order, from a first trust set. The versions only select which
/// documents are later: the kernel may know a later set than the administrator's files do.
pub fn follow(first: Trust, adopted: &[AdoptedSet]) -> Result<Trust, TrustError> {
    let known = first.version();
    let later = adopted.iter().filter(|(version, _)| *version > known);
    later
        .map(|(_, document)| document)
        .try_fold(first, |trust, document| verify_trust_set(document, &trust).map_err(TrustError::BrokenChain))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use bfp_bundle::seal::seal_trust_set;
    use bfp_bundle::secret_key::SecretKey;
    use bfp_bundle::verify::TrustSet;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn folder_of(seeds: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for seed in seeds {
            std::fs::write(folder.path().join(format!("{seed}.pem")), key(*seed).public().to_pem().unwrap()).unwrap();
        }
        folder
    }

    #[test]
    fn a_folder_gives_every_key_in_it() {
        let folder = folder_of(&[1, 2]);
        std::fs::write(folder.path().join("readme"), "no key").unwrap();
        std::fs::write(folder.path().join(".3.pem"), key(3).public().to_pem().unwrap()).unwrap();
        std::fs::write(folder.path().join(THRESHOLD), "1").unwrap();
        let trust = read(folder.path()).unwrap();
        assert_eq!((trust.keys().len(), trust.threshold(), trust.version()), (2, 1, 0));
        assert_eq!(read(&folder.path().join("1.pem")).unwrap().keys().len(), 1);
    }

    #[test]
    fn the_folder_says_how_many_must_have_signed() {
        let folder = folder_of(&[1, 2]);
        for (text, expected) in [("2\n", Some(2)), ("1", Some(1)), ("3", None), ("0", None), ("two", None), ("", None)]
        {
            std::fs::write(folder.path().join(THRESHOLD), text).unwrap();
            assert_eq!(read(folder.path()).ok().map(|trust| trust.threshold()), expected, "{text}");
        }
    }

    #[test]
    fn several_keys_without_a_threshold_are_refused() {
        let folder = folder_of(&[1, 2]);
        let refusal = read(folder.path()).unwrap_err();
        assert!(refusal.to_string().contains("has 2 keys, but no file `threshold`"), "{refusal}");
        assert_eq!(read(folder_of(&[1]).path()).unwrap().threshold(), 1);
    }

    #[test]
    fn a_key_in_two_files_is_reported_by_both_names() {
        let folder = folder_of(&[1]);
        std::fs::copy(folder.path().join("1.pem"), folder.path().join("2.pem")).unwrap();
        let refusal = read(folder.path()).unwrap_err().to_string();
        assert!(refusal.contains("2.pem` has the same key") && refusal.contains("1.pem"), "{refusal}");
    }

    #[test]
    fn two_keys_in_a_file_are_reported_as_that() {
        let folder = folder_of(&[1]);
        let pem = [1, 2].map(|seed| key(seed).public().to_pem().unwrap()).concat();
        std::fs::write(folder.path().join("1.pem"), pem).unwrap();
        let refusal = read(folder.path()).unwrap_err();
        assert!(refusal.to_string().ends_with("1.pem` has 2 PEM blocks, but a file can have only one key"));
        assert!(refusal.help().contains("a file of its own"));
    }

    #[test]
    fn more_keys_than_a_trust_set_has_are_reported_with_the_limit() {
        let seeds: Vec<u8> = (1..=33).collect();
        let folder = folder_of(&seeds);
        std::fs::write(folder.path().join(THRESHOLD), "2").unwrap();
        let refusal = read(folder.path()).unwrap_err();
        assert!(refusal.to_string().ends_with("it has too many keys"), "{refusal}");
        assert!(refusal.help().contains("keep at most 32 keys there"));
        std::fs::remove_file(folder.path().join("33.pem")).unwrap();
        assert_eq!(read(folder.path()).unwrap().keys().len(), 32);
    }

    #[test]
    fn an_empty_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path()), Err(TrustError::Empty(_))));
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.pem"), "nothing").unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().contains("a.pem"));
    }

    #[test]
    fn a_folder_or_a_key_that_others_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = folder_of(&[1]);
        let chmod = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        chmod(folder.path(), 0o777);
        assert!(read(folder.path()).unwrap_err().to_string().contains("every user may write to it"));
        chmod(folder.path(), 0o755);
        chmod(&folder.path().join("1.pem"), 0o664);
        assert!(read(folder.path()).unwrap_err().to_string().contains("its group may write to it"));
    }

    fn set(version: u64, seeds: &[u8], signers: &[u8]) -> AdoptedSet {
        let keys = seeds.iter().map(|seed| key(*seed).public().to_bytes()).collect();
        let signers: Vec<SecretKey> = signers.iter().map(|seed| key(*seed)).collect();
        let set = TrustSet { version, threshold: 1, keys, revoked: vec![] };
        (version, seal_trust_set(&set, &signers).unwrap())
    }

    #[test]
    fn sets_follow_each_other_from_the_first_keys_on() {
        let first = Trust::first(vec![key(1).public()], 1).unwrap();
        let documents = [set(1, &[2], &[1, 2]), set(2, &[3], &[2, 3])];
        let trust = follow(first.clone(), &documents).unwrap();
        assert_eq!((trust.version(), trust.keys()), (2, &[key(3).public()][..]));

        // A chain that starts at a set in the middle, which the kernel may know, ends at the same set.
        let second = follow(first.clone(), documents.get(..1).unwrap()).unwrap();
        assert_eq!(follow(second, &documents).unwrap(), trust);

        let forged = [set(1, &[2], &[2])];
        assert!(matches!(follow(first, &forged), Err(TrustError::BrokenChain(_))));
    }
}
