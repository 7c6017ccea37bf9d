//! All stages on one screen: loaded policy and lock → bundle.
//!
//! Nothing here reads a file, a socket or the clock: the same arguments give the same bytes.

use std::collections::{BTreeSet, HashSet};

use bfp_bundle::debug::{Debug, DebugEffect, DebugRule, Place};
use bfp_bundle::image::Image;
use bfp_bundle::manifest::Manifest;
use bfp_bundle::seal;
use bfp_bundle::secret_key::SecretKey;
use bfp_grammar::syntax::{Span, Statement};
use sha2::{Digest, Sha256};

use crate::check::CheckedPolicy;
use crate::compiled::Compiled;
use crate::findings::{Findings, boxed};
use crate::load::Loaded;
use crate::lock::Lock;
use crate::policy::{Default, Effect, Enforcement, ResolvedPolicy, Subjects};
use crate::prove::ProvenImage;
use crate::regions::{self, Plane};
use crate::{check, lower, prove, resolve};

/// What goes in.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The policy, as read.
    pub loaded: &'a Loaded,
    /// The name of the policy, where the text gives none.
    pub stem: &'a str,
    /// The text of its lock file; empty where there is none.
    pub lock_text: &'a str,
    /// The answers in it.
    pub lock: &'a Lock,
}

/// Syntax tree → policy without contradiction.
pub fn check(source: &Source<'_>) -> Result<CheckedPolicy, Findings> {
    let resolved = resolve::resolve(source.loaded, source.stem, source.lock).map_err(|errors| {
        let mut findings = boxed(errors);
        // Who tries to accept one of these errors would else learn that it is no use only once they are mended.
        findings.extend(boxed(check::not_acceptable(&source.loaded.syntax)));
        findings.sort_by_cached_key(|finding| finding.labels()?.next().map(|label| label.offset()));
        findings
    })?;
    check::check(resolved)
}

/// The tables of a host without a policy, to compare a new one with: no rule, and the default to allow.
pub fn nothing() -> Result<Compiled, Findings> {
    let checked = check::check(ResolvedPolicy::default())?;
    Ok(Compiled { name: String::new(), image: lower(&checked)?, debug: Debug::default() })
}

/// Policy → tables.
pub fn lower(policy: &CheckedPolicy) -> Result<Image, Findings> {
    lower::lower(policy).map_err(|error| boxed(vec![error]))
}

/// Tables → tables that are proven to mean what the policy means.
pub fn prove(policy: &CheckedPolicy, image: Image) -> Result<ProvenImage<'_>, Findings> {
    prove::prove(policy, image).map_err(|error| boxed(vec![error]))
}

/// What a release says about itself, beside what the source says.
#[derive(Clone, Debug, Default)]
pub struct Release {
    /// The revision.
    pub revision: u64,
    /// See [`Manifest::not_before`].
    pub not_before: Option<u64>,
    /// See [`Manifest::expires`].
    pub expires: Option<u64>,
    /// See [`Manifest::audience`].
    pub audience: Vec<String>,
    /// See [`Manifest::lockdown`].
    pub lockdown: bool,
}

/// Proven tables → bundle, signed by these keys. Without one, signatures are added to it later.
pub fn sign(
    source: &Source<'_>,
    proven: &ProvenImage<'_>,
    release: Release,
    keys: &[SecretKey],
) -> Result<Vec<u8>, Findings> {
    let policy = proven.policy();
    let manifest = Manifest {
        policy: policy.policy().name.clone(),
        revision: release.revision,
        not_before: release.not_before,
        expires: release.expires,
        audience: release.audience,
        lockdown: release.lockdown,
        source_sha256: source.loaded.sources.digest(),
        lock_sha256: Sha256::digest(source.lock_text).into(),
        compiler: concat!("bfpc ", env!("CARGO_PKG_VERSION")).to_owned(),
        needs: lower::needs(policy).into_iter().map(|need| need as u16).collect(),
        sections: Vec::new(),
    };
    seal::seal_bundle(manifest, proven.image(), &debug(source, policy, proven.image()), keys)
        .map_err(|error| boxed(vec![SealError { reason: error.to_string() }]))
}

/// Where the rules and addresses of a policy came from.
pub fn debug(source: &Source<'_>, policy: &CheckedPolicy, image: &Image) -> Debug {
    let policy = policy.policy();
    let sources = &source.loaded.sources;
    let text = |span: Span| one_line(span.text_in(sources.text()));
    let place = |span: Span| Place {
        file: sources.file_at(span.start).map_or_else(String::new, |file| file.name.clone()),
        line: sources.line_at(span.start),
        text: text(span),
    };
    let rules = policy.rules.iter().map(|rule| DebugRule {
        place: place(rule.span),
        effect: match rule.effect {
            Effect::Exclusive => DebugEffect::Exclusive,
            Effect::Confined => DebugEffect::Confined,
            Effect::Deny => DebugEffect::Deny,
            Effect::Allow => DebugEffect::Allow,
        },
        is_audited: rule.enforcement == Enforcement::Audited,
        subjects: match &rule.subjects {
            Subjects::Everyone => None,
            Subjects::Programs(programs) => Some(programs.iter().map(|program| program.0 as u32).collect()),
        },
        destinations: text(rule.destinations_span),
    });
    let names = policy
        .names
        .iter()
        .flat_map(|(name, addresses)| addresses.iter().map(move |at| (at.to_string(), name.as_str().to_owned())));
    let hosts = source.loaded.syntax.statements.iter().filter_map(|statement| match &statement.node {
        Statement::Host(host) => Some((host.name.node.clone(), text(host.destinations.span))),
        _ => None,
    });
    Debug {
        rules: rules.collect(),
        default: match policy.default {
            Default::Allow => None,
            Default::Deny(span) => Some(place(span)),
        },
        cells: covering(policy, image),
        names: names.collect(),
        programs: policy.programs.iter().map(|program| (program.path.clone(), program.name.clone())).collect(),
        hosts: hosts.collect(),
    }
}

/// The rules that cover each cell. Those of `*` cover all of them.
fn covering(policy: &ResolvedPolicy, image: &Image) -> Vec<Vec<u32>> {
    let plane = Plane::of(&[image]);
    let mut cells: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); image.cells.len()];
    for (number, rule) in policy.rules.iter().enumerate() {
        let mut seen = HashSet::new();
        for region in plane.covered(&rule.destinations) {
            // Of an address that is judged twice, this is the cell of the address itself.
            let cell =
                if seen.insert(region.kind) { regions::cells(image, region.sample()).first().copied() } else { None };
            if let Some(covered) = cell.and_then(|cell| cells.get_mut(cell as usize)) {
                covered.insert(number as u32);
            }
        }
    }
    cells.into_iter().map(|rules| rules.into_iter().collect()).collect()
}

/// The tables cannot be written.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("the bundle cannot be encoded: {reason}")]
#[diagnostic(code(sign::unencodable), help("this is a defect of the compiler: report it with the policy"))]
struct SealError {
    reason: String,
}

/// A rule on one line, without comments.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(|line| line.split_once('#').map_or(line, |(rule, _)| rule).trim());
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
