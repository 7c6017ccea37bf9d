//! Symbolic links: the further names that the programs of a policy have on this host.
//!
//! The kernel knows a file by its own name and by no link that leads to it. So a written path that leads through links
//! is followed when a policy is applied, where only root can change them, and what it leads to becomes another name of
//! the same program, in tables of their own. The part of a path before its first `*` is followed. Nothing else is
//! looked up; what is not there today is found by its name tomorrow.
//!
//! What a link led to before it was switched is restricted for as long as it is there, and holds no grant: an old
//! release that somebody starts is no program without rules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bfp_bundle::image::{NamedExecutable, encode, together};
use bfp_bundle::manifest::SectionKind;
use bfp_bundle::names::Match;
use bfp_bundle::names::build::{Automaton, BuildError, canonical};
use bfp_bundle::names::sections::NameSections;

use crate::host::folders::{Entry, Folders, Host, Leads};
use crate::host::followed::FollowedLink;
use crate::kernel::lack::Lack;

/// A written path that leads elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// As the policy names it.
    pub path: String,
    /// The links on the way.
    pub links: Vec<String>,
    /// Where it leads.
    pub to: String,
    /// Whether the policy names the other path too.
    pub also_written: bool,
    /// What was followed of the path, and to where.
    pub link: FollowedLink,
}

impl Followed {
    /// What to write in a policy in place of the path, so that it needs no link: the name that changes as a `*`, where
    /// a link leads to its neighbour.
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
    /// What becomes of a process of each.
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

/// What this host makes of the names in a policy.
#[derive(Debug)]
pub struct Survey {
    /// The written paths that lead elsewhere.
    pub followed: Vec<Followed>,
    /// Where links on these paths led before, and something still is: each once, in the order of their paths.
    pub earlier: Vec<FollowedLink>,
    /// What they lead to, and led, where any does.
    pub aliases: Option<Aliases>,
    /// What is not as the policy says.
    pub lacks: Vec<Lack>,
}

impl Survey {
    /// The links that were followed, each once, in the order of their paths.
    pub fn links(&self) -> Vec<FollowedLink> {
        in_order(self.followed.iter().map(|one| one.link.clone()))
    }
}

/// Each link once, in the order of their paths: two patterns may begin with the same one.
fn in_order(links: impl IntoIterator<Item = FollowedLink>) -> Vec<FollowedLink> {
    links.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}

/// The programs that a name is by links.
#[derive(Debug, Default)]
struct Led {
    /// Those whose links lead there,
    now: Vec<Match>,
    /// and those whose links did before.
    before: Vec<Match>,
}

/// Looks for the programs of a policy, of which `matches` holds what becomes of each. `before` is where links led at
/// earlier times.
pub fn survey<H: Host>(
    executables: &[NamedExecutable],
    matches: &[Match],
    before: &[FollowedLink],
    folders: &mut Folders<H>,
) -> Result<Survey, BuildError> {
    let mut survey = Survey { followed: Vec::new(), earlier: Vec::new(), aliases: None, lacks: Vec::new() };
    let mut led: BTreeMap<String, Led> = BTreeMap::new();
    for (executable, found) in executables.iter().zip(matches).filter(|(executable, _)| executable.is_written()) {
        let path = &executable.path;
        let (folder, pattern) = spelt_out(path);
        let now = follow(path, folders, &mut survey);
        for earlier in before.iter().filter(|earlier| earlier.link == folder) {
            let is_there = folders.entry(Path::new(&earlier.target)).is_some();
            if is_there && now.as_ref() != Some(earlier) {
                led.entry(name(&earlier.target, pattern)).or_default().before.push(*found);
                survey.earlier.push(earlier.clone());
            }
        }
        if let Some(now) = now {
            led.entry(name(&now.target, pattern)).or_default().now.push(*found);
        }
    }
    for followed in &mut survey.followed {
        followed.also_written = executables.iter().any(|other| canonical(&other.path) == canonical(&followed.to));
    }
    survey.earlier = in_order(survey.earlier);
    if !led.is_empty() {
        survey.aliases = Some(Aliases::of(&led, &mut survey.lacks)?);
    }
    Ok(survey)
}

/// Where a written path leads, if that is elsewhere; notes what there is to say of it.
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
    // `/bin` and `/usr/bin` of a merged host are one name already.
    if links.is_empty() || canonical(&to) == canonical(path) {
        return None;
    }
    let links = links.iter().map(|link| link.to_string_lossy().into_owned()).collect();
    let link = FollowedLink { link: folder.to_owned(), target: target.to_owned() };
    survey.followed.push(Followed { path: path.to_owned(), links, to, also_written: false, link: link.clone() });
    Some(link)
}

/// The path of what a pattern is below a folder.
fn below(folder: &str, pattern: &str) -> String {
    format!("{}{pattern}", folder.trim_end_matches('/'))
}

/// The same, as the kernel's tables have it.
fn name(folder: &str, pattern: &str) -> String {
    canonical(&below(folder, pattern)).into_owned()
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

/// A written path up to its first component with a `*`, and the rest of it.
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
        // Of the program that leads there now it holds the grants.
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
    fn a_link_to_another_written_program_is_told_as_that() {
        let survey = surveyed(&["/usr/bin/python3", "/usr/bin/python3.11"]);
        assert!(survey.followed[0].also_written);
    }

    #[test]
    fn what_is_not_there_and_links_of_others_are_told() {
        let survey = surveyed(&["/usr/bin/none", "/home/eve/agent", "/opt/none/*/bin/x", "/usr/bin"]);
        let told: Vec<String> = survey.lacks.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "`/usr/bin/none` is not on this host: nobody holds its grants",
                "`/home/eve/agent` leads through `/home/eve/agent`, a link that others than root can change: it names \
                 nobody",
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
