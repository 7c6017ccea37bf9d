//! `build`: a policy → a bundle, signed where keys are given.

use std::path::PathBuf;

use bfp_bundle::envelope::Document;
use bfp_bundle::key::KeyId;
use bfp_compiler::pipeline::{self, Release, Released};
use clap::{Args, value_parser};

use crate::Failure;
use crate::commands::lock_demands::LockDemands;
use crate::commands::today::Today;
use crate::files::output::{self, Kind};
use crate::files::policy_files::Files;
use crate::files::settings::Settings;
use crate::report::Format;
use crate::report::Output;
use crate::signing::passphrase::Passphrases;
use crate::signing::signed_document::listed;
use crate::signing::{key_file, validity};

#[derive(Args)]
pub(crate) struct BuildArguments {
    /// The policy
    pub(crate) policy: PathBuf,
    /// Where the bundle is written
    #[arg(short, long, value_name = "BUNDLE")]
    pub(crate) output: PathBuf,
    /// A secret key to sign with; may be given several times. Without it, the bundle waits for `bfpc sign`
    #[arg(long, value_name = "PEM")]
    pub(crate) key: Vec<PathBuf>,
    /// A file whose first line is the passphrase of encrypted keys. Without it, `bfpc` prompts on the terminal
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) demands: LockDemands,
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(flatten)]
    pub(crate) today: Today,
    /// The revision: hosts reject a lower one
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub(crate) revision: u64,
    /// Hosts reject the bundle before this time, such as 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) not_before: Option<String>,
    /// Hosts reject the bundle from this time on, such as 2028-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<String>,
    /// A tag of the hosts that the bundle is for; may be given several times. Without it: every host
    #[arg(long, value_name = "LABEL")]
    pub(crate) audience: Vec<String>,
    /// While it is enforced, root cannot remove it without a release token
    #[arg(long)]
    pub(crate) lockdown: bool,
    /// Exit 1 if there is a warning, and write no bundle
    #[arg(long)]
    pub(crate) deny_warnings: bool,
    /// The format of diagnostics: text for people, or one document on the standard output
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) format: Format,
}

pub(crate) fn build(arguments: &BuildArguments) -> Result<Output, Failure> {
    let files = Files::read(&arguments.policy)?;
    arguments.demands.check(&files, &arguments.policy)?;
    let files = files.set(&arguments.settings)?;
    let release = Release {
        revision: arguments.revision,
        not_before: arguments.not_before.as_deref().map(validity::seconds).transpose()?,
        expires: arguments.expires.as_deref().map(validity::seconds).transpose()?,
        audience: arguments.audience.clone(),
        lockdown: arguments.lockdown,
    };
    validity::check(release.not_before, release.expires, &release.audience)?;
    let keys = key_file::secret_keys(&arguments.key, Passphrases::of(arguments.passphrase_file.as_ref()))?;
    let show = |findings| files.show(findings);
    let compiled = pipeline::compile(&files.source()).map_err(show)?;
    let mut warnings = files.warnings(&compiled.checked);
    warnings.add(arguments.today.check(&files, &compiled.checked)?);
    if arguments.deny_warnings && !warnings.is_empty() {
        return Err(Failure::Findings { words: None, diagnostics: warnings });
    }
    let policy = compiled.checked.policy().name.clone();
    let Released { bundle, proof } = pipeline::release(compiled, release, &keys).map_err(show)?;
    let signers: Vec<KeyId> = keys.iter().map(|key| key.public().id()).collect();
    let signed = match signers.as_slice() {
        [] => "\nunsigned: no host accepts it before `bfpc sign`".to_owned(),
        signers => format!(", signed by {}", listed(signers)),
    };
    let words = format!(
        "verdicts proven: {proof}\n{}: policy {policy}, revision {}, {} bytes{signed}\n",
        arguments.output.display(),
        arguments.revision,
        bundle.len(),
    );
    let bytes = output::write(&arguments.output, bundle, Kind::Document(Document::Bundle))?;
    Ok(Output { words, warnings, bytes })
}
