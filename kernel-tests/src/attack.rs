//! The attack catalogue: one file of fixtures/attacks/ for each technique. What enters: these files. What
//! leaves: the cells of the matrix (who attacks, as which user, over what), and the table of docs/attacks.md.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;

/// A technique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The file's name.
    pub name: String,
    /// What it is, in a line.
    pub title: String,
    /// How it works.
    pub how: String,
    /// Who tries it, and the errno that each must see; `silence` where the kernel tells the attacker
    /// nothing.
    pub refusals: BTreeMap<Attacker, String>,
    /// As whom.
    pub users: Vec<User>,
    /// Over what.
    pub targets: Vec<Target>,
    /// What shows, without a policy, that it works.
    pub shows: Shows,
    /// What shows instead under kernels of a series that lack the thing.
    pub shows_on: BTreeMap<String, String>,
    /// Whether it needs a signer that runs and holds a connection.
    pub victim: bool,
    /// Whether a stranger begins it, and starts the attacker.
    pub begun_by_a_stranger: bool,
    technique: Option<String>,
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

/// As whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum User {
    /// With every capability.
    Root,
    /// With none.
    Somebody,
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
    refused: BTreeMap<Attacker, String>,
    users: Vec<User>,
    targets: Vec<Target>,
    shows: Option<String>,
    #[serde(default)]
    shows_on: BTreeMap<String, String>,
    #[serde(default)]
    victim: bool,
    #[serde(default)]
    begun_by_a_stranger: bool,
    technique: Option<String>,
}

impl Entry {
    /// The cells of the matrix.
    pub fn cells(&self) -> impl Iterator<Item = (Attacker, User, Target)> {
        let cells = self.refusals.keys().flat_map(move |attacker| {
            let users = self.users.iter();
            users.flat_map(move |user| self.targets.iter().map(move |target| (*attacker, *user, *target)))
        });
        cells.collect::<Vec<_>>().into_iter()
    }

    /// What an attacker must see.
    #[must_use]
    pub fn refusal(&self, attacker: Attacker) -> &str {
        self.refusals.get(&attacker).map_or("EPERM", String::as_str)
    }

    /// What shows that it works, under a kernel of this release, such as `6.1.0-50-cloud-amd64`.
    #[must_use]
    pub fn shows(&self, release: &str) -> Shows {
        let series = release.split('.').take(2).collect::<Vec<_>>().join(".");
        self.shows_on.get(&series).map_or_else(|| self.shows.clone(), |answer| Shows::Answer(answer.clone()))
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

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == User::Root { "root" } else { "somebody" })
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
    let files = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut entries = Vec::new();
    for path in files.flatten().map(|file| file.path()).filter(|path| path.extension().is_some_and(|it| it == "toml")) {
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        entries.push(parse(name, &text).map_err(|complaint| format!("{}: {complaint}", path.display()))?);
    }
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    if entries.is_empty() { Err(format!("{} has no entries", folder.display())) } else { Ok(entries) }
}

fn parse(name: String, text: &str) -> Result<Entry, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    if file.refused.is_empty() || file.users.is_empty() || file.targets.is_empty() {
        return Err("nobody tries it: `refused`, `users` and `targets` each need an entry".to_owned());
    }
    let shows = match file.shows {
        None => Shows::Packet,
        Some(answer) => Shows::Answer(answer),
    };
    Ok(Entry {
        name,
        title: file.title,
        how: file.how,
        refusals: file.refused,
        users: file.users,
        targets: file.targets,
        shows,
        shows_on: file.shows_on,
        victim: file.victim,
        begun_by_a_stranger: file.begun_by_a_stranger,
        technique: file.technique,
    })
}

/// The catalogue as the table of docs/attacks.md.
#[must_use]
pub fn table(entries: &[Entry]) -> String {
    let mut text =
        String::from("| technique | how | by | as | over | what the attacker sees |\n|---|---|---|---|---|---|\n");
    for entry in entries {
        let words = |words: Vec<String>| words.join(", ");
        let by = words(entry.refusals.keys().map(ToString::to_string).collect());
        let sees: Vec<String> = entry.refusals.values().cloned().collect();
        let sees = if sees.windows(2).all(|pair| pair.first() == pair.last()) {
            sees.into_iter().take(1).collect()
        } else {
            sees
        };
        text.push_str(&format!(
            "| `{}`: {} | {} | {by} | {} | {} | {} |\n",
            entry.name,
            entry.title,
            entry.how,
            words(entry.users.iter().map(ToString::to_string).collect()),
            words(entry.targets.iter().map(ToString::to_string).collect()),
            words(sees)
        ));
    }
    text
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

    #[test]
    fn a_series_of_kernels_can_lack_it() {
        let text = "title = \"t\"\nhow = \"h\"\nusers = [\"root\"]\ntargets = [\"tcp4\"]\n[refused]\napp = \"EPERM\"\n\
                    [shows_on]\n\"6.1\" = \"EOPNOTSUPP\"\n";
        let entry = parse("x".to_owned(), text).unwrap();
        assert_eq!(entry.shows("6.1.0-50-cloud-amd64"), Shows::Answer("EOPNOTSUPP".to_owned()));
        assert_eq!(entry.shows("6.12.117+deb13-cloud-amd64"), Shows::Packet);
    }

    #[test]
    fn what_nobody_tries_is_no_entry() {
        let text = "title = \"t\"\nhow = \"h\"\nusers = []\ntargets = [\"tcp4\"]\n[refused]\napp = \"EPERM\"\n";
        assert!(parse("x".to_owned(), text).unwrap_err().contains("nobody tries it"));
    }
}
