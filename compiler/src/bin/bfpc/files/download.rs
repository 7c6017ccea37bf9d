//! Lists of networks from their URLs: `https` alone → text, or a sentence that says why not.
//!
//! Always: a server is verified by a certificate authority of this machine, or by one that is named. Redirects lead to
//! `https` only. Time, size and the number of redirects have limits, so that no server can hold or fill this machine.
//! No command that builds or checks a policy comes here.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bfp_compiler::source::{self, SourceError};
use clap::Args;
use miette::Diagnostic;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// How long one list may take, with every redirect, if nothing else is said.
pub(crate) const TIMEOUT_SECONDS: u64 = 60;

/// How many redirects are followed.
const MOST_REDIRECTS: u32 = 5;

/// The largest file of certificates that is read.
const MAX_CERTIFICATE_BYTES: u64 = 16 << 20;

/// Where systems keep the certificates of the authorities that they trust: Debian, Fedora, Alpine.
const SYSTEM_CERTIFICATES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

#[derive(Args)]
pub(crate) struct DownloadArguments {
    /// A file of certificates in PEM: the authorities that servers of lists are verified by, in place of the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

/// Why nothing can be fetched.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub(crate) enum DownloadError {
    #[error("`{path}` has no certificate that can be used")]
    #[diagnostic(code(fetch::certificates), help("name a file of certificates in PEM (`-----BEGIN CERTIFICATE-----`)"))]
    Certificates { path: String },
    #[error("this machine has no file of certificate authorities")]
    #[diagnostic(
        code(fetch::certificates),
        help("install the package `ca-certificates`, or name a file of certificates in PEM with `--ca`")
    )]
    NoCertificates,
}

/// What fetches lists.
pub(crate) struct Downloads {
    agent: Agent,
    timeout_seconds: u64,
}

impl Downloads {
    pub(crate) fn new(arguments: &DownloadArguments, timeout_seconds: u64) -> Result<Downloads, crate::Failure> {
        let roots = match &arguments.ca {
            Some(path) => certificates(path)?,
            None => {
                let path = SYSTEM_CERTIFICATES.iter().map(Path::new).find(|path| path.exists());
                certificates(path.ok_or(DownloadError::NoCertificates)?)?
            }
        };
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(roots))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = Agent::config_builder()
            .https_only(true)
            .max_redirects(MOST_REDIRECTS)
            .timeout_global(Some(Duration::from_secs(timeout_seconds)))
            .user_agent(concat!("bfpc/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build()
            .new_agent();
        Ok(Downloads { agent, timeout_seconds })
    }

    /// The text that a URL leads to, or why there is none. `path` is what the text is called in messages.
    pub(crate) fn text(&self, url: &str, path: &Path) -> Result<String, String> {
        source::text(path, self.bytes(url)?).map_err(|error| match error {
            SourceError::NotUtf8 { line, .. } => format!("what it returns is not UTF-8 text (line {line})"),
            other => other.to_string(),
        })
    }

    fn bytes(&self, url: &str) -> Result<Vec<u8>, String> {
        let mut response = self.agent.get(url).call().map_err(|error| self.reason(error))?;
        // A body that ends where the connection ends can be cut by anyone on the way: the library accepts that.
        let is_chunked = response.headers().contains_key("transfer-encoding");
        if !is_chunked && response.body().content_length().is_none() {
            return Err("the server does not say how long it is, so that it may be incomplete".to_owned());
        }
        let body = response.body_mut().with_config().limit(source::MAX_SOURCE_BYTES);
        body.read_to_vec().map_err(|error| self.reason(error))
    }

    /// What went wrong, as the end of a sentence. What a server says is escaped.
    fn reason(&self, error: ureq::Error) -> String {
        match error {
            ureq::Error::StatusCode(status) => format!("the server answers with the status {status}"),
            ureq::Error::Timeout(_) => format!("it took longer than {} s", self.timeout_seconds),
            ureq::Error::BodyExceedsLimit(_) => {
                format!("it has more than {} MiB", source::MAX_SOURCE_BYTES >> 20)
            }
            ureq::Error::RequireHttpsOnly(to) => {
                format!("it redirects to `{}`, which is not https", to.escape_debug())
            }
            ureq::Error::TooManyRedirects => format!("it redirects more than {MOST_REDIRECTS} times"),
            ureq::Error::HostNotFound => "its host has no address".to_owned(),
            ureq::Error::Io(error) => source::reason(&error).escape_debug().to_string(),
            other => other.to_string().escape_debug().to_string(),
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, crate::Failure> {
    let pem = source::read_bytes(path, MAX_CERTIFICATE_BYTES)?;
    let found = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let found: Vec<_> = found.collect();
    if found.is_empty() {
        return Err(DownloadError::Certificates { path: path.display().to_string() }.into());
    }
    Ok(found)
}
