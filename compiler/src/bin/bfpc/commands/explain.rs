//! `explain`: the verdict for one program and one destination, by the function that the kernel uses, and
//! every rule that has a say in it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use bfp_bundle::decide::Reason;
use bfp_bundle::record::Policy;
use bfp_compiler::policy::{Destination, program_text};
use bfp_compiler::query::describe::{AddressNames, Described, describe};
use bfp_compiler::query::queryable::{Judgement, Queryable, Who};
use bfp_compiler::query::question::check_size;
use bfp_compiler::query::regions::Plane;
use clap::Args;
use serde::Serialize;

use crate::commands::reach;
use crate::files::input::{DecidingRules, Format, Input, InputArguments, ShownRule, json, shortened};
use crate::{Answer, Failure};

#[derive(Args)]
pub(crate) struct ExplainArguments {
    /// The policy, or the bundle (which requires `--trust`)
    file: PathBuf,
    /// A path, a name that the policy declares, or `*`; `A > B` is B as A started it
    #[arg(required_unless_present = "all")]
    program: Option<String>,
    /// Anything that the right side of a rule may be; a port without a protocol is a TCP port
    #[arg(required_unless_present = "all")]
    destination: Option<String>,
    /// Show everything that a program can reach, or every program that can reach a destination
    #[arg(long, requires = "whole", conflicts_with_all = ["program", "destination"])]
    all: bool,
    /// With --all: the program
    #[arg(long = "program", value_name = "PROGRAM", group = "whole", requires = "all")]
    of: Option<String>,
    /// With --all: the destination
    #[arg(long = "destination", value_name = "DESTINATION", group = "whole", requires = "all")]
    to: Option<String>,
    #[command(flatten)]
    input: InputArguments,
    /// The format of the answer
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// The answer, as a machine reads it.
#[derive(Serialize)]
struct Document {
    version: u32,
    allowed: bool,
    answers: Vec<ShownAnswer>,
}

/// The requests of one program that are judged alike.
#[derive(Serialize)]
struct ShownAnswer {
    program: String,
    /// The programs of the policy that the file is, where its path alone does not say so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    matches: Vec<String>,
    allowed: bool,
    reason: &'static str,
    destinations: Vec<Described>,
    rule: Option<ShownRule>,
    audit: Option<ShownRule>,
    also: Vec<ShownRule>,
}

pub(crate) fn explain(arguments: &ExplainArguments) -> Answer {
    let input = Input::read(&arguments.file, &arguments.input)?;
    match (&arguments.program, &arguments.destination, &arguments.of, &arguments.to) {
        (Some(program), Some(destination), ..) => {
            let programs = input.programs(program)?;
            answer(&input.compiled, &programs, &input.destinations(destination)?, arguments.format)
        }
        (_, _, Some(program), _) => reach::reached_by(&input.compiled, &input.programs(program)?, arguments.format),
        (_, _, _, Some(written)) => reach::reaching(&input.compiled, &input.destinations(written)?, arguments.format),
        // The arguments demand one of the three.
        _ => Ok(String::new()),
    }
}

fn answer(compiled: &Queryable, programs: &[Who], asked: &[Destination], format: Format) -> Answer {
    let plane = Plane::of(&[&compiled.image]);
    let regions = plane.within(asked);
    check_size(programs.len(), regions.len())?;
    let names = AddressNames::of(&compiled.debug);
    let mut answers = Vec::new();
    for who in programs {
        let asker = compiled.asker(who);
        let matches: Vec<String> = match who {
            Who::Program(text) => compiled.patterns_of(text).into_iter().map(program_text::words).collect(),
            _ => Vec::new(),
        };
        let mut groups: Vec<(Judgement, Vec<Destination>)> = Vec::new();
        let mut known: HashMap<Judgement, usize> = HashMap::new();
        for region in &regions {
            let judgement = asker.judge(region);
            let group = *known.entry(judgement.clone()).or_insert(groups.len());
            match groups.get_mut(group) {
                Some((_, destinations)) => destinations.push(region.destination()),
                None => groups.push((judgement, vec![region.destination()])),
            }
        }
        answers.extend(groups.into_iter().map(|(judgement, destinations)| {
            let DecidingRules { rule, audit, also } = DecidingRules::of(compiled, &judgement);
            let shown = ShownAnswer {
                program: who.text(),
                matches: matches.clone(),
                allowed: judgement.is_allowed,
                reason: reason_name(judgement.reason),
                destinations: describe(&destinations, &names),
                rule,
                audit,
                also,
            };
            (shown, judgement.reason)
        }));
    }
    let allowed = answers.iter().all(|(answer, _)| answer.allowed);
    let said = match format {
        Format::Human => answers.iter().map(|(answer, reason)| said(answer, because(compiled, *reason))).collect(),
        Format::Json => {
            json(&Document { version: 1, allowed, answers: answers.into_iter().map(|(answer, _)| answer).collect() })
        }
    };
    if allowed { Ok(said) } else { Err(Failure::Finding(said)) }
}

/// More ranges than this are counted, not listed.
pub(crate) const MOST_LISTED: usize = 24;

fn said(answer: &ShownAnswer, because: &str) -> String {
    let mut said = String::new();
    let word = if answer.allowed { "allowed" } else { "denied" };
    // Writing to a string cannot fail.
    for to in answer.destinations.iter().take(MOST_LISTED) {
        let _ = writeln!(said, "{word}  {} -> {}", answer.program, shortened(&to.place()));
    }
    if let Some(more) = answer.destinations.len().checked_sub(MOST_LISTED).filter(|more| *more > 0) {
        let _ = writeln!(said, "{word}  {} -> {more} more ranges", answer.program);
    }
    if !answer.matches.is_empty() {
        let matches: Vec<String> = answer.matches.iter().map(|text| format!("`{text}`")).collect();
        let _ = writeln!(said, "  this file is {}", matches.join(" and "));
    }
    let _ = writeln!(said, "  because {because}");
    if let Some(rule) = &answer.rule {
        let _ = writeln!(said, "  {}", rule.text());
    }
    if let Some(rule) = &answer.audit {
        let _ = writeln!(said, "  an audit rule would refuse it\n  {}", rule.text());
    }
    if !answer.also.is_empty() {
        said.push_str("  what else applies\n");
        for rule in &answer.also {
            let _ = writeln!(said, "  {}", rule.text());
        }
    }
    for to in answer.destinations.iter().take(MOST_LISTED).filter(|to| !to.names.is_empty()) {
        let address = to.addresses.trim_start_matches('[').trim_end_matches(']');
        let _ = writeln!(said, "  {address} is {} in the lock", to.names.join(", "));
    }
    said
}

pub(crate) fn because(compiled: &Queryable, reason: Reason) -> &'static str {
    let denies_by_default = compiled.image.policy.flags & Policy::DEFAULT_DENY != 0;
    match reason {
        Reason::Default => "nothing refuses it, and the default is to allow",
        Reason::Granted => "a rule grants it",
        Reason::Denied => "a rule denies it",
        Reason::Exclusive => "only other programs may reach this destination",
        Reason::Confined => "this program, or one that started it, may reach nothing but what its rule names",
        Reason::NotGranted if denies_by_default => "the default is to deny, and no rule grants it",
        Reason::NotGranted => "raw sockets need a grant for a program that the policy names, and no rule gives it",
        Reason::Overflow => "too many restricted programs led to this process",
        Reason::Fault => "the tables cannot be read",
    }
}

/// The reason as a machine reads it.
fn reason_name(reason: Reason) -> &'static str {
    match reason {
        Reason::Default => "default",
        Reason::Granted => "granted",
        Reason::Denied => "denied",
        Reason::Exclusive => "exclusive",
        Reason::Confined => "confined",
        Reason::NotGranted => "not_granted",
        Reason::Overflow => "overflow",
        Reason::Fault => "fault",
    }
}
