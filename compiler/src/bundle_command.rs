//! The commands over bundles and keys: `build`, `verify`, `keygen`.

use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bfp_bundle::key::{KeyError, KeyId, PublicKey};
use bfp_bundle::manifest::Need;
use bfp_bundle::secret_key::SecretKey;
use bfp_bundle::verify::{self as verification, Host, MAX_BUNDLE_BYTES, Refusal, Trust, VerifiedBundle};
use bfp_compiler::compiled::Compiled;
use bfp_compiler::pipeline::{self, Release};
use bfp_compiler::source;
use miette::{Diagnostic, Report};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::lock_command::{self, Locked};
use crate::policy_command::{Files, WriteError, write};
use crate::report::Done;
use crate::{Answer, BuildArguments, Failure, TrustArguments};

#[derive(Debug, thiserror::Error, Diagnostic)]
enum BundleError {
    #[error("`{path}` is {reason}")]
    #[diagnostic(code(key::unusable), help("`bfpc keygen` and `openssl genpkey -algorithm ed25519` make keys"))]
    Key { path: String, reason: KeyError },
    #[error("the keys `{first}` and `{second}` are the same")]
    #[diagnostic(code(key::twice), help("name it once: hosts refuse a bundle with two signatures by one key"))]
    SameKey { first: String, second: String },
    #[error("`{path}` holds no public key (*.pem)")]
    #[diagnostic(code(key::none), help("put the public half of the signing key there"))]
    NoKeys { path: String },
    #[error("`{written}` is not a time")]
    #[diagnostic(code(build::time), help("write it as in `2027-01-31T00:00:00Z`"))]
    Time { written: String },
    #[error("a bundle that expires at {expires} is never valid: it is refused before {not_before}")]
    #[diagnostic(code(build::never_valid), help("let `--expires` be later than `--not-before`"))]
    NeverValid { not_before: String, expires: String },
    #[error("`{path}` exists")]
    #[diagnostic(code(key::exists), help("a key is never overwritten: move it away, or name another file"))]
    Exists { path: String },
    #[error("{refusal}")]
    #[diagnostic(code(verify::refused))]
    Refused {
        refusal: Refusal,
        #[help]
        help: String,
    },
}

pub(crate) fn build(arguments: &BuildArguments) -> Result<Done, Failure> {
    let files = Files::read(&arguments.policy)?;
    lock_command::refuse_stale(&files, &arguments.policy, Locked::of(arguments.locked))?;
    let keys = arguments.key.iter().map(|path| secret_key(path)).collect::<Result<Vec<_>, Failure>>()?;
    let mut seen: Vec<(KeyId, &PathBuf)> = Vec::new();
    for (key, path) in keys.iter().zip(&arguments.key) {
        let id = key.public().id();
        if let Some((_, first)) = seen.iter().find(|(earlier, _)| *earlier == id) {
            let (first, second) = (first.display().to_string(), path.display().to_string());
            return Err(BundleError::SameKey { first, second }.into());
        }
        seen.push((id, path));
    }
    let release = Release {
        revision: arguments.revision,
        not_before: arguments.not_before.as_deref().map(seconds).transpose()?,
        expires: arguments.expires.as_deref().map(seconds).transpose()?,
        audience: arguments.audience.clone(),
        lockdown: arguments.lockdown,
    };
    if let (Some(opens), Some(closes)) = (release.not_before, release.expires)
        && closes <= opens
    {
        let (not_before, expires) = (time(opens), time(closes));
        return Err(BundleError::NeverValid { not_before, expires }.into());
    }
    let show = |findings| files.show(findings);
    let checked = pipeline::check(&files.source()).map_err(show)?;
    let warnings = files.warnings(&checked);
    if arguments.deny_warnings && !warnings.is_empty() {
        return Err(Failure::Found { words: None, complaints: warnings });
    }
    let image = pipeline::lower(&checked).map_err(show)?;
    let proven = pipeline::prove(&checked, image).map_err(show)?;
    let bundle = pipeline::sign(&files.source(), &proven, release, &keys).map_err(show)?;
    write(&arguments.output, &bundle)?;
    let words = format!(
        "verdicts proven: {}\n{}: policy {}, revision {}, {} bytes, signed by {}\n",
        proven.proof(),
        arguments.output.display(),
        checked.policy().name,
        arguments.revision,
        bundle.len(),
        keys.iter().map(|key| key.public().id().to_string()).collect::<Vec<_>>().join(", "),
    );
    Ok(Done { words, warnings })
}

pub(crate) fn verify(path: &Path, trust: &TrustArguments) -> Answer {
    let bytes = source::read_bytes(path, MAX_BUNDLE_BYTES)?;
    let bundle = verified(&bytes, trust)?;
    let signers: Vec<String> = bundle.signers().iter().map(ToString::to_string).collect();
    let manifest = bundle.manifest();
    Ok(format!(
        "{}: verified, policy {}, revision {}\nsigned by {}\n",
        path.display(),
        manifest.policy,
        manifest.revision,
        signers.join(", ")
    ))
}

/// Seconds since 1970, as a person writes them.
pub(crate) fn time(seconds: u64) -> String {
    let moment = i64::try_from(seconds).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    moment.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| seconds.to_string())
}

pub(crate) fn keygen(path: &Path) -> Answer {
    let mut public_path = path.as_os_str().to_owned();
    public_path.push(".pub");
    let public_path = PathBuf::from(public_path);
    if let Some(taken) = [path, &public_path].into_iter().find(|path| path.exists()) {
        return Err(BundleError::Exists { path: taken.display().to_string() }.into());
    }
    let failed =
        |error: std::io::Error| WriteError { path: path.display().to_string(), reason: source::reason(&error) };
    let public_failed =
        |error: std::io::Error| WriteError { path: public_path.display().to_string(), reason: source::reason(&error) };
    let mut seed = [0; 32];
    File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut seed)).map_err(failed)?;
    let key = SecretKey::from_seed(&seed);
    let unusable = |reason| BundleError::Key { path: path.display().to_string(), reason };
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(key.to_pem().map_err(unusable)?.as_bytes()).map_err(failed)?;
    fs::write(&public_path, key.public().to_pem().map_err(unusable)?).map_err(public_failed)?;
    Ok(format!(
        "{}: secret key, keep it where only the build can read it\n{}: public key {}\n",
        path.display(),
        public_path.display(),
        key.public().id()
    ))
}

/// Verifies as a host with the given labels would.
pub(crate) fn verified<'a>(bytes: &'a [u8], arguments: &TrustArguments) -> Result<VerifiedBundle<'a>, Failure> {
    let trust = Trust::first(public_keys(&arguments.trust)?, arguments.threshold).map_err(refused)?;
    let now = u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or(0);
    let host = Host { now, labels: arguments.audience.clone(), offers: Need::ALL.to_vec() };
    verification::verify(bytes, &trust, &host).map_err(refused)
}

/// What questions are asked of.
pub(crate) fn compiled(bundle: &VerifiedBundle<'_>) -> Result<Compiled, Failure> {
    let name = bundle.manifest().policy.clone();
    Ok(Compiled { name, image: bundle.image().map_err(refused)?, debug: bundle.debug().map_err(refused)? })
}

/// A bundle is refused, with what to do about it.
pub(crate) fn refused(refusal: Refusal) -> Failure {
    let help = match &refusal {
        Refusal::WrongAudience(_) => "name the host's label with `--audience LABEL`",
        other => other.help(),
    };
    let help = help.to_owned();
    Failure::Refused(Report::new(BundleError::Refused { refusal, help }))
}

fn public_keys(path: &Path) -> Result<Vec<PublicKey>, Failure> {
    let shown = || path.display().to_string();
    let mut files = Vec::new();
    if path.is_dir() {
        let unreadable =
            |error: std::io::Error| source::SourceError::Unreadable { path: shown(), reason: source::reason(&error) };
        for entry in fs::read_dir(path).map_err(unreadable)? {
            let file = entry.map_err(unreadable)?.path();
            if file.extension().is_some_and(|extension| extension == "pem") {
                files.push(file);
            }
        }
        files.sort();
    } else {
        files.push(path.to_owned());
    }
    if files.is_empty() {
        return Err(BundleError::NoKeys { path: shown() }.into());
    }
    let key = |file: &PathBuf| {
        let unusable = |reason| BundleError::Key { path: file.display().to_string(), reason };
        Ok(PublicKey::from_pem(&source::read_text(file)?).map_err(unusable)?)
    };
    files.iter().map(key).collect()
}

fn secret_key(path: &Path) -> Result<SecretKey, Failure> {
    let unusable = |reason| BundleError::Key { path: path.display().to_string(), reason };
    Ok(SecretKey::from_pem(&source::read_text(path)?).map_err(unusable)?)
}

fn seconds(written: &str) -> Result<u64, BundleError> {
    let time = OffsetDateTime::parse(written, &Rfc3339).ok();
    time.and_then(|time| u64::try_from(time.unix_timestamp()).ok())
        .ok_or_else(|| BundleError::Time { written: written.to_owned() })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
