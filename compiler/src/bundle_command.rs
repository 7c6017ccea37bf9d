//! The commands over bundles and keys: `build`, `verify`, `inspect`, `keygen`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bfp_bundle::key::{KeyError, PublicKey, SecretKey};
use bfp_bundle::manifest::SectionKind;
use bfp_bundle::verify::{self as verification, Host, MAX_BUNDLE_BYTES, Refusal, Trust, VerifiedBundle};
use bfp_compiler::pipeline::{self, Release};
use bfp_compiler::source;
use miette::{Diagnostic, Report};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::policy_command::{Files, WriteError, write};
use crate::{BuildArguments, Failure, TrustArguments};

#[derive(Debug, thiserror::Error, Diagnostic)]
enum BundleError {
    #[error("`{path}`: {source}")]
    #[diagnostic(code(key::unusable), help("`bfpc keygen` and `openssl genpkey -algorithm ed25519` make keys"))]
    Key { path: String, source: KeyError },
    #[error("`{path}` holds no public key (*.pem)")]
    #[diagnostic(code(key::none), help("put the public half of the signing key there"))]
    NoKeys { path: String },
    #[error("`{written}` is not a time")]
    #[diagnostic(code(build::time), help("write it as in `2027-01-31T00:00:00Z`"))]
    Time { written: String },
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

pub(crate) fn build(arguments: &BuildArguments) -> Result<(), Failure> {
    let files = Files::read(&arguments.policy)?;
    let keys = arguments.key.iter().map(|path| secret_key(path)).collect::<Result<Vec<_>, Failure>>()?;
    let release = Release {
        revision: arguments.revision,
        not_before: arguments.not_before.as_deref().map(seconds).transpose()?,
        expires: arguments.expires.as_deref().map(seconds).transpose()?,
        audience: arguments.audience.clone(),
    };
    let show = |findings| files.show(findings);
    let checked = pipeline::check(&files.source()).map_err(show)?;
    let image = pipeline::lower(&checked).map_err(show)?;
    let bundle = pipeline::sign(&files.source(), &checked, &image, release, &keys).map_err(show)?;
    write(&arguments.output, &bundle)?;
    println!(
        "{}: policy {}, revision {}, {} bytes, signed by {}",
        arguments.output.display(),
        checked.policy().name,
        arguments.revision,
        bundle.len(),
        keys.iter().map(|key| key.public().id().to_string()).collect::<Vec<_>>().join(", "),
    );
    Ok(())
}

pub(crate) fn verify(path: &Path, trust: &TrustArguments) -> Result<(), Failure> {
    let bytes = source::read_bytes(path, MAX_BUNDLE_BYTES)?;
    let bundle = verified(&bytes, trust)?;
    let signers: Vec<String> = bundle.signers().iter().map(ToString::to_string).collect();
    let manifest = bundle.manifest();
    println!("{}: verified, policy {}, revision {}", path.display(), manifest.policy, manifest.revision);
    println!("signed by {}", signers.join(", "));
    Ok(())
}

pub(crate) fn inspect(path: &Path, trust: &TrustArguments) -> Result<(), Failure> {
    let bytes = source::read_bytes(path, MAX_BUNDLE_BYTES)?;
    let bundle = verified(&bytes, trust)?;
    let manifest = bundle.manifest();
    let time = |seconds: Option<u64>| match seconds.and_then(|at| i64::try_from(at).ok()) {
        Some(at) => OffsetDateTime::from_unix_timestamp(at)
            .ok()
            .and_then(|at| at.format(&Rfc3339).ok())
            .unwrap_or_else(|| at.to_string()),
        None => "-".to_owned(),
    };
    println!("policy      {}", manifest.policy);
    println!("revision    {}", manifest.revision);
    println!("compiler    {}", manifest.compiler);
    println!("not before  {}", time(manifest.not_before));
    println!("expires     {}", time(manifest.expires));
    let audience = if manifest.audience.is_empty() { "every host".to_owned() } else { manifest.audience.join(", ") };
    println!("audience    {audience}");
    println!("source      sha256:{}", hex(&manifest.source_sha256));
    println!("lock        sha256:{}", hex(&manifest.lock_sha256));
    println!("manifest    sha256:{}", hex(&bundle.manifest_digest()));
    bundle.signers().iter().for_each(|id| println!("signed by   {id}"));
    println!("\nsection      records  bytes");
    for kind in SectionKind::ALL {
        let length = bundle.section(kind).len();
        let records = kind.record_size().map_or_else(|| "-".to_owned(), |size| (length / size).to_string());
        println!("{:<12} {records:>7}  {length}", kind.name());
    }
    println!("\nprograms");
    bundle.executables().iter().for_each(|executable| println!("  {}", executable.path));
    println!("\nrules");
    bundle.debug().rules.iter().for_each(|rule| println!("  {}:{}  {}", rule.file, rule.line, rule.text));
    Ok(())
}

pub(crate) fn keygen(path: &Path) -> Result<(), Failure> {
    let mut public_path = path.as_os_str().to_owned();
    public_path.push(".pub");
    let public_path = PathBuf::from(public_path);
    if let Some(taken) = [path, &public_path].into_iter().find(|path| path.exists()) {
        return Err(BundleError::Exists { path: taken.display().to_string() }.into());
    }
    let failed = |error: std::io::Error| WriteError { path: path.display().to_string(), reason: error.to_string() };
    let mut seed = [0; 32];
    File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut seed)).map_err(failed)?;
    let key = SecretKey::from_seed(&seed);
    let unusable = |source| BundleError::Key { path: path.display().to_string(), source };
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(key.to_pem().map_err(unusable)?.as_bytes()).map_err(failed)?;
    fs::write(&public_path, key.public().to_pem().map_err(unusable)?).map_err(failed)?;
    println!("{}: secret key, keep it where only the build can read it", path.display());
    println!("{}: public key {}", public_path.display(), key.public().id());
    Ok(())
}

/// Verifies as a host would, without labels of its own.
pub(crate) fn verified<'a>(bytes: &'a [u8], arguments: &TrustArguments) -> Result<VerifiedBundle<'a>, Failure> {
    let trust = Trust { keys: public_keys(&arguments.trust)?, threshold: arguments.threshold };
    let now = u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or(0);
    verification::verify(bytes, &trust, &Host { now, audience: Vec::new() }).map_err(|refusal| {
        let help = refusal.help().to_owned();
        Failure::Refused(Report::new(BundleError::Refused { refusal, help }))
    })
}

fn public_keys(path: &Path) -> Result<Vec<PublicKey>, Failure> {
    let shown = || path.display().to_string();
    let mut files = Vec::new();
    if path.is_dir() {
        let unreadable =
            |error: std::io::Error| source::SourceError::Unreadable { path: shown(), reason: error.to_string() };
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
        let unusable = |source| BundleError::Key { path: file.display().to_string(), source };
        Ok(PublicKey::from_pem(&source::read_text(file)?).map_err(unusable)?)
    };
    files.iter().map(key).collect()
}

fn secret_key(path: &Path) -> Result<SecretKey, Failure> {
    let unusable = |source| BundleError::Key { path: path.display().to_string(), source };
    Ok(SecretKey::from_pem(&source::read_text(path)?).map_err(unusable)?)
}

fn seconds(written: &str) -> Result<u64, BundleError> {
    let time = OffsetDateTime::parse(written, &Rfc3339).ok();
    time.and_then(|time| u64::try_from(time.unix_timestamp()).ok())
        .ok_or_else(|| BundleError::Time { written: written.to_owned() })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
