//! How a command ends: its answer, or what is wrong → texts for the two outputs, and the exit code, in the
//! format that was asked for.
//!
//! Always: for people, an answer is on the standard output and a diagnostic on the standard error; in a
//! format for machines there is one document on the standard output, also where nothing is wrong, and the
//! standard error is empty. The exit code does not depend on the format. Nothing but the format that is made for it
//! holds a command to the runner of a job.

mod clipped;
mod github;
pub(crate) mod human;
mod inert;
pub(crate) mod json;
mod rendered;
mod sarif;

use std::collections::HashSet;

use bfp_compiler::diagnostics::findings::Findings;
use bfp_compiler::source::source_map::SourceMap;
use clap::ValueEnum;
use miette::{Diagnostic, Report};

use self::rendered::RenderedDiagnostic;

/// How diagnostics are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Human,
    /// One JSON object, as docs/diagnostics.md describes it
    Json,
    /// SARIF 2.1.0, which code hosts and editors read
    Sarif,
    /// Workflow commands of GitHub Actions, shown beside the lines that they are about
    Github,
}

/// A number of things: `1 rule`, `2 rules`.
pub(crate) fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// How a command ends when it does not end well.
pub(crate) enum Failure {
    /// The answer is no, in these words.
    Finding(String),
    /// The answer is no, because of these. Where there are words, people read those instead.
    Findings { words: Option<String>, diagnostics: Diagnostics },
    /// Some of what was asked for is well, as the words say, and some is not: of several files, the worst is the exit code.
    Some { words: String, diagnostics: Diagnostics, code: u8 },
    /// What was given cannot be used.
    Input(Diagnostics),
    /// A bundle is refused.
    Refused(Report),
}

/// How a command over a policy's source ends well.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) words: String,
    pub(crate) warnings: Diagnostics,
    /// What was made, where it is for the standard output: words are then for the standard error.
    pub(crate) bytes: Option<Vec<u8>>,
}

impl From<String> for Output {
    fn from(words: String) -> Output {
        Output { words, ..Output::default() }
    }
}

/// Diagnostics, with the texts that they are about.
#[derive(Default)]
pub(crate) struct Diagnostics {
    // INVARIANT: no element is without a finding.
    about: Vec<About>,
}

/// Diagnostics about one policy, or about no text at all.
struct About {
    findings: Findings,
    /// The path of the policy, where there is one.
    file: Option<String>,
    sources: SourceMap,
}

impl Diagnostics {
    /// Findings that no text is at hand for.
    pub(crate) fn about_nothing(findings: Findings) -> Diagnostics {
        Diagnostics { about: vec![About { findings, file: None, sources: SourceMap::default() }] }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.about.is_empty()
    }

    pub(crate) fn add(&mut self, other: Diagnostics) {
        self.about.extend(other.about);
    }

    /// Adds what is found in the same policy with other values of its parameters, but for what is found already: the
    /// same words at the same places, though the help may name another value.
    pub(crate) fn add_values(&mut self, other: Diagnostics) {
        for about in other.about {
            match self.about.iter_mut().find(|known| known.file == about.file) {
                None => self.about.push(about),
                Some(known) => {
                    let words = |finding: &dyn Diagnostic| {
                        let labels = finding.labels().into_iter().flatten();
                        (finding.to_string(), labels.map(|label| label.offset()).collect::<Vec<_>>())
                    };
                    let found: HashSet<_> = known.findings.iter().map(|finding| words(finding.as_ref())).collect();
                    known
                        .findings
                        .extend(about.findings.into_iter().filter(|new| !found.contains(&words(new.as_ref()))));
                }
            }
        }
    }

    /// As data, in the order of the text. What several policies share is told once.
    fn rendered(&self) -> Vec<RenderedDiagnostic> {
        let mut known = HashSet::new();
        self.about.iter().flat_map(About::rendered).filter(|one| known.insert(one.clone())).collect()
    }
}

impl<D: Diagnostic + Send + Sync + 'static> From<D> for Failure {
    fn from(diagnostic: D) -> Failure {
        Failure::Input(Diagnostics::about_nothing(vec![Box::new(diagnostic)]))
    }
}

/// Findings in the one file that they are about.
pub(crate) fn in_file(findings: Findings, file: &str, text: &str) -> Diagnostics {
    let mut sources = SourceMap::default();
    sources.add(file.to_owned(), file.to_owned(), text);
    in_sources(findings, file, &sources)
}

/// Findings in the texts that they are about. Without any text, they are about no file either.
pub(crate) fn in_sources(findings: Findings, file: &str, sources: &SourceMap) -> Diagnostics {
    if findings.is_empty() {
        return Diagnostics::default();
    }
    Diagnostics {
        about: vec![About {
            findings,
            file: (!sources.files().is_empty()).then(|| file.to_owned()),
            sources: sources.clone(),
        }],
    }
}

/// What is written at the end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) code: u8,
}

/// Ends a command whose answer is no text.
pub(crate) fn end_bytes(answer: Result<Vec<u8>, Failure>) -> Exit {
    match answer {
        Ok(stdout) => Exit { stdout, ..Exit::default() },
        Err(failure) => end::<String>(Format::Human, Err(failure)),
    }
}

/// Ends a command.
pub(crate) fn end<T: Into<Output>>(format: Format, answer: Result<T, Failure>) -> Exit {
    match format {
        Format::Human => human::end(answer.map(Into::into)),
        Format::Json => document(answer.map(Into::into), json::document),
        Format::Sarif => document(answer.map(Into::into), sarif::document),
        Format::Github => document(answer.map(Into::into), github::document),
    }
}

fn document(answer: Result<Output, Failure>, write: impl Fn(&[RenderedDiagnostic]) -> String) -> Exit {
    let code = exit_code(&answer);
    let stdout = match answer {
        // Two documents would be none.
        Ok(Output { warnings, bytes: Some(bytes), .. }) => {
            return Exit { stdout: bytes, stderr: write(&warnings.rendered()), code };
        }
        Ok(Output { warnings, bytes: None, .. }) => write(&warnings.rendered()),
        // An answer in words alone is no diagnostic; who gives one has a format of its own.
        Err(Failure::Finding(words)) => words,
        Err(
            Failure::Findings { diagnostics, .. } | Failure::Some { diagnostics, .. } | Failure::Input(diagnostics),
        ) => write(&diagnostics.rendered()),
        Err(Failure::Refused(report)) => write(&RenderedDiagnostic::of(&*report, None, &SourceMap::default())),
    };
    Exit { stdout: stdout.into_bytes(), stderr: String::new(), code }
}

fn exit_code(answer: &Result<Output, Failure>) -> u8 {
    match answer {
        Ok(_) => 0,
        Err(Failure::Finding(_) | Failure::Findings { .. }) => 1,
        Err(Failure::Some { code, .. }) => *code,
        Err(Failure::Input(_)) => 2,
        Err(Failure::Refused(_)) => 3,
    }
}
