//! What a question is asked of: a policy with its lock, or a bundle that is verified first.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use bfp_bundle::debug::{DebugNotes, Place};
use bfp_bundle::decide::Reason;
use bfp_bundle::envelope::Document;
use bfp_bundle::verify::{MAX_BUNDLE_BYTES, Refusal};
use bfp_compiler::check::CheckedPolicy;
use bfp_compiler::pipeline::{self, Compiled};
use bfp_compiler::policy::Destination;
use bfp_compiler::query::queryable::{Judgement, Queryable, Who};
use bfp_compiler::query::question::{self, Vocabulary, check_size};
use bfp_compiler::source;
use clap::{Args, ValueEnum, value_parser};
use miette::Diagnostic;
use serde::Serialize;

use crate::Failure;
use crate::files::policy_files::Files;
use crate::files::settings::Settings;
pub(crate) use crate::report::json::written as json;
use crate::signing::refusal::refused;
use crate::signing::trust::TrustArguments;
use crate::signing::verified::{compiled, verified};

#[derive(Debug, thiserror::Error, Diagnostic)]
pub(crate) enum InputError {
    #[error("`{file}` is a bundle, which must be verified before it is read")]
    #[diagnostic(code(explain::trust), help("add `--trust KEY`"))]
    Trust { file: String },
    #[error("the policy declares no program `{name}`")]
    #[diagnostic(
        code(explain::program),
        help("name a program that the policy declares, or any path, such as `/usr/bin/{name}`")
    )]
    Program { name: String },
    #[error("`{written}` is neither a path that a program can have nor a pattern of the policy")]
    #[diagnostic(
        code(explain::program),
        help(
            "write an absolute path, such as `/usr/bin/curl`, without `.`, `..`, `*` and doubled slashes; or a pattern \
             exactly as in the policy"
        )
    )]
    Path { written: String },
    #[error("`{file}` is a bundle, which has its values already")]
    #[diagnostic(code(input::set_of_bundle), help("leave `--set` out; `bfpc inspect` shows the values of a bundle"))]
    SetOfBundle { file: String },
    #[error("`{file}` is a bundle, but this command reads policies")]
    #[diagnostic(code(input::not_a_policy), help("name the policy that the bundle was built from"))]
    NotAPolicy { file: String },
}

/// Whom to trust where a bundle is given.
#[derive(Args)]
pub(crate) struct InputArguments {
    /// For a bundle: the trusted public key, a directory of them (*.pem), or the trust set in force
    #[arg(long, value_name = "PATH")]
    pub(crate) trust: Option<PathBuf>,
    /// For a bundle: how many trusted keys must have signed; raises the threshold that PATH states, and cannot lower it
    #[arg(long, default_value_t = 1, value_name = "M", value_parser = value_parser!(u16).range(1..))]
    pub(crate) threshold: u16,
    /// For a bundle that is not for every host: a tag of the host
    #[arg(long, value_name = "LABEL")]
    pub(crate) audience: Vec<String>,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// Who reads the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text for people
    Human,
    /// One JSON document, whose `version` rises when a field changes its meaning
    Json,
}

/// What was given, ready to be asked.
pub(crate) struct Input {
    pub(crate) compiled: Queryable,
    /// The source, where it is a policy.
    pub(crate) policy: Option<(Files, CheckedPolicy)>,
}

impl Input {
    /// Reads a policy or a bundle.
    pub(crate) fn read(path: &Path, arguments: &InputArguments) -> Result<Input, Failure> {
        let bytes = source::read_bytes(path, MAX_BUNDLE_BYTES)?;
        match Document::of(&bytes) {
            None => return Input::of_policy(Files::read(path)?.set(&arguments.settings)?),
            Some(Document::Bundle) => {}
            found => return Err(refused(Refusal::BadMagic { wanted: Document::Bundle, found })),
        }
        let Some(trust) = &arguments.trust else {
            return Err(InputError::Trust { file: path.display().to_string() }.into());
        };
        arguments.settings.refuse_for(path)?;
        let (threshold, audience) = (arguments.threshold, arguments.audience.clone());
        let bundle = verified(&bytes, &TrustArguments { trust: trust.to_owned(), threshold, audience })?;
        Ok(Input { compiled: compiled(&bundle)?, policy: None })
    }

    /// Reads a policy; a bundle is an error.
    pub(crate) fn read_policy(path: &Path, settings: &Settings) -> Result<(Files, CheckedPolicy, Queryable), Failure> {
        if Document::of(&source::read_bytes(path, MAX_BUNDLE_BYTES)?).is_some() {
            return Err(InputError::NotAPolicy { file: path.display().to_string() }.into());
        }
        compile(Files::read(path)?.set(settings)?)
    }

    pub(crate) fn of_policy(files: Files) -> Result<Input, Failure> {
        let (files, checked, compiled) = compile(files)?;
        Ok(Input { compiled, policy: Some((files, checked)) })
    }

    /// The programs that were asked about.
    pub(crate) fn programs(&self, written: &str) -> Result<Vec<Who>, Failure> {
        let steps = written.split(" > ").map(|step| self.program(step.trim())).collect::<Result<Vec<_>, _>>()?;
        let chains = steps.iter().map(Vec::len).fold(1usize, usize::saturating_mul);
        check_size(chains, 1)?;
        Ok(Queryable::chains(&steps))
    }

    fn program(&self, written: &str) -> Result<Vec<Who>, Failure> {
        // No file lies at such a path, and a verdict about it would be one about nothing.
        let is_odd = |name: &str| matches!(name, "" | "." | "..");
        if written.strip_prefix('/').is_some_and(|rest| rest.split('/').any(is_odd)) {
            return Err(InputError::Path { written: written.to_owned() }.into());
        }
        match self.compiled.programs_named(written) {
            none if none.is_empty() && written.contains(['/', '*']) => {
                Err(InputError::Path { written: written.to_owned() }.into())
            }
            none if none.is_empty() => Err(InputError::Program { name: written.to_owned() }.into()),
            programs => Ok(programs),
        }
    }

    /// The destinations that were asked about.
    pub(crate) fn destinations(&self, written: &str) -> Result<Vec<Destination>, Failure> {
        let vocabulary = match &self.policy {
            Some((files, _)) => Vocabulary::Source(files.source()),
            None => Vocabulary::Debug(&self.compiled.debug),
        };
        let asked = question::destinations(written, vocabulary)?;
        question::check_distinguished(written, &asked, &self.compiled.image)?;
        Ok(asked)
    }
}

fn compile(files: Files) -> Result<(Files, CheckedPolicy, Queryable), Failure> {
    let compiled = pipeline::compile(&files.source()).map_err(|findings| files.show(findings))?;
    let Compiled { checked, image, mut debug, .. } = compiled;
    // A bundle names files from the policy's folder, which it does not know; here there is a file to open.
    let known = files.loaded.sources.files();
    for place in debug.rules.iter_mut().map(|rule| &mut rule.place).chain(&mut debug.default) {
        if let Some(file) = known.iter().find(|file| file.name == place.file) {
            place.file = file.shown.clone();
        }
    }
    let name = checked.policy().name.clone();
    Ok((files, checked, Queryable { name, image, debug }))
}

/// A rule as a machine reads it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct ShownRule {
    file: String,
    line: u32,
    /// Without its notes.
    text: String,
    #[serde(flatten)]
    notes: Option<ShownNotes>,
}

impl ShownRule {
    fn of(place: &Place) -> ShownRule {
        ShownRule { file: place.file.clone(), line: place.line, text: place.text.clone(), notes: None }
    }

    /// `policy.bfp:5  only signer -> kms until 2027-01-31`
    pub(crate) fn text(&self) -> String {
        let notes = self.notes.as_ref().map_or(String::new(), |notes| format!(" {}", notes.text));
        format!("{}:{}  {}{}", self.file, self.line, shortened(&self.text), shortened(&notes))
    }
}

/// What the author of a rule wrote about it, as a machine reads it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct ShownNotes {
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<String>,
    #[serde(rename = "because", skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// As a policy writes them.
    #[serde(skip)]
    pub(crate) text: String,
}

impl ShownNotes {
    pub(crate) fn of(notes: &DebugNotes) -> ShownNotes {
        let text = notes.to_string();
        let DebugNotes { until, owner, ticket, reason, .. } = notes.clone();
        ShownNotes { until, owner, ticket, reason, text }
    }
}

/// Of a longer rule people see so many characters: a generated one may have a million.
const MOST_SHOWN: usize = 500;

/// A text of the policy on a line for people. Machines get the whole of it.
pub(crate) fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MOST_SHOWN) {
        None => text.into(),
        Some((end, _)) => {
            let (shown, rest) = text.split_at(end);
            format!("{shown}… ({} characters more)", rest.chars().count()).into()
        }
    }
}

/// The rules behind a verdict, each place once.
pub(crate) struct DecidingRules {
    /// The one that decided, or the default where that is a statement.
    pub(crate) rule: Option<ShownRule>,
    /// The audit rule that would refuse what is allowed.
    pub(crate) audit: Option<ShownRule>,
    /// The others that apply.
    pub(crate) also: Vec<ShownRule>,
}

impl DecidingRules {
    /// The rule with this number.
    pub(crate) fn rule(compiled: &Queryable, number: usize) -> Option<ShownRule> {
        let notes = compiled.debug.notes_of(number).map(ShownNotes::of);
        compiled.rule(number).map(|rule| ShownRule { notes, ..ShownRule::of(&rule.place) })
    }

    pub(crate) fn of(compiled: &Queryable, judgement: &Judgement) -> DecidingRules {
        let of = |number: usize| DecidingRules::rule(compiled, number);
        let rule = match (judgement.rule, judgement.reason) {
            (None, Reason::NotGranted) => compiled.debug.default.as_ref().map(ShownRule::of),
            (number, _) => number.and_then(of),
        };
        let audit = judgement.audited.and_then(of);
        let mut also: Vec<ShownRule> = Vec::new();
        // `only P -> only D` is one line with two effects.
        for other in judgement.others.iter().filter_map(|number| of(*number)) {
            if Some(&other) != rule.as_ref() && Some(&other) != audit.as_ref() && !also.contains(&other) {
                also.push(other);
            }
        }
        DecidingRules { rule, audit, also }
    }
}
