#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
use std::process::Command;

use bfp_bundle::verify::TrustSet;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::found::names;
use super::record::{Copied, MAX_EXPIRED_TOKENS, decode};
use super::*;
use crate::admit::admission::{HighestRevision, Revisions};
use crate::admit::fields::{self, Field};

fn record(digest: u8) -> Record {
    Record {
        seen: vec![HighestRevision { policy: "web".to_owned(), revision: 3, manifest_digest: Some([digest; 32]) }],
        current: Some(LastGood {
            policy: "web".to_owned(),
            revision: 3,
            manifest_digest: [digest; 32],
            accepted_at: 5,
            trust: TrustSet { version: 0, threshold: 1, keys: vec![[1; 32]], revoked: vec![] },
            tags: vec!["host".to_owned()],
        }),
        last_time: 7,
        recovered: Some(Recovered { policy: "web".to_owned(), from: 9 }),
        trust_sets: vec![(1, vec![1, 2, 3])],
        used_tokens: vec![UsedToken { digest: [8; 32], expires: 99 }],
        time_taken_back: Some(4000),
        unknown: vec![Field { kind: 500, content: b"later".to_vec() }],
    }
}

/// The record as the first release wrote it.
fn by_the_first_release(record: &Record) -> Vec<u8> {
    let Record { seen, current, last_time, recovered, trust_sets, .. } = record;
    let body = postcard::to_allocvec(&(seen, current, last_time, recovered, trust_sets)).unwrap();
    [b"BFPS\r\n\x1a\n\x01\0\0\0".as_slice(), &Sha256::digest(&body), &body].concat()
}

fn written(digest: u8) -> (TempDir, State) {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    state.write(&record(digest)).unwrap();
    (folder, state)
}

fn files(folder: &Path) -> Vec<String> {
    let mut names = names(folder);
    names.sort();
    names
}

/// Replaces one byte of a file.
fn change(path: &Path, at: usize, byte: u8) {
    let mut bytes = std::fs::read(path).unwrap();
    *bytes.get_mut(at).unwrap() ^= byte;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn what_was_written_is_read_and_a_fresh_host_remembers_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(&folder.path().join("deep/bfp")).unwrap();
    let found = state.read().unwrap();
    assert_eq!((found.record, found.condition), (Record::default(), Condition::Fresh));
    state.write(&record(1)).unwrap();
    let found = state.read().unwrap();
    assert_eq!((found.record, found.condition), (record(1), Condition::Whole));
}

#[test]
fn only_the_bundle_that_the_record_names_stays() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    for digest in [1, 2] {
        state.keep(&[digest; 32], &[digest; 10], &record(digest)).unwrap();
    }
    let good = format!("good-{}.bfpb", "02".repeat(32));
    assert_eq!(files(folder.path()), [good.as_str(), "state", "state.copy", "trust-set-0001"]);
    assert_eq!(state.kept_bundle(&record(2).current.unwrap()).unwrap(), [2; 10]);
}

#[test]
fn no_flipped_bit_and_no_truncation_is_taken_for_what_was_written() {
    let bytes = record(1).encode(1).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        *flipped.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
        // The digest does not cover the layout number: a later layout is not mistaken for this one.
        let is_refused = matches!(decode(&flipped), Copied::Damaged | Copied::Newer(..));
        assert!(is_refused, "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert_eq!(decode(bytes.get(..length).unwrap()), Copied::Damaged, "length {length}");
    }
}

#[test]
fn every_flipped_bit_of_one_copy_is_no_loss() {
    let (folder, state) = written(1);
    for name in ["state", "state.copy"] {
        let path = folder.path().join(name);
        let length = std::fs::read(&path).unwrap().len();
        // Every byte, each time at another bit.
        for bit in (0..length * 8).step_by(7) {
            change(&path, bit / 8, 1 << (bit % 8));
            let found = state.read().unwrap();
            assert_eq!(found.record, record(1), "{name}, bit {bit}");
            assert_eq!(found.condition, Condition::OneCopy(path.clone()), "{name}, bit {bit}");
            change(&path, bit / 8, 1 << (bit % 8));
        }
    }
    assert_eq!(state.read().unwrap().condition, Condition::Whole);
}

#[test]
fn a_lost_copy_is_no_loss_and_the_next_write_makes_it_anew() {
    let (folder, state) = written(1);
    for name in ["state", "state.copy"] {
        let path = folder.path().join(name);
        std::fs::remove_file(&path).unwrap();
        let found = state.read().unwrap();
        assert_eq!((found.record, found.condition), (record(1), Condition::OneCopy(path)));
        state.write(&record(1)).unwrap();
        assert_eq!(state.read().unwrap().condition, Condition::Whole);
    }
}

#[test]
fn the_newer_of_two_whole_copies_is_taken() {
    let (folder, state) = written(1);
    let older = std::fs::read(folder.path().join("state")).unwrap();
    state.write(&record(2)).unwrap();
    for name in ["state", "state.copy"] {
        let newer = std::fs::read(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name), &older).unwrap();
        assert_eq!(state.read().unwrap().record, record(2), "{name}");
        std::fs::write(folder.path().join(name), newer).unwrap();
    }
}

#[test]
fn with_both_copies_damaged_the_trust_sets_stay_and_the_damage_is_kept() {
    let (folder, state) = written(1);
    for _ in 0..3 {
        for name in ["state", "state.copy"] {
            change(&folder.path().join(name), 60, 1);
        }
        let found = state.read().unwrap();
        assert_eq!(found.condition, Condition::Damaged(folder.path().join("state")));
        assert_eq!(found.record, Record { trust_sets: vec![(1, vec![1, 2, 3])], ..Record::default() });
        assert!(matches!(found.whole(), Err(StateError::Damaged(_))));
        state.write(&record(2)).unwrap();
        assert_eq!(state.read().unwrap().record, record(2));
    }
    let kept = files(folder.path()).into_iter().filter(|name| name.starts_with("state.damaged-")).count();
    assert_eq!(kept, 6);
}

#[test]
fn with_the_record_gone_trust_sets_and_bundles_say_that_it_is_no_first_day() {
    let (folder, state) = written(1);
    for name in ["state", "state.copy"] {
        std::fs::remove_file(folder.path().join(name)).unwrap();
    }
    let found = state.read().unwrap();
    assert_eq!(found.condition, Condition::Gone(folder.path().join("state")));
    assert_eq!(found.record.trust_sets, [(1, vec![1, 2, 3])]);
    std::fs::remove_file(folder.path().join("trust-set-0001")).unwrap();
    assert_eq!(state.read().unwrap().condition, Condition::Fresh);
    std::fs::write(folder.path().join("good-1.bfpb"), "").unwrap();
    assert!(matches!(state.read().unwrap().condition, Condition::Gone(_)));
}

#[test]
fn a_record_of_a_newer_release_is_read_as_agreed_and_never_written_over() {
    let (folder, state) = written(1);
    let before: Vec<_> = ["state", "state.copy"]
        .map(|name| {
            change(&folder.path().join(name), 8, 1);
            std::fs::read(folder.path().join(name)).unwrap()
        })
        .into();
    let found = state.read().unwrap();
    assert_eq!(found.condition, Condition::Newer(folder.path().join("state")));
    assert_eq!((found.record.seen.clone(), found.record.current.clone()), (record(1).seen, record(1).current));
    assert!(matches!(found.whole(), Err(StateError::Newer(_))));
    assert!(matches!(state.write(&record(2)), Err(StateError::Newer(_))));
    drop(state);
    let coming_up = State::come_up(folder.path());
    coming_up.keep(&[2; 32], &[2; 10], &record(2)).unwrap();
    assert!(matches!(coming_up.unwritten(), Some(StateError::Newer(_))));
    let after: Vec<_> = ["state", "state.copy"].map(|name| std::fs::read(folder.path().join(name)).unwrap()).into();
    assert_eq!(before, after);
}

#[test]
fn a_field_that_must_be_known_is_a_newer_release_and_another_one_is_kept() {
    let mut later = record(1);
    later.unknown.push(Field { kind: fields::CRITICAL | 7, content: vec![] });
    assert!(matches!(decode(&later.encode(1).unwrap()), Copied::Newer(1, _)));
    let (_folder, state) = written(1);
    let found = state.read().unwrap();
    state.write(&found.record).unwrap();
    assert_eq!(state.read().unwrap().record.unknown, record(1).unknown);
}

#[test]
fn what_the_first_release_wrote_is_read_and_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let old = Record { used_tokens: vec![], time_taken_back: None, unknown: vec![], ..record(1) };
    std::fs::write(folder.path().join("state"), by_the_first_release(&old)).unwrap();
    let state = State::open(folder.path()).unwrap();
    let found = state.read().unwrap();
    assert_eq!((&found.record, found.condition), (&old, Condition::Whole));
    state.write(&old).unwrap();
    assert_eq!(state.read().unwrap().record, old);
    assert_eq!(files(folder.path()), ["state", "state.copy", "trust-set-0001"]);
}

#[test]
fn what_the_first_release_did_after_a_downgrade_and_what_was_known_before_are_both_known() {
    let (folder, state) = written(1);
    // The first release calls this damaged, renames it at boot, and starts a new record.
    std::fs::rename(folder.path().join("state"), folder.path().join("state.damaged")).unwrap();
    let seen = |policy: &str, revision| HighestRevision { policy: policy.to_owned(), revision, manifest_digest: None };
    let meanwhile = Record { seen: vec![seen("web", 2), seen("mail", 8)], last_time: 50, ..Record::default() };
    std::fs::write(folder.path().join("state"), by_the_first_release(&meanwhile)).unwrap();
    let found = state.read().unwrap();
    assert_eq!(found.condition, Condition::Whole);
    let revisions = Revisions { seen: found.record.seen.clone(), current: None };
    assert_eq!(revisions.of("web").unwrap().revision, 3);
    assert_eq!(revisions.of("mail").unwrap().revision, 8);
    assert_eq!((found.record.last_time, &found.record.trust_sets), (50, &record(1).trust_sets));
    assert!(found.record.has_used(&[8; 32]));
}

/// A full filesystem. Without root, a directory that cannot be written.
fn without_room(folder: &Path) -> impl Drop {
    struct Mounted(PathBuf, bool);
    impl Drop for Mounted {
        fn drop(&mut self) {
            use std::os::unix::fs::PermissionsExt;
            if self.1 {
                assert!(Command::new("umount").arg(&self.0).status().unwrap().success());
            } else {
                std::fs::set_permissions(&self.0, std::fs::Permissions::from_mode(0o700)).unwrap();
            }
        }
    }
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o500)).unwrap();
        return Mounted(folder.to_owned(), false);
    }
    let before: Vec<_> =
        files(folder).into_iter().map(|name| (std::fs::read(folder.join(&name)).unwrap(), name)).collect();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k,mode=700", "none"]).arg(folder).status();
    assert!(mount.unwrap().success());
    for (bytes, name) in before {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    let mut full = File::create(folder.join("full")).unwrap();
    while full.write_all(&[0; 512]).is_ok() {}
    Mounted(folder.to_owned(), true)
}

#[test]
fn without_room_what_the_disk_says_already_is_no_failure_and_anything_else_is() {
    let (folder, state) = written(1);
    state.keep(&[1; 32], &[1; 10], &record(1)).unwrap();
    drop(state);
    let full = without_room(folder.path());
    let state = State::open(folder.path()).unwrap();
    let before = (state.read().unwrap(), files(folder.path()));
    assert_eq!(before.0.condition, Condition::Whole);
    state.keep(&[1; 32], &[1; 10], &Record { last_time: 500, ..record(1) }).unwrap();
    let error = state.keep(&[2; 32], &[2; 10], &record(2)).unwrap_err();
    assert!(matches!(error, StateError::Unusable { .. }), "{error}");
    assert!(state.write(&Record { seen: vec![], ..record(1) }).is_err());
    drop(state);
    let coming_up = State::come_up(folder.path());
    coming_up.keep(&[1; 32], &[1; 10], &Record { last_time: 500, ..record(1) }).unwrap();
    assert!(coming_up.unwritten().is_none());
    coming_up.keep(&[2; 32], &[2; 10], &record(2)).unwrap();
    assert!(coming_up.unwritten().is_some());
    // Nothing is left half done.
    assert_eq!((coming_up.read().unwrap(), files(folder.path())), before);
    assert_eq!(coming_up.kept_bundle(&record(1).current.unwrap()).unwrap(), [1; 10]);
    drop((coming_up, full));
}

#[test]
fn a_folder_that_cannot_be_made_ends_nothing_when_the_host_comes_up() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let impossible = folder.path().join("file/bfp");
    assert!(State::open(&impossible).is_err());
    let state = State::come_up(&impossible);
    assert!(state.unwritten().is_some());
    state.write(&record(1)).unwrap();
    assert!(state.unwritten().is_some());
}

#[test]
fn a_folder_that_others_may_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(State::open(folder.path()), Err(StateError::Input(_))));
    // A host that boots writes nothing there either.
    let state = State::come_up(folder.path());
    assert!(matches!(state.unwritten(), Some(StateError::Input(_))));
    state.keep(&[1; 32], &[1; 10], &record(1)).unwrap();
    assert!(state.unwritten().is_some());
    assert_eq!(files(folder.path()), Vec::<String>::new());
}

#[test]
fn used_tokens_are_remembered_until_they_expire_and_beyond_while_they_are_few() {
    let mut record = Record::default();
    let token = |number: u16, expires| {
        let mut digest = [0; 32];
        digest[..2].copy_from_slice(&number.to_le_bytes());
        UsedToken { digest, expires }
    };
    record.use_token(token(0, 5000), 100);
    for number in 1..1000 {
        record.use_token(token(number, u64::from(number)), 4999);
    }
    assert_eq!(record.used_tokens.len(), MAX_EXPIRED_TOKENS + 1);
    assert!(record.has_used(&token(0, 0).digest) && record.has_used(&token(999, 0).digest));
    assert!(!record.has_used(&token(1, 0).digest));
}
