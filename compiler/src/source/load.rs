//! Everything that a policy is compiled from: path → texts, syntax tree, and what the files say that it
//! names (included policies, lists of networks, build artifacts).
//!
//! This stage alone reads files, through [`Read`], so that the later ones are pure. All errors of all
//! files leave together. A file that is included twice is read once, by whatever path; a circle is an error.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use bfp_grammar::syntax::{self, Destinations, Programs, Quoted, Span, Spanned, Statement, Verity};
use miette::Diagnostic;
use sha2::{Digest, Sha256};

use crate::diagnostics::findings::{Findings, boxed};
use crate::source::parameters::{self, Values};
use crate::source::source_map::SourceMap;
use crate::source::{self, Read, SourceError, normal};

/// A policy, as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The texts.
    pub sources: SourceMap,
    /// The statements of all files, those of an included one in place of the statement that includes it.
    pub syntax: syntax::Policy,
    /// The fs-verity digests of the files that stand in `verity file(…)`, by the place of the file's name.
    pub digests: BTreeMap<Span, [u8; 32]>,
    /// The files that stand in `ranges(…)`, by the place of the file's name.
    pub lists: BTreeMap<Span, ListFile>,
    /// Where lists are published, in the order of the text.
    pub list_sources: Vec<ListSource>,
    /// The chosen values of the parameters; empty until they are chosen.
    pub values: Values,
}

impl Loaded {
    /// Whether it only declares programs, hosts and ports, for policies that include it.
    pub fn is_library(&self) -> bool {
        let declares = |statement: &Spanned<Statement>| {
            use Statement::{Host, ListSource, Param, Ports, Program};
            matches!(statement.node, Program(_) | Host(_) | Ports(_) | Param(_) | ListSource(_))
        };
        !self.syntax.statements.is_empty() && self.syntax.statements.iter().all(declares)
    }

    /// Where a list is published, by its path from the policy's own directory.
    pub fn source_of(&self, name: &str) -> Option<&ListSource> {
        self.list_sources.iter().find(|source| source.name == name)
    }

    /// The list that a `ranges(…)` beside the policy names so.
    pub fn list_named(&self, written: &str) -> Option<&ListFile> {
        let name = written.strip_prefix("./").unwrap_or(written);
        self.lists.values().find(|list| list.name == name)
    }
}

/// A list of networks, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListFile {
    /// Its path from the policy's own directory.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// A `ranges "FILE" from "URL"`, as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListSource {
    /// The path of the list from the policy's own directory.
    pub name: String,
    /// Where the file is named.
    pub file: Span,
    /// The URL, as written.
    pub url: Quoted,
}

impl ListFile {
    /// What the lock remembers it by.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.text).into()
    }
}

/// The most files that a policy may be written in.
pub const MAX_FILES: usize = 256;

/// The most bytes that all of them may have.
pub const MAX_BYTES: usize = 64 << 20;

/// Why a file that a policy names cannot be used.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum LoadError {
    /// It cannot be read.
    #[error("{reason}")]
    #[diagnostic(code(load::unreadable))]
    Unreadable {
        /// Why.
        reason: SourceError,
        /// What to do about it.
        #[help]
        help: String,
        /// Where it is named.
        #[label("named here")]
        span: Span,
    },
    /// A policy that includes itself.
    #[error("`{name}` includes itself")]
    #[diagnostic(code(load::cycle), help("move what both files need into a third one, and include that in both"))]
    Cycle {
        /// Which file.
        name: String,
        /// The statement that closes the circle.
        #[label("closes the cycle")]
        span: Span,
    },
    /// An absolute path.
    #[error("`{written}` is not a relative path")]
    #[diagnostic(
        code(load::path),
        help(
            "write it relative to this file, such as `common/corp.bfp`: a policy must compile alike on every machine"
        )
    )]
    Path {
        /// What was written.
        written: String,
        /// Where.
        #[label("not relative")]
        span: Span,
    },
    /// `include "a\n.bfp"`
    #[error("`{written}` contains a control character")]
    #[diagnostic(code(load::path), help("rename the file: a report that names it would contain forged lines"))]
    ControlCharacter {
        /// What was written, with escapes.
        written: String,
        /// Where.
        #[label("cannot be printed")]
        span: Span,
    },
    /// A path, or a link, that leads elsewhere.
    #[error("`{written}` is outside the tree that holds the policy")]
    #[diagnostic(
        code(load::outside),
        help("copy the file into the policy's git work tree, or, without a work tree, below the policy's folder")
    )]
    Outside {
        /// What was written.
        written: String,
        /// Where.
        #[label("leads out of the tree")]
        span: Span,
    },
    /// An included file with nothing that could be a statement.
    #[error("`{name}` is not a policy: no line of it is a statement")]
    #[diagnostic(
        code(load::not_a_policy),
        help("check the name; `bfpc check` on that file itself shows what is wrong with its lines")
    )]
    NotAPolicy {
        /// Which file.
        name: String,
        /// Where it is named.
        #[label("included here")]
        span: Span,
    },
    /// A path that leads to a directory.
    #[error("`{written}` names a directory, not a file")]
    #[diagnostic(code(load::path), help("name the file in it, such as `common/corp.bfp`"))]
    Directory {
        /// What was written.
        written: String,
        /// Where.
        #[label("not a file")]
        span: Span,
    },
    /// A path that no file system holds.
    #[error("this path is too long: {what} has at most {limit} bytes, and this one has {length}")]
    #[diagnostic(
        code(load::path),
        help(
            "shorten the path: Linux cannot open a file whose name is longer than 255 bytes, or whose path is longer than 4095"
        )
    )]
    TooLong {
        /// The part, or the whole.
        what: &'static str,
        /// How long it is.
        length: usize,
        /// How long it may be.
        limit: usize,
        /// Where.
        #[label("{length} bytes, at most {limit}")]
        span: Span,
    },
    /// Files without end.
    #[error("the policy has more than {MAX_FILES} files, or more than {} MiB", MAX_BYTES >> 20)]
    #[diagnostic(code(load::too_large), help("check that no link leads back to a file that includes this one"))]
    TooLarge {
        /// Where the limit was reached.
        #[label("exceeds the limit")]
        span: Span,
    },
}

/// Why a policy cannot be loaded.
#[derive(Debug)]
pub struct LoadFailure {
    /// Every error of all files; of a policy that cannot be read itself, that one.
    pub findings: Findings,
    /// The texts that the findings are about; empty if there are none.
    pub sources: SourceMap,
}

impl From<SourceError> for LoadFailure {
    fn from(unreadable: SourceError) -> LoadFailure {
        LoadFailure { findings: vec![Box::new(unreadable)], sources: SourceMap::default() }
    }
}

/// What a file is named for.
#[derive(Clone, Copy)]
enum Purpose {
    Policy,
    Artifact,
    List,
}

fn unreadable(reason: SourceError, purpose: Purpose, span: Span) -> LoadError {
    let help = match (&reason, purpose) {
        (SourceError::Missing { .. }, Purpose::Policy) => {
            "check the name: a path is relative to the file that names it".to_owned()
        }
        (SourceError::Missing { .. }, Purpose::Artifact) => {
            "build the artifact first, or correct the path, which is relative to the file that names it".to_owned()
        }
        (SourceError::Missing { .. }, Purpose::List) => {
            "get the list first, with `bfpc fetch FILE` if the policy has its URL, or correct the path, which is \
             relative to the file that names it"
                .to_owned()
        }
        _ => reason.help().map_or_else(String::new, |help| help.to_string()),
    };
    LoadError::Unreadable { reason, help, span }
}

/// Reads a policy and all that it names.
///
/// # Errors
///
/// Every file that cannot be read, and every error of syntax.
pub fn load(path: &Path, read: &dyn Read) -> Result<Loaded, LoadFailure> {
    let text = policy_text(path, read)?;
    let name = path.file_name().map_or_else(|| "policy".to_owned(), |name| name.to_string_lossy().into_owned());
    let directory = path.parent().unwrap_or(Path::new("")).to_owned();
    load_text(&name, &read.shown(path), &text, &directory, read)
}

/// Reads a policy for whoever fetches its lists: each of them is empty, whether its file is there or not.
///
/// # Errors
///
/// As [`load`].
pub fn load_without_lists(path: &Path, read: &dyn Read) -> Result<Loaded, LoadFailure> {
    load(path, &WithoutLists(read))
}

/// Files, but for lists.
struct WithoutLists<'a>(&'a dyn Read);

impl Read for WithoutLists<'_> {
    fn text(&self, path: &Path) -> Result<String, SourceError> {
        self.0.text(path)
    }
    fn list(&self, _path: &Path) -> Result<String, SourceError> {
        Ok(String::new())
    }
    fn verity_digest(&self, path: &Path) -> Result<[u8; 32], SourceError> {
        self.0.verity_digest(path)
    }
    fn is_within(&self, directory: &Path, path: &Path) -> bool {
        self.0.is_within(directory, path)
    }
    fn check_link(&self, path: &Path) -> Result<bool, SourceError> {
        self.0.check_link(path)
    }
    fn identity(&self, path: &Path) -> PathBuf {
        self.0.identity(path)
    }
    fn short(&self, path: &Path) -> PathBuf {
        self.0.short(path)
    }
    fn shown(&self, path: &Path) -> String {
        self.0.shown(path)
    }
}

/// Reads a policy that a command was given. Of what is none, no line may be shown where it can be a secret: where a link
/// leads to it, which whoever proposes a policy can make, and where it is a key or no text.
pub fn policy_text(path: &Path, read: &dyn Read) -> Result<String, SourceError> {
    let is_link = read.check_link(path)?;
    let text = read.text(path)?;
    let is_secret = is_link || text.contains("-----BEGIN ") || text.contains('\0');
    if is_secret && !may_be_a_policy(&text) {
        return Err(SourceError::NotAPolicy { path: read.shown(path) });
    }
    Ok(text)
}

/// Reads a policy that has its text already. `directory` is where it stands.
///
/// # Errors
///
/// As [`load`].
pub fn load_text(
    name: &str,
    shown: &str,
    text: &str,
    directory: &Path,
    read: &dyn Read,
) -> Result<Loaded, LoadFailure> {
    let mut loader = Loader {
        directory,
        read,
        loaded: Loaded::default(),
        errors: Vec::new(),
        within: Vec::new(),
        known: BTreeMap::new(),
    };
    let statements = loader.file(shown.to_owned(), name.to_owned(), text);
    loader.loaded.syntax.statements = statements;
    if loader.errors.is_empty() {
        loader.errors.extend(boxed(parameters::faults(&loader.loaded)));
    }
    if loader.errors.is_empty() {
        return Ok(loader.loaded);
    }
    loader
        .errors
        .sort_by_cached_key(|finding| finding.labels().and_then(|labels| labels.map(|label| label.offset()).min()));
    Err(LoadFailure { findings: loader.errors, sources: loader.loaded.sources })
}

struct Loader<'a> {
    directory: &'a Path,
    read: &'a dyn Read,
    loaded: Loaded,
    errors: Findings,
    /// The files that are being read, from the policy inwards, whatever paths led to them.
    within: Vec<PathBuf>,
    /// The files that were read, by what leads to each of them.
    known: BTreeMap<PathBuf, Vec<Known>>,
}

/// A file that was read.
struct Known {
    /// The path from the policy's directory by which it was included.
    name: String,
    /// Whether it names other files, whose paths count from the folder that it was included from.
    names_files: bool,
}

impl Known {
    /// Whether the same file says the same by another path: a link may stand in another folder.
    fn says_as_much_as(&self, name: &str) -> bool {
        !self.names_files || Path::new(&self.name).parent() == Path::new(name).parent()
    }
}

impl Loader<'_> {
    fn fail(&mut self, error: LoadError) {
        self.errors.push(Box::new(error));
    }

    fn file(&mut self, shown: String, name: String, text: &str) -> Vec<Spanned<Statement>> {
        let span = self.loaded.sources.add(shown, name.clone(), text);
        let parsed = match bfp_grammar::parse_within(self.loaded.sources.text(), span) {
            Ok(parsed) => parsed,
            Err(errors) => {
                self.errors.extend(errors.into_iter().map(|error| Box::new(error) as _));
                return Vec::new();
            }
        };
        let identity = self.read.identity(&self.at(&name));
        self.within.push(identity.clone());
        let mut names_files = false;
        let mut statements = Vec::with_capacity(parsed.statements.len());
        for statement in parsed.statements {
            names_files |= self.named_files(&statement.node, &name) || matches!(statement.node, Statement::Include(_));
            match &statement.node {
                Statement::Include(file) => statements.extend(self.include(file, &name)),
                _ => statements.push(statement),
            }
        }
        self.within.pop();
        self.known.entry(identity).or_default().push(Known { name, names_files });
        statements
    }

    fn include(&mut self, file: &Quoted, from: &str) -> Vec<Spanned<Statement>> {
        let Some(name) = self.beside(file, from) else { return Vec::new() };
        let path = self.at(&name);
        let shown = self.read.shown(&path);
        let identity = self.read.identity(&path);
        if self.within.contains(&identity) {
            self.fail(LoadError::Cycle { name: shown, span: file.span });
            return Vec::new();
        }
        let files = self.loaded.sources.files();
        let mut known = self.known.get(&identity).into_iter().flatten();
        if known.any(|known| known.says_as_much_as(&name)) || files.iter().any(|known| known.name == name) {
            return Vec::new();
        }
        if files.len() >= MAX_FILES {
            self.fail(LoadError::TooLarge { span: file.span });
            return Vec::new();
        }
        match self.read.text(&path) {
            Ok(text) if self.loaded.sources.text().len().saturating_add(text.len()) > MAX_BYTES => {
                self.fail(LoadError::TooLarge { span: file.span });
            }
            // What is no policy may be a secret, and no line of it is shown.
            Ok(text) if !may_be_a_policy(&text) => self.fail(LoadError::NotAPolicy { name: shown, span: file.span }),
            Ok(text) => return self.file(shown, name, &text),
            Err(reason) => self.fail(unreadable(reason, Purpose::Policy, file.span)),
        }
        Vec::new()
    }

    /// Where a file is read. One that is called `-` is not the standard input.
    fn at(&self, name: &str) -> PathBuf {
        // Names have no `.`, and are the same wherever the policy is compiled; a path is one of this machine.
        let path = self.read.short(&self.directory.join(name));
        if source::is_standard_input(&path) { Path::new(".").join(path) } else { path }
    }

    /// The path from the policy's directory of a file that is named in the file `from`.
    fn beside(&mut self, file: &Quoted, from: &str) -> Option<String> {
        let written = Path::new(&file.node);
        let is_relative = written.components().all(|part| !matches!(part, Component::RootDir | Component::Prefix(_)));
        let name = normal(&Path::new(from).parent().unwrap_or(Path::new("")).join(written));
        let long_part = file.node.split('/').map(str::len).find(|length| *length > source::LONGEST_FILE_NAME);
        let (written, span) = (file.node.clone(), file.span);
        let error = if written.chars().any(char::is_control) {
            LoadError::ControlCharacter { written: written.escape_debug().to_string(), span }
        } else if let Some(length) = long_part {
            LoadError::TooLong { what: "a file's name", length, limit: source::LONGEST_FILE_NAME, span }
        } else if written.len() > source::LONGEST_PATH {
            LoadError::TooLong { what: "a path", length: written.len(), limit: source::LONGEST_PATH, span }
        } else if !is_relative {
            LoadError::Path { written, span }
        } else if written.ends_with('/') || name.file_name().is_none() {
            LoadError::Directory { written, span }
        } else {
            let name = name.to_string_lossy().into_owned();
            if self.read.is_within(self.directory, &self.at(&name)) {
                return Some(name);
            }
            LoadError::Outside { written, span }
        };
        self.fail(error);
        None
    }

    /// Reads the lists and artifacts that a statement names, and says whether there are any.
    fn named_files(&mut self, statement: &Statement, from: &str) -> bool {
        let mut walk = Named::default();
        match statement {
            Statement::Program(declaration) => walk.programs(&declaration.programs),
            Statement::Host(declaration) => {
                walk.destinations(&declaration.destinations);
                declaration.within.iter().for_each(|list| walk.destinations(list));
            }
            Statement::Rule(rule) => {
                walk.programs(&rule.programs);
                walk.destinations(&rule.destinations);
            }
            Statement::Test(test) => {
                for Spanned { node, .. } in &test.expectations {
                    node.started_by.iter().for_each(|programs| walk.programs(programs));
                    walk.programs(&node.programs);
                    walk.destinations(&node.destinations);
                }
            }
            Statement::ListSource(source) => {
                if let Some(name) = self.beside(&source.file, from) {
                    let (file, url) = (source.file.span, source.url.clone());
                    self.loaded.list_sources.push(ListSource { name, file, url });
                }
                return true;
            }
            Statement::Name(_)
            | Statement::Default(_)
            | Statement::Include(_)
            | Statement::Accept(_)
            | Statement::Ports(_)
            | Statement::Param(_) => {}
        }
        let names_files = !walk.artifacts.is_empty() || !walk.lists.is_empty();
        for file in walk.artifacts {
            let Some(name) = self.beside(file, from) else { continue };
            match self.read.verity_digest(&self.at(&name)) {
                Ok(digest) => drop(self.loaded.digests.insert(file.span, digest)),
                Err(reason) => self.fail(unreadable(reason, Purpose::Artifact, file.span)),
            }
        }
        for file in walk.lists {
            let Some(name) = self.beside(file, from) else { continue };
            // One list serves many hosts, by different filters.
            let known = self.loaded.lists.values().find(|known| known.name == name).cloned();
            let found = match known {
                Some(known) => Ok(known),
                None => self.read.list(&self.at(&name)).map(|text| ListFile { name, text }),
            };
            match found {
                Ok(list) => drop(self.loaded.lists.insert(file.span, list)),
                Err(reason) => self.fail(unreadable(reason, Purpose::List, file.span)),
            }
        }
        names_files
    }
}

/// The files that a statement names.
#[derive(Default)]
struct Named<'a> {
    artifacts: Vec<&'a Quoted>,
    lists: Vec<&'a Quoted>,
}

impl<'a> Named<'a> {
    fn programs(&mut self, programs: &'a Spanned<Programs>) {
        match &programs.node {
            Programs::Any | Programs::AnyIn(_) | Programs::Named(_) => {}
            Programs::Path { verity, libraries, .. } => {
                let libraries = libraries.iter().flat_map(|libraries| &libraries.node);
                for pin in libraries.flat_map(|library| &library.node.verity).chain(verity) {
                    if let Verity::File(file) = &pin.node {
                        self.artifacts.push(file);
                    }
                }
            }
            Programs::Set(elements) => elements.iter().for_each(|element| self.programs(element)),
        }
    }

    fn destinations(&mut self, destinations: &'a Spanned<Destinations>) {
        match &destinations.node {
            Destinations::Any | Destinations::Named { .. } | Destinations::Endpoint { .. } => {}
            Destinations::Ranges { file, .. } => self.lists.push(file),
            Destinations::Set { elements, .. } => elements.iter().for_each(|element| self.destinations(element)),
            Destinations::Clients { from, .. } => self.destinations(from),
            Destinations::Except { base, removed } => {
                self.destinations(base);
                self.destinations(removed);
            }
        }
    }
}

/// Whether a text is a policy, perhaps with mistakes: some line is a statement, or begins one, or nothing but comments
/// is there.
fn may_be_a_policy(text: &str) -> bool {
    let mut lines = text.trim_start_matches('\u{FEFF}').lines().map(str::trim);
    let is_statement = |line: &str| {
        let declares = ["program ", "host ", "ports ", "param "].iter().any(|word| line.starts_with(word));
        line.contains("->") || (declares && line.contains('=')) || bfp_grammar::parse(line).is_ok()
    };
    let mut said = lines.by_ref().filter(|line| !line.is_empty() && !line.starts_with('#')).peekable();
    said.peek().is_none() || said.any(is_statement)
}

#[cfg(test)]
mod tests;
