//! All stages on one screen: loaded policy and lock → compiled policy → bundle.
//!
//! Nothing here reads a file, a socket or the clock: the same arguments give the same bytes.

use bfp_bundle::debug::Debug;
use bfp_bundle::image::Image;
use bfp_bundle::manifest::{Manifest, Parameter};
use bfp_bundle::seal;
use bfp_bundle::secret_key::SecretKey;
use sha2::{Digest, Sha256};

use crate::check::CheckedPolicy;
use crate::diagnostics::findings::{Findings, boxed};
use crate::policy::ResolvedPolicy;
use crate::prove::{Proof, ProvenImage};
use crate::query::queryable::Queryable;
use crate::resolve::Source;
use crate::{annotate, check, lower, prove, resolve};

/// A policy with its tables and their debug section: what is queried, and what a bundle is made of.
#[derive(Debug)]
pub struct Compiled<'a> {
    /// What it was compiled from.
    pub source: Source<'a>,
    /// The policy, without contradiction.
    pub checked: CheckedPolicy,
    /// Its tables, not proven yet.
    pub image: Image,
    /// Where the tables come from.
    pub debug: Debug,
}

/// Syntax tree → tables.
///
/// # Errors
///
/// Those of the first stage that has any: [`check()`], or [`lower()`].
pub fn compile<'a>(source: &Source<'a>) -> Result<Compiled<'a>, Findings> {
    let checked = check(source)?;
    let image = lower(&checked)?;
    let debug = annotate::debug(source, &checked, &image);
    Ok(Compiled { source: *source, checked, image, debug })
}

/// A bundle, and the size of its proof.
#[derive(Debug)]
pub struct Released {
    /// The file.
    pub bundle: Vec<u8>,
    /// What was compared to prove its tables.
    pub proof: Proof,
}

/// Tables → bundle, signed with each of `keys`. Without keys, signatures must be added later.
///
/// # Errors
///
/// One, which is a defect of the compiler: that of [`prove()`], or of [`sign()`].
pub fn release(compiled: Compiled<'_>, release: Release, keys: &[SecretKey]) -> Result<Released, Findings> {
    let Compiled { source, checked, image, debug } = compiled;
    let proven = prove(&checked, image)?;
    let bundle = sign(&source, &proven, &debug, release, keys)?;
    Ok(Released { bundle, proof: proven.proof() })
}

/// Syntax tree → policy without contradiction.
///
/// # Errors
///
/// Every error of resolving, in the order of the text; where there is none, every error of checking.
pub fn check(source: &Source<'_>) -> Result<CheckedPolicy, Findings> {
    let resolved = resolve::resolve(source.loaded, source.stem, source.lock).map_err(|errors| {
        let mut findings = boxed(errors);
        // Such an `accept` has no effect either. Reporting it only after the author fixed the error would take another
        // run.
        findings.extend(boxed(check::not_acceptable(&source.loaded.syntax)));
        findings.sort_by_cached_key(|finding| finding.labels()?.next().map(|label| label.offset()));
        findings
    })?;
    check::check(resolved)
}

/// Policy → tables.
///
/// # Errors
///
/// One (see [`lower::LowerError`]): a table would exceed its capacity, the tables of names cannot be built, or two
/// programs have the same id.
pub fn lower(policy: &CheckedPolicy) -> Result<Image, Findings> {
    lower::lower(policy).map_err(|error| boxed(vec![error]))
}

/// Tables → tables that are proven to mean what the policy means.
///
/// # Errors
///
/// One: the first difference that was found, which is a defect of the compiler (see [`prove::ProveError`]).
pub fn prove(policy: &CheckedPolicy, image: Image) -> Result<ProvenImage<'_>, Findings> {
    prove::prove(policy, image).map_err(|error| boxed(vec![error]))
}

/// Proven tables and their debug section → bundle.
///
/// # Errors
///
/// The bundle cannot be encoded, which is a defect of the compiler.
pub fn sign(
    source: &Source<'_>,
    proven: &ProvenImage<'_>,
    debug: &Debug,
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
        parameters: source.loaded.values.iter().map(|(name, value)| Parameter::new(name, value)).collect(),
    };
    seal::seal_bundle(manifest, proven.image(), debug, keys)
        .map_err(|error| boxed(vec![SealError { reason: error.to_string() }]))
}

/// The part of the manifest that does not come from the source.
#[derive(Clone, Debug, Default)]
pub struct Release {
    /// See [`Manifest::revision`].
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

/// The tables of a host without a policy, as a baseline for comparison: no rules, and `default allow`.
///
/// # Errors
///
/// Those of [`check()`] and [`lower()`]; the empty policy has none.
pub fn nothing() -> Result<Queryable, Findings> {
    let checked = check::check(ResolvedPolicy::default())?;
    Ok(Queryable { name: String::new(), image: lower(&checked)?, debug: Debug::default() })
}

/// The bundle cannot be encoded.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("the bundle cannot be encoded: {reason}")]
#[diagnostic(code(sign::unencodable), help("this is a defect of the compiler: report it with the policy"))]
struct SealError {
    reason: String,
}
