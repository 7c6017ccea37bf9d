#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::collections::BTreeSet;
use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use proptest::prelude::*;

use super::build::{Automaton, BuildError, canonical};
use super::*;

/// The meaning of a written program, defined without an automaton.
fn is(written: &str, path: &str) -> bool {
    let parts = |text| -> Vec<&str> { <str>::split(text, '/').skip(1).collect() };
    matches(&parts(written), &parts(path))
}

fn matches(written: &[&str], path: &[&str]) -> bool {
    match written {
        [] => path.is_empty(),
        ["**"] => !path.is_empty(),
        ["**", rest @ ..] => (0..=path.len()).any(|skipped| matches(rest, &path[skipped..])),
        [first, rest @ ..] => match path {
            [component, others @ ..] => glob(first.as_bytes(), component.as_bytes()) && matches(rest, others),
            [] => false,
        },
    }
}

fn glob(written: &[u8], component: &[u8]) -> bool {
    match written {
        [] => component.is_empty(),
        [b'*', rest @ ..] => (0..=component.len()).any(|skipped| glob(rest, &component[skipped..])),
        [byte, rest @ ..] => component.first() == Some(byte) && glob(rest, &component[1..]),
    }
}

/// The written programs that the tables find for a path.
fn found(written: &[&str], path: &str) -> Vec<usize> {
    let automaton = Automaton::of(written).unwrap();
    let numbers: Vec<u32> = (0..automaton.accepts().len() as u32).collect();
    let tables = automaton.tables(&numbers).unwrap();
    find(&tables, path).map_or(Vec::new(), |accept| automaton.accepts()[accept as usize].clone())
}

#[test]
fn a_written_path_is_its_file_and_no_other() {
    let written = ["/opt/app/bin/signer"];
    assert_eq!(found(&written, "/opt/app/bin/signer"), [0]);
    for other in ["/signer", "/opt/app/bin/signer2", "/opt/app/bin", "/x/opt/app/bin/signer", "/opt/app/bin/signer/x"] {
        assert_eq!(found(&written, other), [0; 0], "{other}");
    }
}

#[test]
fn a_star_stands_for_characters_of_one_component() {
    let written = ["/nix/store/*-vault-*/bin/vault", "/opt/app/*/bin/app", "/opt/app/r2/bin/app"];
    assert_eq!(found(&written, "/nix/store/abc-vault-1.2/bin/vault"), [0]);
    assert_eq!(found(&written, "/nix/store/abc-vaults/bin/vault"), [0; 0]);
    assert_eq!(found(&written, "/nix/store/x/abc-vault-1/bin/vault"), [0; 0]);
    assert_eq!(found(&written, "/opt/app/r1/bin/app"), [1]);
    assert_eq!(found(&written, "/opt/app/r2/bin/app"), [1, 2]);
    assert_eq!(found(&written, "/opt/app/r1/x/bin/app"), [0; 0]);
}

#[test]
fn two_stars_stand_for_a_subtree() {
    let written = ["/opt/**", "/srv/**/run"];
    assert_eq!(found(&written, "/opt/a"), [0]);
    assert_eq!(found(&written, "/opt/a/b/c/d"), [0]);
    assert_eq!(found(&written, "/opt"), [0; 0]);
    assert_eq!(found(&written, "/srv/run"), [1]);
    assert_eq!(found(&written, "/srv/a/b/run"), [1]);
}

#[test]
fn a_file_of_a_merged_usr_has_both_names() {
    assert_eq!(canonical("/bin/x"), "/usr/bin/x");
    assert_eq!(canonical("/binary/x"), "/binary/x");
    for path in ["/bin/x", "/usr/bin/x"] {
        assert_eq!(found(&["/usr/bin/x"], path), [0]);
    }
    assert_eq!(found(&["/usr/share/x"], "/share/x"), [0; 0]);
}

#[test]
fn long_names_are_compared_to_their_end() {
    let (long, other) = ("a".repeat(255), format!("{}b", "a".repeat(254)));
    let written = format!("/x/{long}");
    assert_eq!(found(&[&written], &format!("/x/{long}")), [0]);
    assert_eq!(found(&[&written], &format!("/x/{other}")), [0; 0]);
    let starred = format!("/x/{}*", "a".repeat(254));
    assert_eq!(found(&[&starred], &format!("/x/{other}")), [0]);
}

#[test]
fn a_name_with_the_hash_of_another_is_not_that_one() {
    // In the second word, the change that the first one made is undone.
    let name = b"signer-of-things";
    let wanted = hash::<sections::NameSections, _>(&name.as_slice());
    let forged = (0u8..=255).find_map(|byte| {
        let mut first = *b"aaaaaaaa";
        first[0] = byte;
        let after = |word: &[u8; 8]| {
            (16u64.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(0x517c_c1b7_2722_0a95).rotate_left(5)
        };
        let second = after(b"signer-o") ^ u64::from_le_bytes(*b"f-things") ^ after(&first);
        let forged = [first, second.to_le_bytes()].concat();
        (!forged.contains(&0) && !forged.contains(&b'/')).then_some(forged)
    });
    let forged = forged.unwrap();
    assert_eq!(hash::<sections::NameSections, _>(&forged.as_slice()), wanted);
    let automaton = Automaton::of(&["/signer-of-things"]).unwrap();
    let tables = automaton.tables(&[0]).unwrap();
    assert_eq!(symbol(&tables, 1, &name.as_slice()), Some(1));
    assert_eq!(symbol(&tables, 1, &forged.as_slice()), Some(OTHER));
}

#[test]
fn what_is_no_path_is_refused() {
    for (index, path) in ["usr/bin/x", "/usr//x", "/usr/../x", "/usr/", "/a\0b"].iter().enumerate() {
        let written = ["/ok", path];
        assert_eq!(Automaton::of(&written).err(), Some(BuildError::Malformed(1)), "{index}");
    }
    assert!(Automaton::of(&[&"/a".repeat(DEPTH_MAX as usize)]).is_err());
    assert!(Automaton::of(&[&"/a".repeat(DEPTH_MAX as usize - 1)]).is_ok());
}

#[test]
fn names_in_the_middle_of_components_do_not_meet_where_they_are_not_pending_together() {
    let written: Vec<String> = (0..1_000).map(|index| format!("/nix/store/*-tool{index}-*/bin/tool{index}")).collect();
    let written: Vec<&str> = written.iter().map(String::as_str).collect();
    let automaton = Automaton::of(&written).unwrap();
    let tables = automaton.tables(&(0..1_000).collect::<Vec<_>>()).unwrap();
    let place = |path: &str| find(&tables, path).map(|accept| automaton.accepts()[accept as usize].clone());
    assert_eq!(place("/nix/store/abc-tool7-1.0/bin/tool7"), Some(vec![7]));
    assert_eq!(place("/nix/store/abc-tool8-1.0/bin/tool7"), None);
}

#[test]
fn nothing_written_is_nothing_found() {
    assert_eq!(found(&[], "/usr/bin/x"), [0; 0]);
}

fn component() -> impl Strategy<Value = String> {
    prop_oneof!["[ab]{1,3}", Just("*".into()), Just("**".into()), "[ab]{0,2}\\*[ab]{0,2}", "\\*[ab]\\*"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn tables_find_what_is_written(
        written in prop::collection::btree_set(prop::collection::vec(component(), 1..4), 1..6),
        paths in prop::collection::vec(prop::collection::vec("[ab]{1,4}", 1..5), 1..20),
    ) {
        let written: BTreeSet<String> = written.into_iter().map(|parts| format!("/{}", parts.join("/"))).collect();
        let written: Vec<&str> = written.iter().map(String::as_str).collect();
        for path in paths {
            let path = format!("/{}", path.join("/"));
            let meant: Vec<usize> = (0..written.len()).filter(|index| is(written[*index], &path)).collect();
            prop_assert_eq!(found(&written, &path), meant, "{} in {:?}", path, written);
        }
    }
}

#[test]
fn ten_thousand_programs_have_tables() {
    let exact: Vec<String> = (0..10_000).map(|index| format!("/opt/app-{index}/bin/program-{index}")).collect();
    let patterns: Vec<String> = (0..10_000).map(|index| format!("/opt/*/release-*/program-{index}")).collect();
    for written in [exact, patterns] {
        let written: Vec<&str> = written.iter().map(String::as_str).collect();
        let automaton = Automaton::of(&written).unwrap();
        assert_eq!(automaton.accepts().len(), 10_000);
        let tables = automaton.tables(&vec![7; 10_000]).unwrap();
        let path = written[1234].replace('*', "x");
        assert_eq!(find(&tables, &path), Some(7));
    }
}

/// The number of the set that a file matches, in a unit.
fn in_unit(written: &[&str], path: Option<&str>, cgroup: &str) -> Vec<usize> {
    let automaton = Automaton::of(written).unwrap();
    let places: Vec<u32> = (0..automaton.accepts().len() as u32).collect();
    let tables = automaton.tables(&places).unwrap();
    match find_in(&tables, path, cgroup) {
        Some(place) => automaton.accepts()[place as usize].clone(),
        None => Vec::new(),
    }
}

#[test]
fn a_unit_follows_every_path_where_a_program_names_one() {
    let written = [
        "/usr/bin/python3",
        "/usr/bin/python3 in unit backup.service",
        "/** in unit batch@.service",
        "/** in unit batch@blue.service",
        "/opt/** in unit memory.service",
    ];
    let python = Some("/usr/bin/python3");
    for (path, cgroup, matched) in [
        (python, "", &[0][..]),
        (python, "other.service", &[0]),
        (python, "backup.service", &[0, 1]),
        (Some("/bin/python3"), "", &[0]),
        (python, "batch@red.service", &[0, 2]),
        (python, "batch@blue.service", &[0, 2, 3]),
        (python, "batch@.service", &[0, 2]),
        (python, "batch.service", &[0]),
        (python, "xbackup.service", &[0]),
        (python, "backup.service.scope", &[0]),
        (Some("/bin/sh"), "backup.service", &[]),
        (Some("/bin/sh"), "batch@red.service", &[2]),
        (Some("/opt/x"), "memory.service", &[]),
        (Some("/opt/x"), "_memory.service", &[4]),
        (None, "batch@blue.service", &[2, 3]),
        (None, "batch@red.service", &[2]),
        (None, "backup.service", &[]),
        (None, "_memory.service", &[]),
        (None, "", &[]),
    ] {
        assert_eq!(in_unit(&written, path, cgroup), matched, "{path:?} in {cgroup}");
    }
    // A directory that a host may have merged is the last one before the unit.
    let merged = ["/usr/bin/sh in unit a.service"];
    assert_eq!(in_unit(&merged, Some("/bin/sh"), "a.service"), [0]);
    assert_eq!(in_unit(&merged, Some("/usr/bin/sh"), "a.service"), [0]);
    assert_eq!(in_unit(&merged, Some("/sh"), "a.service"), [0; 0]);
}

#[test]
fn without_a_unit_nothing_is_asked_of_units() {
    let written = ["/usr/bin/python3", "/**"];
    assert_eq!(in_unit(&written, Some("/usr/bin/python3"), "backup.service"), [0, 1]);
    assert_eq!(in_unit(&written, None, "backup.service"), [0; 0]);
    let tables = Automaton::of(&written).unwrap().tables(&[0, 1]).unwrap();
    assert_eq!((tables.root.flags, tables.root.elsewhere), (0, 0));
}

#[test]
fn a_unit_that_is_no_name_of_a_cgroup_is_malformed() {
    for text in ["/x in unit a/b.service", "/x in unit "] {
        assert!(matches!(Automaton::of(&[text]), Err(BuildError::Malformed(0))), "{text}");
    }
}
