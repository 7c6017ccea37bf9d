//! The fs-verity digest of a file: content → what the kernel measures once verity is enabled on it, with SHA-256,
//! blocks of 4096 bytes and no salt (`fsverity digest FILE` prints the same).
//!
//! The digest is the SHA-256 of a descriptor that contains the size and the root of a Merkle tree over the blocks, the
//! last of which is padded with zeros. The layout is `struct fsverity_descriptor` of the kernel's
//! Documentation/filesystems/fsverity.rst. Memory holds one block for each level of the tree.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

const BLOCK: usize = 4096;

/// How many bytes are read at a time: a whole number of blocks.
const CHUNK: usize = 64 * BLOCK;

/// The digest of `content`.
///
/// # Errors
///
/// `content` cannot be read.
pub fn digest(mut content: impl Read) -> io::Result<[u8; 32]> {
    let mut tree = Tree::default();
    let mut size: u64 = 0;
    let mut chunk = vec![0; CHUNK];
    loop {
        let filled = fill(&mut content, &mut chunk)?;
        let read = chunk.get(..filled).unwrap_or_default();
        size += filled as u64;
        read.chunks(BLOCK).for_each(|block| tree.add(0, hash_block(block)));
        if filled < CHUNK {
            return Ok(descriptor_digest(size, tree.root()));
        }
    }
}

/// Reads until the buffer is full or the content ends.
fn fill(content: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match content.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn hash_block(block: &[u8]) -> [u8; 32] {
    let padding = [0; BLOCK];
    let missing = padding.get(block.len()..).unwrap_or_default();
    Sha256::new().chain_update(block).chain_update(missing).finalize().into()
}

/// The tree so far: for each level, the hashes in its last block.
#[derive(Default)]
struct Tree {
    levels: Vec<Vec<u8>>,
}

impl Tree {
    fn add(&mut self, level: usize, hash: [u8; 32]) {
        if self.levels.len() == level {
            self.levels.push(Vec::with_capacity(BLOCK));
        }
        let Some(block) = self.levels.get_mut(level) else { return };
        // A full block waits for a hash that follows it: the last one at the top is the root's.
        if block.len() == BLOCK {
            let full = std::mem::take(block);
            block.extend_from_slice(&hash);
            self.add(level + 1, hash_block(&full));
        } else {
            block.extend_from_slice(&hash);
        }
    }

    /// The root: zeros for an empty file, the block's own hash for a single block.
    fn root(mut self) -> [u8; 32] {
        let mut level = 0;
        loop {
            let Some(block) = self.levels.get_mut(level) else { return [0; 32] };
            let hashes = std::mem::take(block);
            let is_top = level + 1 == self.levels.len();
            match hashes.first_chunk::<32>() {
                Some(only) if is_top && hashes.len() == 32 => return *only,
                _ => self.add(level + 1, hash_block(&hashes)),
            }
            level += 1;
        }
    }
}

fn descriptor_digest(size: u64, root: [u8; 32]) -> [u8; 32] {
    const VERSION: u8 = 1;
    const SHA256: u8 = 1;
    const LOG_BLOCK_SIZE: u8 = 12;
    Sha256::new()
        .chain_update([VERSION, SHA256, LOG_BLOCK_SIZE, 0])
        // The size of the signature: there is none.
        .chain_update([0; 4])
        .chain_update(size.to_le_bytes())
        // The root's field is 64 bytes wide; the salt and reserved bytes follow.
        .chain_update(root)
        .chain_update([0; 32])
        .chain_update([0; 32 + 144])
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::*;

    /// Bytes that differ from block to block.
    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at / 7 + at / 4096) as u8).collect()
    }

    /// The same tree in the slow and obvious way: all levels at once.
    fn plain_digest(content: &[u8]) -> [u8; 32] {
        let mut hashes: Vec<[u8; 32]> = content.chunks(BLOCK).map(hash_block).collect();
        while hashes.len() > 1 {
            hashes = hashes.concat().chunks(BLOCK).map(hash_block).collect();
        }
        descriptor_digest(content.len() as u64, hashes.first().copied().unwrap_or([0; 32]))
    }

    #[test]
    fn digests_are_those_of_the_fsverity_tool() {
        // Printed by `fsverity digest` of Debian's package; kernel-tests/tests/fs_verity.rs runs it again.
        for (length, expected) in [
            (0, "3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95"),
            (1, "b803429503d95915829b29fdbc8bbad142f3abfd11b1cadf5526582e685c0551"),
            (4096, "45ae5f86c09d795aa900797076c32952709aa6a72246714701c9001e4b7747c4"),
            (4097, "f4103bed91e3a54a5d303e6770d72a0550eb68d1c4ccee6ed0630959c7e67df4"),
            (10 << 20, "bcb490e5deeab7912e67194073fe9952811a736560e299d50503acb6d2f69211"),
        ] {
            let found = digest(content(length).as_slice()).unwrap();
            let found: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, expected, "{length} bytes");
        }
    }

    #[test]
    fn tree_of_every_shape_has_the_plain_root() {
        let blocks = [0, 1, 2, 127, 128, 129, 257];
        let around = blocks.iter().flat_map(|blocks| [blocks * BLOCK, blocks * BLOCK + 1, blocks * BLOCK + 4095]);
        // Three levels of hashes.
        for length in around.chain([129 * 128 * BLOCK + 5]) {
            let content = content(length);
            assert_eq!(digest(content.as_slice()).unwrap(), plain_digest(&content), "{length} bytes");
        }
    }

    #[test]
    fn content_may_arrive_in_pieces() {
        struct Pieces<'a>(&'a [u8]);
        impl Read for Pieces<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let length = buffer.len().min(self.0.len()).min(1013);
                let (now, later) = self.0.split_at(length);
                buffer.get_mut(..length).unwrap().copy_from_slice(now);
                self.0 = later;
                Ok(length)
            }
        }
        let content = content(3 * CHUNK + 5);
        assert_eq!(digest(Pieces(&content)).unwrap(), plain_digest(&content));
    }
}
