//! Whether the policy is still enforced as it was applied: the links, their programs, and the paths that the policy
//! names. Read-only: applying a policy does not depend on it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bfp_bundle::debug::{Debug, DebugNotes};
use bfp_bundle::image::NamedExecutable;
use bfp_bundle::manifest::{Need, Parameter};
use bfp_bundle::names::build::canonical;

use crate::admit::state;
use crate::failure::Failure;
use crate::host::followed;
use crate::host::followed::FollowedLink;
use crate::host::syscall::{self, LinkInfo};
use crate::kernel::about::About;
use crate::kernel::enforced_bundle::EnforcedBundle;
use crate::kernel::object::{
    ACCEPTING_HOOK, ATTACHED_ALWAYS, DECIDING_HOOKS, LABELLING_HOOKS, LABELS, LOCKDOWN_HOOKS, SPLICE_HOOK,
    SPLICE_HOOK_BEFORE, VERDICTS,
};
use crate::kernel::pins::{LINK, LOCKDOWN_LINK, Pins, PinsError, names};

/// The most bytes of a program's name that the kernel keeps (include/linux/bpf.h, `BPF_OBJ_NAME_LEN`, with a zero).
const KERNEL_NAME: usize = 15;

/// A released link is gone after this time.
const SETTLE: Duration = Duration::from_millis(500);

/// The attached links of a generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// How many links there must be.
    pub expected: usize,
    /// How many exist and are attached.
    pub found: usize,
    /// The faults of the others.
    pub faults: Vec<String>,
}

/// Queries each link of a generation for its program.
pub fn attached(folder: &Path, about: &About) -> Result<Attached, PinsError> {
    let pinned: BTreeSet<String> = names(folder)?.into_iter().collect();
    let expected = expected(about, &pinned);
    let faults: Vec<String> =
        expected.iter().filter_map(|name| fault_of(&folder.join(name), name, pinned.contains(name))).collect();
    Ok(Attached { expected: expected.len(), found: expected.len() - faults.len(), faults })
}

/// The links that were attached. The releases that did not record them always attached the same ones, except for the
/// hook that some kernels need.
fn expected(about: &About, pinned: &BTreeSet<String>) -> Vec<String> {
    let named = |prefix: &str, hooks: &[&str]| hooks.iter().map(|hook| format!("{prefix}{hook}")).collect::<Vec<_>>();
    let mut expected = about.attached.clone();
    if expected.is_empty() {
        expected =
            [named(LINK, &LABELLING_HOOKS), named(LINK, &DECIDING_HOOKS), named(LINK, &ATTACHED_ALWAYS)].concat();
        expected.retain(|name| name.strip_prefix(LINK) != Some(ACCEPTING_HOOK));
        expected.extend(named(LINK, &[SPLICE_HOOK_BEFORE]).into_iter().filter(|name| pinned.contains(name)));
    }
    if pinned.iter().any(|name| name.starts_with(LOCKDOWN_LINK)) {
        expected.extend(named(LOCKDOWN_LINK, &LOCKDOWN_HOOKS));
    }
    expected
}

fn fault_of(path: &Path, name: &str, is_pinned: bool) -> Option<String> {
    if !is_pinned {
        return Some(format!("the link `{name}` is gone"));
    }
    let hook = name.strip_prefix(LINK).or(name.strip_prefix(LOCKDOWN_LINK)).unwrap_or(name);
    match asked(path) {
        Ok((link, program)) if link.is_attached && hook.starts_with(&program) && !program.is_empty() => None,
        Ok((link, program)) if link.is_attached => Some(format!("the link `{name}` has another program, `{program}`")),
        Ok(_) => Some(format!("the link `{name}` is no longer attached")),
        Err(error) => Some(format!("the link `{name}` cannot be queried: {error}")),
    }
}

/// A link, and the name of its program.
fn asked(path: &Path) -> io::Result<(LinkInfo, String)> {
    let link = syscall::link_info(syscall::open_pin(path)?.as_fd())?;
    let program = syscall::open_program(link.program)?;
    Ok((link, syscall::program_info(program.as_fd())?.name))
}

/// Other links of the enforcer in the kernel: of incomplete generations, and links that have lost their pins.
pub fn strays(pins: Option<&Pins>) -> io::Result<Vec<String>> {
    let mut strays = Vec::new();
    if let Some(pins) = pins {
        let complete = pins.newest().map_err(io::Error::other)?;
        let left = folders(pins)?.into_iter().filter(|folder| Some(folder) != complete.as_ref());
        strays.extend(
            left.map(|folder| format!("`{}` is left over from an apply that did not complete", folder.display())),
        );
    }
    strays.extend(lost(pins)?);
    Ok(strays)
}

/// Deciding links that have no pin here any more, if there are any. Something else holds them, and the enforcer cannot
/// remove them.
pub fn lost(pins: Option<&Pins>) -> io::Result<Option<String>> {
    let mut known = BTreeSet::new();
    for folder in pins.map(folders).transpose()?.into_iter().flatten() {
        for name in names(&folder).map_err(io::Error::other)? {
            if name.starts_with(LINK) || name.starts_with(LOCKDOWN_LINK) {
                // A link that cannot be queried is reported with its generation.
                known.extend(
                    syscall::open_pin(&folder.join(name))
                        .and_then(|link| syscall::link_info(link.as_fd()))
                        .map(|link| link.number),
                );
            }
        }
    }
    let count = || -> io::Result<usize> {
        let unknown = syscall::link_numbers()?.into_iter().filter(|number| !known.contains(number));
        // A link that is gone by now decides nothing.
        Ok(unknown.filter(|number| is_own(*number).unwrap_or(false)).count())
    };
    let mut lost = count()?;
    if lost > 0 {
        // The kernel releases a link some time after its pin is removed (kernel/bpf/inode.c, `bpf_free_inode`).
        std::thread::sleep(SETTLE);
        lost = count()?;
    }
    Ok((lost > 0).then(|| format!("{lost} links of a policy whose pins are gone still decide")))
}

/// The directories of all generations, complete or not.
fn folders(pins: &Pins) -> io::Result<Vec<PathBuf>> {
    let all = names(pins.root()).map_err(io::Error::other)?.into_iter().map(|name| pins.root().join(name));
    Ok(all.filter(|path| path.is_dir()).collect())
}

/// Whether a link has one of the enforcer's programs, by its name and by the name of a map that it uses.
fn is_own(number: u32) -> io::Result<bool> {
    let link = syscall::link_info(syscall::open_link(number)?.as_fd())?;
    let program = syscall::program_info(syscall::open_program(link.program)?.as_fd())?;
    let hooks = LABELLING_HOOKS.iter().chain(&DECIDING_HOOKS).chain(&ATTACHED_ALWAYS).chain(&LOCKDOWN_HOOKS);
    let mut names = hooks.chain(&[SPLICE_HOOK, SPLICE_HOOK_BEFORE]).map(|hook| hook.get(..KERNEL_NAME).unwrap_or(hook));
    if !names.any(|name| name == program.name) {
        return Ok(false);
    }
    for map in program.maps {
        let name = syscall::map_name(map)?;
        if name == LABELS || name == VERDICTS {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The state of a path that the policy names, on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The file exists, and has a pinned content if the policy pins one.
    Bound,
    /// Nothing exists there.
    NotHere,
    /// It leads here through a symbolic link that was followed.
    Link(PathBuf),
    /// It leads through a symbolic link that was not followed, so it names no program.
    Elsewhere(PathBuf),
    /// The file has none of the pinned contents.
    OtherContent,
    /// It is a pattern, which any number of files can match.
    Pattern,
}

impl Presence {
    /// As one word.
    pub fn word(&self) -> &'static str {
        match self {
            Presence::Bound => "bound",
            Presence::NotHere => "not_here",
            Presence::Link(_) => "link",
            Presence::Elsewhere(_) => "link_not_followed",
            Presence::OtherContent => "other_content",
            Presence::Pattern => "pattern",
        }
    }

    /// As a phrase.
    pub fn words(&self) -> String {
        match self {
            Presence::Bound => "bound".to_owned(),
            Presence::NotHere => "not here".to_owned(),
            Presence::Link(target) => format!("link to `{}`", target.display()),
            Presence::Elsewhere(target) => {
                format!("link to `{}`, which was not followed: it names no program", target.display())
            }
            Presence::OtherContent => "content differs from the pinned digests: it holds no grants".to_owned(),
            Presence::Pattern => "pattern".to_owned(),
        }
    }
}

/// A path that the policy names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPath {
    /// The path.
    pub path: String,
    /// For a library, the program that may map it.
    pub library_of: Option<String>,
    /// Its state on this host.
    pub presence: Presence,
}

/// What the bundle on disk says about the enforced policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The paths that the policy names.
    pub paths: Vec<NamedPath>,
    /// The number of rules.
    pub rules: usize,
    /// The number of audited rules.
    pub audited: usize,
    /// What the authors of rules wrote about them, in the order of the rules.
    pub notes: Vec<DebugNotes>,
    /// The values of the policy's parameters.
    pub parameters: Vec<Parameter>,
}

/// Reads the bundle on disk of the enforced policy.
pub fn kept(state: &Path, about: &About, capabilities: &[Need]) -> Result<Kept, Failure> {
    let bytes = state::kept_bundle(state, &about.manifest_digest)?;
    let enforced = EnforcedBundle::verify(&bytes, about, capabilities)?;
    let bundle = enforced.bundle();
    // The debug section is informational: it affects neither verdicts nor health.
    let Debug { rules, notes, .. } = bundle.debug().unwrap_or_default();
    let audited = rules.iter().filter(|rule| rule.is_audited).count();
    let parameters = bundle.manifest().parameters.clone();
    let paths = look_at(&bundle.executables()?, &about.links);
    Ok(Kept { paths, rules: rules.len(), audited, notes, parameters })
}

fn look_at(executables: &[NamedExecutable], followed: &[FollowedLink]) -> Vec<NamedPath> {
    let mut paths = Vec::new();
    for executable in executables.iter().filter(|executable| executable.is_written()) {
        let presence = presence(executable.file(), &executable.pins, followed);
        paths.push(NamedPath { path: executable.path.clone(), library_of: None, presence });
        for library in executable.libraries.iter().flatten() {
            let presence = presence_of_library(&library.path, &library.pins);
            let library_of = Some(executable.path.clone());
            paths.push(NamedPath { path: library.path.clone(), library_of, presence });
        }
    }
    paths
}

fn presence(path: &str, pins: &[[u8; 32]], followed: &[FollowedLink]) -> Presence {
    if path.contains('*') {
        return Presence::Pattern;
    }
    let Some(way) = followed::follow(Path::new(path)) else { return Presence::NotHere };
    let has_links = !way.links.is_empty() && canonical(&way.end.to_string_lossy()) != canonical(path);
    if has_links && !followed.iter().any(|link| Path::new(path).starts_with(&link.link)) {
        return Presence::Elsewhere(way.end);
    }
    match content(&way.end, pins) {
        Presence::Bound if has_links => Presence::Link(way.end),
        other => other,
    }
}

/// A library is found by its loader, through links too.
fn presence_of_library(path: &str, pins: &[[u8; 32]]) -> Presence {
    match followed::leads_to(Path::new(path)) {
        Some(end) => content(&end, pins),
        None => Presence::NotHere,
    }
}

fn content(path: &Path, pins: &[[u8; 32]]) -> Presence {
    if !path.is_file() {
        return Presence::NotHere;
    }
    let measured = || File::open(path).and_then(|file| syscall::measure_verity(file.as_fd())).ok().flatten();
    if pins.is_empty() || measured().is_some_and(|digest| pins.contains(&digest)) {
        Presence::Bound
    } else {
        Presence::OtherContent
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::kernel::about::tests::about;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_path_is_reported_by_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(folder.path()).unwrap();
        let text = |name: &str| root.join(name).to_string_lossy().into_owned();
        std::fs::create_dir(root.join("r1")).unwrap();
        std::fs::write(root.join("r1/app"), "").unwrap();
        symlink("r1", root.join("current")).unwrap();
        let followed = [FollowedLink { link: text("current"), target: text("r1") }];
        let of = |name: &str, pins: &[[u8; 32]], followed: &[FollowedLink]| presence(&text(name), pins, followed);
        assert_eq!(of("r1/app", &[], &[]), Presence::Bound);
        assert_eq!(of("r1/none", &[], &[]), Presence::NotHere);
        assert_eq!(of("r1", &[], &[]), Presence::NotHere);
        assert_eq!(of("r1/app", &[[1; 32]], &[]), Presence::OtherContent);
        assert_eq!(of("current/app", &[], &followed), Presence::Link(root.join("r1/app")));
        assert_eq!(of("current/app", &[], &[]), Presence::Elsewhere(root.join("r1/app")));
        assert_eq!(of("current/none", &[], &followed), Presence::NotHere);
        assert_eq!(of("*/app", &[], &[]), Presence::Pattern);
    }

    #[test]
    fn what_was_attached_is_expected_and_of_the_release_before_what_it_always_attached() {
        let pinned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(expected(&about("web", 3), &pinned(&[])), ["link_egress"]);
        let locked = expected(&about("web", 3), &pinned(&["lock_bpf"]));
        assert_eq!(locked.len(), 1 + LOCKDOWN_HOOKS.len());
        let old = About { attached: vec![], ..about("web", 3) };
        let always = expected(&old, &pinned(&[]));
        assert_eq!(always.len(), LABELLING_HOOKS.len() - 1 + DECIDING_HOOKS.len() + ATTACHED_ALWAYS.len());
        assert_eq!(expected(&old, &pinned(&["link_file_permission"])).len(), always.len() + 1);
    }

    #[test]
    fn a_pin_that_is_gone_or_is_none_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let found = attached(folder.path(), &about("web", 3)).unwrap();
        assert_eq!((found.expected, found.found), (1, 0));
        assert_eq!(found.faults, ["the link `link_egress` is gone"]);
        std::fs::write(folder.path().join("link_egress"), "").unwrap();
        let found = attached(folder.path(), &about("web", 3)).unwrap();
        assert!(found.faults.first().unwrap().contains("cannot be queried"), "{found:?}");
    }
}
