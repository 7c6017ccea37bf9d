//! Symbolic links: the further names that a policy's programs have on this host.
//!
//! The kernel knows a file by its own name, and not by links to it. So when a policy is applied, a written path with
//! links is followed, if only root can change them, and its target becomes another name of the same program, in
//! separate tables. Of a pattern, the part before the first `*` is followed. Nothing else is looked up: a file that
//! does not exist today is found by its name once it does.
//!
//! The former target of a switched link stays restricted for as long as it exists, and holds no grant: an old release
//! that is started again is not an unlisted program.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bfp_bundle::image::{NamedExecutable, encode, together};
use bfp_bundle::manifest::SectionKind;
use bfp_bundle::names::Match;
use bfp_bundle::names::build::{Automaton, BuildError, canonical};
use bfp_bundle::names::sections::NameSections;
use bfp_bundle::names::unit;

use crate::host::folders::{Entry, Folders, Host, Leads};
use crate::host::followed::FollowedLink;
use crate::kernel::lack::Lack;

/// A written path that leads elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// The path in the policy.
    pub path: String,
    /// The links on the way.
    pub links: Vec<String>,
    /// The path that it leads to.
    pub to: String,
    /// Whether the policy also names that path.
    pub also_written: bool,
    /// The part of the path that was followed, and its target.
    pub link: FollowedLink,
}

impl Followed {
    /// The path to write in the policy instead, which needs no link: with a `*` for the name that changes, if a link
    /// leads to a sibling.
    pub fn pattern(&self) -> String {
        let [link] = self.links.as_slice() else { return self.to.clone() };
        let rest = self.path.strip_prefix(link.as_str()).filter(|rest| rest.starts_with('/'));
        match (link.rsplit_once('/'), rest) {
            (Some((folder, _)), Some(rest)) if self.to.strip_suffix(rest).is_some_and(|to| is_in(to, folder)) => {
                format!("{folder}/*{rest}")
            }
            _ => self.to.clone(),
        }
    }
}

fn is_in(path: &str, folder: &str) -> bool {
    path.rsplit_once('/').is_some_and(|(parent, _)| parent == folder)
}

/// The tables of the names that links lead to.
#[derive(Clone, Debug)]
pub struct Aliases {
    /// Which of the matches a file is.
    pub names: NameSections,
    /// What each match does to a process.
    pub matches: Vec<Match>,
}

impl Aliases {
    /// The bytes of one of the tables.
    pub fn section(&self, kind: SectionKind) -> Vec<u8> {
        match kind {
            SectionKind::Matches => encode(&self.matches),
            names => self.names.section(names),
        }
    }
}

/// The names of a policy as they resolve on this host.
#[derive(Debug)]
pub struct Survey {
    /// The written paths that lead elsewhere.
    pub followed: Vec<Followed>,
    /// Former targets of links on these paths that still exist, each once, ordered by path.
    pub earlier: Vec<FollowedLink>,
    /// The tables for current and former targets, if there are any.
    pub aliases: Option<Aliases>,
    /// The parts of the policy that do not hold.
    pub lacks: Vec<Lack>,
}

impl Survey {
    /// The links that were followed, each once, ordered by path.
    pub fn links(&self) -> Vec<FollowedLink> {
        in_order(self.followed.iter().map(|one| one.link.clone()))
    }
}

/// Each link once, ordered by path: two patterns may start with the same link.
fn in_order(links: impl IntoIterator<Item = FollowedLink>) -> Vec<FollowedLink> {
    links.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}

/// The programs that a name stands for by links.
#[derive(Debug, Default)]
struct Led {
    /// Programs whose links lead there now.
    now: Vec<Match>,
    /// Programs whose links led there before.
    before: Vec<Match>,
}

/// Looks for the programs of a policy. `matches` has what each one does to a process. `before` is where links led
/// earlier.
pub fn survey<H: Host>(
    executables: &[NamedExecutable],
    matches: &[Match],
    before: &[FollowedLink],
    folders: &mut Folders<H>,
) -> Result<Survey, BuildError> {
    let mut survey = Survey { followed: Vec::new(), earlier: Vec::new(), aliases: None, lacks: Vec::new() };
    let mut led: BTreeMap<String, Led> = BTreeMap::new();
    for (executable, found) in executables.iter().zip(matches).filter(|(executable, _)| executable.is_written()) {
        let (path, unit) = unit::split(&executable.path);
        let (folder, pattern) = spelt_out(path);
        let now = follow(path, folders, &mut survey);
        for earlier in before.iter().filter(|earlier| earlier.link == folder) {
            let is_there = folders.entry(Path::new(&earlier.target)).is_some();
            if is_there && now.as_ref() != Some(earlier) {
                led.entry(name(&earlier.target, pattern, unit)).or_default().before.push(*found);
                survey.earlier.push(earlier.clone());
            }
        }
        if let Some(now) = now {
            led.entry(name(&now.target, pattern, unit)).or_default().now.push(*found);
        }
    }
    for followed in &mut survey.followed {
        followed.also_written = executables.iter().any(|other| canonical(other.file()) == canonical(&followed.to));
    }
    survey.earlier = in_order(survey.earlier);
    if !led.is_empty() {
        survey.aliases = Some(Aliases::of(&led, &mut survey.lacks)?);
    }
    Ok(survey)
}

/// Where a written path leads, if elsewhere. Notes any fault in the survey.
fn follow<H: Host>(path: &str, folders: &mut Folders<H>, survey: &mut Survey) -> Option<FollowedLink> {
    let (folder, pattern) = spelt_out(path);
    let (to, links) = match folders.follow(Path::new(folder)) {
        Leads::Foreign(link) => {
            let link = link.to_string_lossy().into_owned();
            survey.lacks.push(Lack::ForeignLink { path: path.to_owned(), link });
            return None;
        }
        Leads::Nowhere(to, links) | Leads::To(to, links) => (to, links),
    };
    if pattern.is_empty() && folders.entry(&to) != Some(Entry::File) {
        survey.lacks.push(Lack::Missing { path: path.to_owned() });
    }
    let target = to.to_str()?;
    let to = below(target, pattern);
    // `/bin` and `/usr/bin` of a merged host are already one name.
    if links.is_empty() || canonical(&to) == canonical(path) {
        return None;
    }
    let links = links.iter().map(|link| link.to_string_lossy().into_owned()).collect();
    let link = FollowedLink { link: folder.to_owned(), target: target.to_owned() };
    survey.followed.push(Followed { path: path.to_owned(), links, to, also_written: false, link: link.clone() });
    Some(link)
}

/// The path that a pattern becomes below a directory.
fn below(folder: &str, pattern: &str) -> String {
    format!("{}{pattern}", folder.trim_end_matches('/'))
}

/// The same in a unit, as the kernel's tables spell it.
fn name(folder: &str, pattern: &str, unit: Option<&str>) -> String {
    let path = canonical(&below(folder, pattern)).into_owned();
    unit.map_or_else(|| path.clone(), |unit| unit::text(&path, unit))
}

impl Aliases {
    fn of(led: &BTreeMap<String, Led>, lacks: &mut Vec<Lack>) -> Result<Aliases, BuildError> {
        let written: Vec<&str> = led.keys().map(String::as_str).collect();
        let automaton = Automaton::of(&written)?;
        let matches = automaton.accepts().iter().map(|accept| {
            let names: Vec<&str> = accept.iter().filter_map(|index| written.get(*index).copied()).collect();
            let of = |part: fn(&Led) -> &Vec<Match>| names.iter().filter_map(|name| led.get(*name)).flat_map(part);
            let now: Vec<Match> = of(|led| &led.now).copied().collect();
            let mut all = together(&now).unwrap_or(Match::NOTHING);
            let mut has_room = true;
            for one in of(|led| &led.now).chain(of(|led| &led.before)) {
                has_room &= all.confine(one);
            }
            if !has_room {
                lacks.push(Lack::Crowded { path: names.join("`, `") });
            }
            all
        });
        let matches: Vec<Match> = matches.collect();
        let places: Vec<u32> = (0..matches.len() as u32).collect();
        Ok(Aliases { names: automaton.tables(&places)?, matches })
    }
}

/// A written path up to its first component with a `*`, and the rest.
fn spelt_out(path: &str) -> (&str, &str) {
    match path.find('*').and_then(|star| path.get(..star)?.rfind('/')) {
        Some(slash) => path.split_at(slash),
        None => (path, ""),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]
    use bfp_bundle::names;

    use super::*;
    use crate::host::folders::tests::MadeUp;

    fn executable(path: &str, program: u64) -> NamedExecutable {
        NamedExecutable {
            path: path.to_owned(),
            program,
            flags: Match::RESTRICTED,
            pins: Vec::new(),
            libraries: None,
            members: Vec::new(),
        }
    }

    fn surveyed(paths: &[&str]) -> Survey {
        surveyed_after(paths, &[])
    }

    fn surveyed_after(paths: &[&str], before: &[FollowedLink]) -> Survey {
        let executables: Vec<_> = paths.iter().zip(1..).map(|(path, program)| executable(path, program)).collect();
        let matches: Vec<Match> = executables.iter().map(NamedExecutable::alone).collect();
        let host = MadeUp {
            files: vec!["/opt/app/r2/bin/app", "/usr/bin/busybox", "/usr/bin/python3.11", "/home/eve/x"],
            links: vec![
                ("/opt/app/current", "r2"),
                ("/usr/bin/wget", "busybox"),
                ("/usr/bin/nc", "busybox"),
                ("/usr/bin/python3", "python3.11"),
                ("/bin", "usr/bin"),
                ("/home/eve/agent", "/usr/bin/busybox"),
            ],
            writable: vec!["/home/eve"],
        };
        survey(&executables, &matches, before, &mut Folders::new(host)).unwrap()
    }

    fn alias(survey: &Survey, path: &str) -> Option<Match> {
        let aliases = survey.aliases.as_ref()?;
        Some(aliases.matches[names::find(&aliases.names, path)? as usize])
    }

    #[test]
    fn what_a_link_leads_to_is_another_name_of_the_program() {
        let survey = surveyed(&["/opt/app/current/bin/app", "/opt/app/current/lib/*"]);
        assert_eq!(alias(&survey, "/opt/app/r2/bin/app").unwrap().program, 1);
        assert_eq!(alias(&survey, "/opt/app/r2/lib/x").unwrap().program, 2);
        assert_eq!(alias(&survey, "/opt/app/r1/bin/app"), None);
        assert_eq!(survey.followed[0].pattern(), "/opt/app/*/bin/app");
        assert_eq!(survey.followed[0].links, ["/opt/app/current"]);
    }

    #[test]
    fn what_a_link_led_to_before_is_restricted_while_it_is_there() {
        let lead =
            |target: &str| FollowedLink { link: "/opt/app/current/bin/app".to_owned(), target: target.to_owned() };
        let before = [lead("/usr/bin/busybox"), lead("/opt/app/r0/bin/app"), lead("/opt/app/r2/bin/app")];
        let survey = surveyed_after(&["/opt/app/current/bin/app", "/usr/bin/wget"], &before);
        assert_eq!(survey.earlier, before[..1]);
        assert_eq!(alias(&survey, "/opt/app/r2/bin/app").unwrap().program, 1);
        // It holds the grants of the program that leads there now.
        let old = alias(&survey, "/usr/bin/busybox").unwrap();
        assert_eq!((old.program, old.restricted().collect::<Vec<_>>()), (2, vec![2, 1]));
        assert_eq!(alias(&survey, "/opt/app/r0/bin/app"), None);

        let alone = surveyed_after(&["/opt/app/current/bin/app"], &before);
        let old = alias(&alone, "/usr/bin/busybox").unwrap();
        assert_eq!((old.program, old.restricted().collect::<Vec<_>>()), (0, vec![1]));
    }

    #[test]
    fn a_link_that_two_patterns_begin_with_is_one() {
        let survey = surveyed(&["/usr/bin/wget", "/opt/app/current/lib/*", "/opt/app/current/lib/**", "/usr/bin/nc"]);
        let links: Vec<String> = survey.links().into_iter().map(|one| one.link).collect();
        assert_eq!(links, ["/opt/app/current/lib", "/usr/bin/nc", "/usr/bin/wget"]);
    }

    #[test]
    fn a_merged_usr_needs_no_alias() {
        let survey = surveyed(&["/bin/busybox"]);
        assert!(survey.aliases.is_none() && survey.followed.is_empty() && survey.lacks.is_empty());
    }

    #[test]
    fn programs_that_lead_to_one_file_restrict_it_together_and_grant_it_nothing() {
        let survey = surveyed(&["/usr/bin/wget", "/usr/bin/nc"]);
        let both = alias(&survey, "/usr/bin/busybox").unwrap();
        assert_eq!((both.program, both.restricted().collect::<Vec<_>>()), (0, vec![1, 2]));
        assert_eq!(survey.followed[0].pattern(), "/usr/bin/busybox");
    }

    #[test]
    fn a_link_to_another_written_program_is_reported_as_that() {
        let survey = surveyed(&["/usr/bin/python3", "/usr/bin/python3.11"]);
        assert!(survey.followed[0].also_written);
    }

    #[test]
    fn what_is_not_there_and_links_of_others_are_reported() {
        let survey = surveyed(&["/usr/bin/none", "/home/eve/agent", "/opt/none/*/bin/x", "/usr/bin"]);
        let found: Vec<String> = survey.lacks.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "`/usr/bin/none` is not on this host: nobody holds its grants",
                "`/home/eve/agent` leads through `/home/eve/agent`, a link that users other than root can change: it names \
                 no program",
                "`/usr/bin` is not on this host: nobody holds its grants",
            ]
        );
        assert!(survey.aliases.is_none());
    }

    #[test]
    fn nine_programs_by_links_to_one_file_are_too_many() {
        let nine: Vec<Match> = (1..=9).map(|program| executable("/x", program).alone()).collect();
        assert_eq!(together(&nine), None);
    }
}
