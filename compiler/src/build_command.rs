//! `build`: a policy → a bundle, signed where keys are given.

use bfp_bundle::envelope::Document;
use bfp_bundle::key::KeyId;
use bfp_compiler::pipeline::{self, Release};

use crate::output::{self, Kind};
use crate::passphrase::Passphrases;
use crate::policy_files::Files;
use crate::report::Done;
use crate::signed_document::listed;
use crate::{BuildArguments, Failure, key_file, validity};

pub(crate) fn build(arguments: &BuildArguments) -> Result<Done, Failure> {
    let files = Files::read(&arguments.policy)?;
    arguments.demands.check(&files, &arguments.policy)?;
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
    let checked = pipeline::check(&files.source()).map_err(show)?;
    let warnings = files.warnings(&checked);
    if arguments.deny_warnings && !warnings.is_empty() {
        return Err(Failure::Found { words: None, complaints: warnings });
    }
    let image = pipeline::lower(&checked).map_err(show)?;
    let proven = pipeline::prove(&checked, image).map_err(show)?;
    let bundle = pipeline::sign(&files.source(), &proven, release, &keys).map_err(show)?;
    let signers: Vec<KeyId> = keys.iter().map(|key| key.public().id()).collect();
    let signed = match signers.as_slice() {
        [] => "\nunsigned: no host accepts it before `bfpc sign`".to_owned(),
        signers => format!(", signed by {}", listed(signers)),
    };
    let words = format!(
        "verdicts proven: {}\n{}: policy {}, revision {}, {} bytes{signed}\n",
        proven.proof(),
        arguments.output.display(),
        checked.policy().name,
        arguments.revision,
        bundle.len(),
    );
    let bytes = output::write(&arguments.output, bundle, Kind::Document(Document::Bundle))?;
    Ok(Done { words, warnings, bytes })
}
