//! `test`: the policy's own `test` blocks, held against what it compiles to.

use std::fmt::Write as _;
use std::path::PathBuf;

use bfp_compiler::check::CheckedPolicy;
use bfp_compiler::diagnostics::findings::Findings;
use bfp_compiler::query::describe::{AddressNames, Described, describe};
use bfp_compiler::query::expectations::{self, Report};
use bfp_compiler::query::queryable::Queryable;
use bfp_compiler::query::xml::escaped;
use bfp_grammar::syntax::{Expected, Span};
use clap::{Args, ValueEnum};
use miette::Diagnostic;
use serde::Serialize;

use crate::commands::explain::because;
use crate::commands::today::Today;
use crate::files::input::{DecidingRules, Input, ShownRule, json, shortened};
use crate::files::output::{self, Kind};
use crate::files::policy_files::Files;
use crate::files::settings::Settings;
use crate::report::{self, Diagnostics, Failure, Output, counted, in_sources};

#[derive(Args)]
pub(crate) struct TestArguments {
    /// The policy
    policy: PathBuf,
    /// List the rules that no expectation exercises
    #[arg(long)]
    coverage: bool,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    today: Today,
    /// Write the result as JUnit XML too
    #[arg(long, value_name = "OUT")]
    junit: Option<PathBuf>,
    /// The format of the answer
    #[arg(long, value_enum, default_value_t = TestFormat::Human)]
    pub(crate) format: TestFormat,
}

/// Who reads the result of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TestFormat {
    /// Text for people
    Human,
    /// One JSON document, whose `version` rises when a field changes its meaning
    Json,
    /// Workflow commands of GitHub Actions, shown beside the lines that they are about
    Github,
}

impl TestFormat {
    /// How reports are written beside.
    pub(crate) fn of_reports(self) -> report::Format {
        match self {
            TestFormat::Github => report::Format::Github,
            TestFormat::Human | TestFormat::Json => report::Format::Human,
        }
    }
}

/// What tests found, at its place.
#[derive(Debug, thiserror::Error, Diagnostic)]
enum TestFinding {
    #[error("`{line}` does not hold in the test `{test}`: {found}")]
    #[diagnostic(code(test::failed))]
    Failed {
        line: String,
        test: String,
        found: String,
        #[help]
        help: Option<String>,
        #[label("expectation not met")]
        span: Span,
    },
    #[error("no expectation exercises this rule")]
    #[diagnostic(
        code(test::not_exercised),
        severity(Warning),
        help("write a `test` line about a request that the rule grants or denies")
    )]
    NotExercised {
        #[label("not tested")]
        span: Span,
    },
}

/// The result, as a machine reads it.
#[derive(Serialize)]
struct Document {
    version: u32,
    policy: String,
    passed: bool,
    tests: Vec<ShownTest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unexercised: Option<Vec<ShownRule>>,
}

/// A `test` block.
#[derive(Serialize)]
struct ShownTest {
    name: String,
    file: String,
    line: u32,
    expectations: usize,
    passed: bool,
    failures: Vec<ShownFailure>,
}

/// A line of it that does not hold.
#[derive(Serialize)]
struct ShownFailure {
    file: String,
    line: u32,
    text: String,
    expected: &'static str,
    counterexample: Option<ShownCounterExample>,
}

/// A request that is judged otherwise.
#[derive(Serialize)]
struct ShownCounterExample {
    program: String,
    destination: Described,
    verdict: &'static str,
    because: &'static str,
    rule: Option<ShownRule>,
}

pub(crate) fn test(arguments: &TestArguments) -> Result<Output, Failure> {
    let (files, checked, compiled) = Input::read_policy(&arguments.policy, &arguments.settings)?;
    let warnings = arguments.today.check(&files, &checked)?;
    let report = expectations::run(&checked, &compiled);
    let mut unexercised: Vec<ShownRule> = Vec::new();
    if arguments.coverage {
        let exercised = |rule: &usize| !report.unexercised.contains(rule);
        let shown = |number: usize| DecidingRules::rule(&compiled, number);
        let reached: Vec<ShownRule> = (0..compiled.debug.rules.len()).filter(exercised).filter_map(shown).collect();
        // A line with two effects is exercised with one of them.
        let missed = report.unexercised.iter().filter_map(|number| shown(*number));
        unexercised.extend(missed.filter(|rule| !reached.contains(rule)));
        unexercised.dedup();
    }
    let document = Document {
        version: 1,
        policy: compiled.name.clone(),
        passed: report.is_passed(),
        tests: shown(&report, &files, &compiled),
        unexercised: arguments.coverage.then_some(unexercised),
    };
    let mut diagnostics = match arguments.format {
        TestFormat::Github => diagnostics(&report, &document, &files, &checked, arguments.coverage),
        TestFormat::Human | TestFormat::Json => Diagnostics::default(),
    };
    diagnostics.add(warnings);
    let report =
        arguments.junit.as_ref().map(|path| output::write(path, junit(&document).into_bytes(), Kind::TestReport));
    let said = match (report.transpose()?.flatten(), arguments.format) {
        // The report takes the place of the answer, which would be no XML behind it.
        (Some(report), _) => String::from_utf8_lossy(&report).into_owned(),
        (None, TestFormat::Json) => json(&document),
        (None, TestFormat::Human) => human(&document, &files.file),
        (None, TestFormat::Github) if document.passed => {
            return Ok(Output { warnings: diagnostics, ..Output::default() });
        }
        (None, TestFormat::Github) => return Err(Failure::Findings { words: None, diagnostics }),
    };
    if document.passed { Ok(Output { warnings: diagnostics, ..said.into() }) } else { Err(Failure::Finding(said)) }
}

/// The lines that do not hold, and with coverage the rules that no line exercises.
fn diagnostics(
    report: &Report,
    document: &Document,
    files: &Files,
    checked: &CheckedPolicy,
    coverage: bool,
) -> Diagnostics {
    let mut findings: Findings = Vec::new();
    for (outcome, shown) in report.outcomes.iter().zip(&document.tests) {
        for (failure, told) in outcome.failures.iter().zip(&shown.failures) {
            let (found, help) = match &told.counterexample {
                None => ("it is about no request at all".to_owned(), None),
                Some(found) => (
                    format!(
                        "{} -> {} is {}, because {}",
                        found.program,
                        found.destination.text(),
                        found.verdict,
                        found.because
                    ),
                    found.rule.as_ref().map(|rule| format!("see {}", rule.text())),
                ),
            };
            let (line, test) = (told.text.clone(), outcome.name.clone());
            findings.push(Box::new(TestFinding::Failed { line, test, found, help, span: failure.span }));
        }
    }
    if coverage {
        let rules = &checked.policy().rules;
        let span = |number: &usize| rules.get(*number).map(|rule| rule.span);
        // A line with two effects is exercised with one of them.
        let exercised: Vec<Span> =
            (0..rules.len()).filter(|number| !report.unexercised.contains(number)).filter_map(|at| span(&at)).collect();
        let mut missed: Vec<Span> = report.unexercised.iter().filter_map(span).collect();
        missed.retain(|span| !exercised.contains(span));
        missed.dedup();
        findings.extend(missed.into_iter().map(|span| Box::new(TestFinding::NotExercised { span }) as _));
    }
    in_sources(findings, &files.file, &files.loaded.sources)
}

fn shown(report: &Report, files: &Files, compiled: &Queryable) -> Vec<ShownTest> {
    let names = AddressNames::of(&compiled.debug);
    let failure = |failure: &expectations::Failure| {
        let (file, line) = files.place(failure.span);
        let counterexample = failure.counterexample.as_ref().and_then(|found| {
            let rule = DecidingRules::of(compiled, &found.judgement).rule;
            let destination = describe(std::slice::from_ref(&found.destination), &names).into_iter().next()?;
            Some(ShownCounterExample {
                program: found.who.text(),
                destination,
                verdict: if found.judgement.is_allowed { "allowed" } else { "denied" },
                because: because(compiled, found.judgement.reason),
                rule,
            })
        });
        ShownFailure {
            file,
            line,
            text: one_line(files, failure.span),
            expected: match failure.expected {
                Expected::Allowed => "allowed",
                Expected::Denied => "denied",
            },
            counterexample,
        }
    };
    let test = |outcome: &expectations::Outcome| {
        let (file, line) = files.place(outcome.span);
        ShownTest {
            name: outcome.name.clone(),
            file,
            line,
            expectations: outcome.expectations,
            passed: outcome.is_passed(),
            failures: outcome.failures.iter().map(failure).collect(),
        }
    };
    report.outcomes.iter().map(test).collect()
}

fn one_line(files: &Files, span: Span) -> String {
    files.text(span).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn human(document: &Document, file: &str) -> String {
    let mut said = String::new();
    // Writing to a string cannot fail, here and below.
    for test in &document.tests {
        let word = if test.passed { "ok    " } else { "failed" };
        let _ = writeln!(said, "{word}  {} ({})", test.name, counted(test.expectations, "expectation"));
        for failure in &test.failures {
            let _ = writeln!(said, "  {}:{}  {}", failure.file, failure.line, shortened(&failure.text));
            said.push_str(&told(failure, "    "));
        }
    }
    let failed = document.tests.iter().filter(|test| !test.passed).count();
    let _ = match (document.tests.len(), failed) {
        (0, _) => writeln!(said, "{file}: it has no tests"),
        (all, 0) => writeln!(said, "{file}: {} passed", counted(all, "test")),
        (all, failed) => writeln!(said, "{file}: {failed} of {} failed", counted(all, "test")),
    };
    match document.unexercised.as_deref() {
        None => {}
        Some([]) => said.push_str("every rule is exercised\n"),
        Some(rules) => {
            let _ = writeln!(said, "{} exercised by no expectation", counted(rules.len(), "rule"));
            for rule in rules {
                let _ = writeln!(said, "  {}", rule.text());
            }
        }
    }
    said
}

/// Why a line does not hold.
fn told(failure: &ShownFailure, indent: &str) -> String {
    let Some(found) = &failure.counterexample else {
        return format!("{indent}it is about no request at all\n");
    };
    let mut said = format!("{indent}{}  {} -> {}\n", found.verdict, found.program, found.destination.text());
    let _ = writeln!(said, "{indent}because {}", found.because);
    if let Some(rule) = &found.rule {
        let _ = writeln!(said, "{indent}{}", rule.text());
    }
    said
}

/// A suite for the policy, a case for each test block.
fn junit(document: &Document) -> String {
    let failed = document.tests.iter().filter(|test| !test.passed).count();
    let (name, all) = (escaped(&document.policy), document.tests.len());
    let mut said = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites tests=\"{all}\" failures=\"{failed}\">\n\
         \x20 <testsuite name=\"{name}\" tests=\"{all}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\">\n"
    );
    for test in &document.tests {
        let _ = write!(
            said,
            "    <testcase name=\"{}\" classname=\"{name}\" file=\"{}\" line=\"{}\" assertions=\"{}\"",
            escaped(&test.name),
            escaped(&test.file),
            test.line,
            test.expectations
        );
        if test.passed {
            said.push_str("/>\n");
            continue;
        }
        said.push_str(">\n");
        for failure in &test.failures {
            let _ = writeln!(
                said,
                "      <failure message=\"{}\" type=\"expectation\">{}:{}\n{}</failure>",
                escaped(&failure.text),
                escaped(&failure.file),
                failure.line,
                escaped(&told(failure, ""))
            );
        }
        said.push_str("    </testcase>\n");
    }
    said.push_str("  </testsuite>\n</testsuites>\n");
    said
}
