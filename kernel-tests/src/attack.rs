//! The attack catalogue: one file of fixtures/attacks/ for each technique. What enters: these files. What
//! leaves: the cells of the matrix (who attacks, as which user, over what), and the table of docs/attacks.md.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;

use crate::entries::{self, User};

/// A technique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The file's name.
    pub name: String,
    /// What it is, in a line.
    pub title: String,
    /// How it works.
    pub how: String,
    /// Who tries it, and what must come of it.
    expected: Vec<(Who, Expectation)>,
    /// Who tries it under a locked policy too, and the errno that they must see there.
    locked: Vec<(Who, String)>,
    /// As whom.
    pub users: Vec<User>,
    /// Over what.
    pub targets: Vec<Target>,
    /// What shows, without a policy, that it works.
    shows: Shows,
    /// What shows instead for some, such as those under kernels that lack the thing.
    shows_on: Vec<(Who, String)>,
    /// Who must run and hold a connection for it.
    pub victim: Option<Victim>,
    /// What happens once the attacker says `waits`.
    pub meanwhile: Option<Meanwhile>,
    /// Whether a stranger begins it, and starts the attacker.
    pub begun_by_a_stranger: bool,
    /// Whether the message is in the header of segments without data, where [`MARK`] stands for it.
    pub in_the_header: bool,
    /// Whether the signer is linked to its libraries when it starts.
    pub dynamic_signer: bool,
    /// Whether it can leave the policy, or what the policy stands on, other than it was.
    pub unsettles: bool,
    technique: Option<String>,
}

/// The series of kernels under which every row is tried, the oldest first.
pub const SERIES: [&str; 4] = ["6.1", "6.12", "6.18", "7.3"];

/// The time to live and the type of service that say something: no packet has it unless it is told to. The kernel takes
/// it for either, since its last two bits are zero.
pub const MARK: u8 = 0x54;

/// For whom something holds: an attacker, a user, a series of kernels, or several of these. In a file it is
/// written `stranger as root on 6.1`; what is left out is anyone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Who {
    attacker: Option<Attacker>,
    user: Option<User>,
    series: Option<String>,
}

/// What must come of an attack while the policy is enforced.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expectation {
    /// The attacker sees this errno, and no packet is on its way; `silence` where the kernel tells the
    /// attacker nothing.
    Refused(String),
    /// It works: a limit that is stated, and why it is one.
    GetsThrough(String),
    /// Nobody tries it, and why.
    NotTried(String),
}

/// Who attacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attacker {
    /// A confined program, which wants out.
    App,
    /// A program that the policy does not name, which wants at what is exclusive.
    Stranger,
}

/// A process that is attacked from another one of the same user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Victim {
    /// Alone reaches what the stranger wants to reach.
    Signer,
    /// May reach what the app wants to reach, since no rule is about it.
    Stranger,
}

/// What happens in the middle of an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Meanwhile {
    /// A higher revision is applied, which names a further program; where nothing is enforced, nothing.
    Revision,
    /// Another build of the signer is renamed into its place.
    Upgrade,
}

/// Over what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "a transport and a version of IP each")]
pub enum Target {
    Tcp4,
    Tcp6,
    Udp4,
    Udp6,
}

/// What shows that an attack works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shows {
    /// A packet on its way to the forbidden address.
    Packet,
    /// The last word of the attacker's answer: `ok`, or the errno of a kernel that lacks the thing, so that
    /// the refusal is seen to come first.
    Answer(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: String,
    how: String,
    #[serde(default)]
    refused: BTreeMap<String, String>,
    #[serde(default)]
    gets_through: BTreeMap<String, String>,
    #[serde(default)]
    not_tried: BTreeMap<String, String>,
    #[serde(default)]
    locked: BTreeMap<String, String>,
    users: Vec<User>,
    targets: Vec<Target>,
    shows: Option<String>,
    #[serde(default)]
    shows_on: BTreeMap<String, String>,
    victim: Option<Victim>,
    meanwhile: Option<Meanwhile>,
    #[serde(default)]
    begun_by_a_stranger: bool,
    #[serde(default)]
    in_the_header: bool,
    #[serde(default)]
    dynamic_signer: bool,
    #[serde(default)]
    unsettles: bool,
    technique: Option<String>,
}

/// The series of a kernel's release: `6.1` of `6.1.0-50-cloud-amd64`.
#[must_use]
pub fn series_of(release: &str) -> String {
    release.split('.').take(2).collect::<Vec<_>>().join(".")
}

impl Who {
    fn parse(text: &str) -> Result<Who, String> {
        let mut who = Who::default();
        let mut words = text.split_whitespace();
        while let Some(word) = words.next() {
            match word {
                "app" => who.attacker = Some(Attacker::App),
                "stranger" => who.attacker = Some(Attacker::Stranger),
                "as" => who.user = words.next().and_then(User::parse),
                "on" => who.series = words.next().filter(|series| SERIES.contains(series)).map(str::to_owned),
                _ => return Err(format!("`{text}` is nobody: write `stranger as root on 6.1`, or a part of it")),
            }
        }
        if who.to_words() == text.split_whitespace().collect::<Vec<_>>().join(" ") {
            Ok(who)
        } else {
            Err(format!("`{text}` is nobody: write `stranger as root on 6.1`, or a part of it"))
        }
    }

    fn to_words(&self) -> String {
        let attacker = self.attacker.map(|attacker| attacker.to_string());
        let user = self.user.map(|user| format!("as {user}"));
        let series = self.series.as_ref().map(|series| format!("on {series}"));
        [attacker, user, series].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    fn is(&self, attacker: Attacker, user: User, series: &str) -> bool {
        self.attacker.is_none_or(|it| it == attacker)
            && self.user.is_none_or(|it| it == user)
            && self.series.as_ref().is_none_or(|it| it == series)
    }

    /// What is said of fewer has the last word.
    fn weight(&self) -> usize {
        [self.attacker.is_some(), self.user.is_some(), self.series.is_some()].into_iter().filter(|it| *it).count()
    }
}

/// What is said of whoever this is, by what was said of the fewest.
fn said_of<'a, T>(all: &'a [(Who, T)], attacker: Attacker, user: User, series: &str) -> Option<&'a T> {
    let said = all.iter().filter(|(who, _)| who.is(attacker, user, series));
    said.max_by_key(|(who, _)| who.weight()).map(|(_, said)| said)
}

impl Entry {
    /// The cells of the matrix that are tried under kernels of a series.
    pub fn cells(&self, series: &str) -> impl Iterator<Item = (Attacker, User, Target)> {
        let mut cells = Vec::new();
        for (attacker, user) in
            self.attackers().into_iter().flat_map(|it| self.users.iter().map(move |user| (it, *user)))
        {
            if !matches!(self.expected(attacker, user, series), Expectation::NotTried(_)) {
                cells.extend(self.targets.iter().map(|target| (attacker, user, *target)));
            }
        }
        cells.into_iter()
    }

    /// Whether anything that is said of it holds for one kernel alone.
    #[must_use]
    pub fn depends_on_the_kernel(&self) -> bool {
        let mut all = (self.expected.iter().map(|(who, _)| who)).chain(self.locked.iter().map(|(who, _)| who));
        all.any(|who| who.series.is_some()) || self.shows_on.iter().any(|(who, _)| who.series.is_some())
    }

    /// Who tries it.
    fn attackers(&self) -> Vec<Attacker> {
        let named = |attacker: &Attacker| self.expected.iter().any(|(who, _)| who.attacker == Some(*attacker));
        [Attacker::App, Attacker::Stranger].into_iter().filter(named).collect()
    }

    /// What must come of it for an attacker, a user, and kernels of a series.
    #[must_use]
    pub fn expected(&self, attacker: Attacker, user: User, series: &str) -> Expectation {
        let said = said_of(&self.expected, attacker, user, series);
        said.cloned().unwrap_or_else(|| Expectation::Refused("EPERM".to_owned()))
    }

    /// The errno that must come of it where the policy is locked, for whom it is tried there.
    #[must_use]
    pub fn under_lock(&self, attacker: Attacker, user: User, series: &str) -> Option<&str> {
        said_of(&self.locked, attacker, user, series).map(String::as_str)
    }

    /// What shows that it works.
    #[must_use]
    pub fn shows(&self, attacker: Attacker, user: User, series: &str) -> Shows {
        let answer = said_of(&self.shows_on, attacker, user, series);
        answer.map_or_else(|| self.shows.clone(), |answer| Shows::Answer(answer.clone()))
    }

    /// What the attacker's program calls it.
    #[must_use]
    pub fn technique(&self) -> &str {
        self.technique.as_deref().unwrap_or(&self.name)
    }
}

impl Target {
    /// Whether it is IPv6.
    #[must_use]
    pub fn is_v6(self) -> bool {
        matches!(self, Target::Tcp6 | Target::Udp6)
    }

    /// `tcp` or `udp`.
    #[must_use]
    pub fn transport(self) -> &'static str {
        if matches!(self, Target::Tcp4 | Target::Tcp6) { "tcp" } else { "udp" }
    }
}

impl fmt::Display for Attacker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Attacker::App { "app" } else { "stranger" })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.transport(), if self.is_v6() { 6 } else { 4 })
    }
}

/// Reads every entry of a folder, in the order of their names.
///
/// # Errors
/// A sentence with the file's name.
pub fn read_entries(folder: &Path) -> Result<Vec<Entry>, String> {
    entries::read(folder, parse)
}

fn parse(name: String, text: &str) -> Result<Entry, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut expected = Vec::new();
    // Of two that are said of as few, the later one counts.
    for (who, errno) in &file.refused {
        expected.push((Who::parse(who)?, Expectation::Refused(errno.clone())));
    }
    for (who, why) in &file.gets_through {
        expected.push((Who::parse(who)?, Expectation::GetsThrough(why.clone())));
    }
    for (who, why) in &file.not_tried {
        expected.push((Who::parse(who)?, Expectation::NotTried(why.clone())));
    }
    let locked = file.locked.iter().map(|(who, errno)| Ok((Who::parse(who)?, errno.clone())));
    let locked = locked.collect::<Result<_, String>>()?;
    let shows_on = file.shows_on.iter().map(|(who, answer)| Ok((Who::parse(who)?, answer.clone())));
    let shows_on = shows_on.collect::<Result<_, String>>()?;
    let shows = match file.shows {
        None => Shows::Packet,
        Some(answer) => Shows::Answer(answer),
    };
    let entry = Entry {
        name,
        title: file.title,
        how: file.how,
        expected,
        locked,
        users: file.users,
        targets: file.targets,
        shows,
        shows_on,
        victim: file.victim,
        meanwhile: file.meanwhile,
        begun_by_a_stranger: file.begun_by_a_stranger,
        in_the_header: file.in_the_header,
        dynamic_signer: file.dynamic_signer,
        unsettles: file.unsettles,
        technique: file.technique,
    };
    if SERIES.iter().all(|series| entry.cells(series).next().is_none()) {
        return Err("nobody tries it: `refused` or `gets_through`, `users` and `targets` each need an entry".to_owned());
    }
    Ok(entry)
}

/// The catalogue as the table of docs/attacks.md: technique by user by kernel, and what stands behind the
/// numbers in it.
#[must_use]
pub fn table(entries: &[Entry]) -> String {
    let mut text = String::from("| technique | how | by | as | over |");
    SERIES.iter().for_each(|series| text.push_str(&format!(" {series} |")));
    text.push_str(" locked |\n|---|---|---|---|---|");
    SERIES.iter().for_each(|_| text.push_str("---|"));
    text.push_str("---|\n");
    let mut notes = Notes::default();
    for entry in entries {
        let over: Vec<String> = entry.targets.iter().map(ToString::to_string).collect();
        let mut first = format!("| `{}`: {} | {} |", entry.name, entry.title, entry.how);
        for (attackers, users, Row { cells, locked }) in lines(entry) {
            text.push_str(&format!("{first} {attackers} | {users} | {} |", over.join(", ")));
            for cell in cells {
                text.push_str(&format!(" {} |", notes.show(cell)));
            }
            let locked = locked.map_or_else(String::new, |errno| format!("{errno} "));
            text.push_str(&format!(" {locked}|\n"));
            first = "| | |".to_owned();
        }
    }
    text + &notes.to_list()
}

/// What holds for someone: under each series of kernels, and where the policy is locked, if it is tried there.
#[derive(PartialEq, Eq)]
struct Row {
    cells: Vec<Expectation>,
    locked: Option<String>,
}

/// The lines of an entry: attackers and users for whom the same holds under every kernel.
fn lines(entry: &Entry) -> Vec<(String, String, Row)> {
    let mut lines: Vec<(Vec<String>, Vec<String>, Row)> = Vec::new();
    for attacker in entry.attackers() {
        let mut own: Vec<(Vec<String>, Row)> = Vec::new();
        for user in &entry.users {
            let cells = SERIES.iter().map(|series| entry.expected(attacker, *user, series)).collect();
            // One answer is shown for all kernels: what differs by kernel is said of none here.
            let locked = SERIES.first().and_then(|series| entry.under_lock(attacker, *user, series));
            let row = Row { cells, locked: locked.map(str::to_owned) };
            match own.iter_mut().find(|(_, known)| *known == row) {
                Some((users, _)) => users.push(user.to_string()),
                None => own.push((vec![user.to_string()], row)),
            }
        }
        for (users, row) in own {
            match lines.iter_mut().find(|(_, those, known)| *those == users && *known == row) {
                Some((attackers, ..)) => attackers.push(attacker.to_string()),
                None => lines.push((vec![attacker.to_string()], users, row)),
            }
        }
    }
    lines.into_iter().map(|(attackers, users, row)| (attackers.join(", "), users.join(", "), row)).collect()
}

/// The reasons, each once, by the order in which they come up.
#[derive(Default)]
struct Notes {
    reasons: Vec<String>,
}

impl Notes {
    fn show(&mut self, cell: Expectation) -> String {
        match cell {
            Expectation::Refused(errno) => errno,
            Expectation::GetsThrough(why) => format!("**gets through** ({})", self.number(why)),
            Expectation::NotTried(why) => format!("– ({})", self.number(why)),
        }
    }

    fn number(&mut self, why: String) -> usize {
        let known = self.reasons.iter().position(|reason| *reason == why);
        known.unwrap_or_else(|| {
            self.reasons.push(why);
            self.reasons.len() - 1
        }) + 1
    }

    fn to_list(&self) -> String {
        let mut text = String::new();
        for (index, reason) in self.reasons.iter().enumerate() {
            text.push_str(&format!("{}{}. {reason}\n", if index == 0 { "\n" } else { "" }, index + 1));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    /// The table of the docs is the catalogue. `BFP_BLESS=1` writes it.
    #[test]
    fn the_docs_show_the_catalogue() {
        const BEGIN: &str = "<!-- the catalogue: generated from fixtures/attacks -->\n";
        const END: &str = "<!-- end of the catalogue -->\n";
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let entries = read_entries(&root.join("fixtures/attacks")).unwrap();
        let path = root.join("docs/attacks.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = page.split_once(BEGIN).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        let wanted = format!("{before}{BEGIN}\n{}\n{END}{after}", table(&entries));
        if std::env::var_os("BFP_BLESS").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), wanted, "run it with BFP_BLESS=1 and read the difference");
    }

    /// The number in README.md is that of the rows.
    #[test]
    fn the_readme_counts_the_catalogue() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let number = read_entries(&root.join("fixtures/attacks")).unwrap().len();
        let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
        let wanted = format!("[{number} attacks](docs/attacks.md)");
        assert!(readme.contains(&wanted), "README.md does not say `{wanted}`");
    }

    const HEAD: &str = "title = \"t\"\nhow = \"h\"\nusers = [\"root\", \"somebody\"]\ntargets = [\"tcp4\"]\n";

    fn entry(rest: &str) -> Result<Entry, String> {
        parse("x".to_owned(), &format!("{HEAD}{rest}"))
    }

    #[test]
    fn a_series_of_kernels_can_lack_it() {
        let entry = entry("[refused]\napp = \"EPERM\"\n[shows_on]\n\"on 6.1\" = \"EOPNOTSUPP\"\n").unwrap();
        let shows = |release| entry.shows(Attacker::App, User::Root, &series_of(release));
        assert_eq!(shows("6.1.0-50-cloud-amd64"), Shows::Answer("EOPNOTSUPP".to_owned()));
        assert_eq!(shows("6.12.117+deb13-cloud-amd64"), Shows::Packet);
    }

    #[test]
    fn what_is_said_of_fewer_counts() {
        let entry = entry(
            "[refused]\nstranger = \"EPERM\"\n\"stranger as root on 6.1\" = \"EINVAL\"\n\
             [gets_through]\n\"stranger as root\" = \"why\"\n[not_tried]\n\"as somebody on 7.3\" = \"lacks it\"\n",
        )
        .unwrap();
        let expected = |user, series| entry.expected(Attacker::Stranger, user, series);
        assert_eq!(expected(User::Somebody, "6.1"), Expectation::Refused("EPERM".to_owned()));
        assert_eq!(expected(User::Root, "6.1"), Expectation::Refused("EINVAL".to_owned()));
        assert_eq!(expected(User::Root, "6.12"), Expectation::GetsThrough("why".to_owned()));
        assert_eq!(entry.cells("7.3").collect::<Vec<_>>(), [(Attacker::Stranger, User::Root, Target::Tcp4)]);
    }

    #[test]
    fn the_table_has_a_line_for_those_of_whom_the_same_holds() {
        let entry = entry(
            "[refused]\napp = \"EPERM\"\nstranger = \"EPERM\"\n\"stranger as root on 6.1\" = \"silence\"\n\
                [locked]\n\"stranger as root\" = \"EACCES\"\n",
        );
        let text = table(&[entry.unwrap()]);
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| `x`: t | h | app | root, somebody | tcp4 | EPERM | EPERM | EPERM | EPERM | |",
                "| | | stranger | root | tcp4 | silence | EPERM | EPERM | EPERM | EACCES |",
                "| | | stranger | somebody | tcp4 | EPERM | EPERM | EPERM | EPERM | |",
            ]
        );
    }

    #[test]
    fn what_nobody_tries_is_no_entry() {
        assert!(entry("").unwrap_err().contains("nobody tries it"));
        assert!(entry("[refused]\nnoone = \"EPERM\"\n").unwrap_err().contains("is nobody"));
        assert!(entry("[refused]\n\"app on 5.10\" = \"EPERM\"\n").unwrap_err().contains("is nobody"));
    }
}
