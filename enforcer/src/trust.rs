//! Whom the host trusts: a public key, or a folder of them.

use std::io;
use std::path::{Path, PathBuf};

use bfp_bundle::key::{KeyError, PublicKey};

/// Why the trusted keys cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file or folder cannot be read.
    #[error("`{path}` cannot be read: {error}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file holds no public key.
    #[error("`{path}` holds no public key: {error}")]
    NoKey {
        /// Which.
        path: PathBuf,
        /// Why.
        error: KeyError,
    },
    /// The folder is empty.
    #[error("`{0}` holds no file that ends in `.pem`")]
    Empty(PathBuf),
}

impl TrustError {
    /// What the person who reads the message can do.
    pub fn help(&self) -> &'static str {
        match self {
            TrustError::Unreadable { .. } => "name a public key, or a folder of them, with `--trust`",
            TrustError::NoKey { .. } => "put public keys there, as `openssl pkey -pubout` writes them",
            TrustError::Empty(_) => "put at least one public key there",
        }
    }
}

/// Reads one key, or every `*.pem` of a folder.
pub fn read(path: &Path) -> Result<Vec<PublicKey>, TrustError> {
    let unreadable = |error| TrustError::Unreadable { path: path.to_owned(), error };
    if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Ok(vec![read_key(path)?]);
    }
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let found = entry.map_err(unreadable)?.path();
        if found.extension().is_some_and(|extension| extension == "pem") {
            paths.push(found);
        }
    }
    if paths.is_empty() {
        return Err(TrustError::Empty(path.to_owned()));
    }
    paths.sort();
    paths.iter().map(|path| read_key(path)).collect()
}

fn read_key(path: &Path) -> Result<PublicKey, TrustError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| TrustError::Unreadable { path: path.to_owned(), error })?;
    PublicKey::from_pem(&text).map_err(|error| TrustError::NoKey { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use bfp_bundle::secret_key::SecretKey;

    #[test]
    fn a_folder_gives_every_key_in_it() {
        let folder = tempfile::tempdir().unwrap();
        for seed in [1, 2] {
            let key = SecretKey::from_seed(&[seed; 32]).public().to_pem().unwrap();
            std::fs::write(folder.path().join(format!("{seed}.pem")), key).unwrap();
        }
        std::fs::write(folder.path().join("readme"), "no key").unwrap();
        assert_eq!(read(folder.path()).unwrap().len(), 2);
        assert_eq!(read(&folder.path().join("1.pem")).unwrap().len(), 1);
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
}
