//! `explain`: the verdict for one program and one destination, by the function that the kernel uses.

use std::fmt::Write as _;
use std::net::IpAddr;

use bfp_bundle::debug::Debug;
use bfp_bundle::decide::{Reason, decide};
use bfp_bundle::envelope::MAGIC;
use bfp_bundle::image::Image;
use bfp_bundle::request::{Address, Protocol, Request};
use bfp_bundle::verify::MAX_BUNDLE_BYTES;
use bfp_compiler::{pipeline, source};
use miette::Diagnostic;

use crate::policy_command::Files;
use crate::{Answer, ExplainArguments, Failure, TrustArguments, bundle_command};

#[derive(Debug, thiserror::Error, Diagnostic)]
pub(crate) enum ExplainError {
    #[error("`{written}` is not a destination")]
    #[diagnostic(
        code(explain::destination),
        help("write `203.0.113.10:443`, `[2001:db8::1]:443/udp`, or a name that the policy uses, `kms.internal:443`")
    )]
    Destination { written: String },
    #[error("the policy has no address for the name `{name}`")]
    #[diagnostic(code(explain::name), help("name an address, or a DNS name that the policy uses"))]
    Name { name: String },
    #[error("the policy declares no program `{name}`")]
    #[diagnostic(
        code(explain::program),
        help("name a program that the policy declares, or any path, such as `/usr/bin/{name}`")
    )]
    Program { name: String },
    #[error("`{file}` is a bundle, and a bundle is read only when it is verified")]
    #[diagnostic(code(explain::trust), help("add `--trust KEY`"))]
    Trust { file: String },
}

pub(crate) fn explain(arguments: &ExplainArguments) -> Answer {
    let ExplainArguments { file, program, destination, trust, audience } = arguments;
    let bytes = source::read_bytes(file, MAX_BUNDLE_BYTES)?;
    if bytes.starts_with(&MAGIC) {
        let Some(trust) = trust else {
            return Err(ExplainError::Trust { file: file.display().to_string() }.into());
        };
        let trust = TrustArguments { trust: trust.to_owned(), threshold: 1, audience: audience.clone() };
        let bundle = bundle_command::verified(&bytes, &trust)?;
        return answer(bundle.image(), bundle.debug(), program, destination);
    }
    let files = Files::read(file)?;
    let checked = pipeline::check(&files.source()).map_err(|findings| files.show(findings))?;
    let image = pipeline::lower(&checked).map_err(|findings| files.show(findings))?;
    answer(&image, &pipeline::debug(&files.source(), &checked), program, destination)
}

fn answer(image: &Image, debug: &Debug, program: &str, destination: &str) -> Answer {
    let paths: Vec<&str> = match program {
        path if path.starts_with('/') => vec![path],
        name => debug.programs.iter().filter(|(_, declared)| declared == name).map(|(path, _)| path.as_str()).collect(),
    };
    if paths.is_empty() {
        return Err(ExplainError::Program { name: program.to_owned() }.into());
    }
    // Writing to a string cannot fail.
    let mut said = String::new();
    let (addresses, port, protocol) = parse(destination, debug)?;
    let mut all_allowed = true;
    for path in &paths {
        let label = image.label_of(path);
        for address in &addresses {
            let request = Request { address: to_address(*address), port, protocol };
            let verdict = decide(image, &label, &request);
            all_allowed &= verdict.is_allowed();
            let word = if verdict.is_allowed() { "allowed" } else { "denied" };
            let shown = match address {
                IpAddr::V4(address) => format!("{address}:{port}"),
                IpAddr::V6(address) => format!("[{address}]:{port}"),
            };
            let _ = writeln!(said, "{word}  {path} -> {shown}/{}", protocol_name(protocol));
            let _ = writeln!(said, "  because {}", reason(verdict.reason));
            if let Some(rule) = debug.rules.get(verdict.rule as usize) {
                let _ = writeln!(said, "  {}:{}  {}", rule.file, rule.line, rule.text);
            }
            let text = address.to_string();
            for (_, name) in debug.names.iter().filter(|(at, _)| *at == text) {
                let _ = writeln!(said, "  {text} is {name} in the lock");
            }
        }
    }
    if all_allowed { Ok(said) } else { Err(Failure::Finding(said)) }
}

fn to_address(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(address) => Address::V4(address.to_bits()),
        IpAddr::V6(address) => Address::v6(address.to_bits()),
    }
}

fn parse(written: &str, debug: &Debug) -> Result<(Vec<IpAddr>, u16, Protocol), Failure> {
    let wrong = || ExplainError::Destination { written: written.to_owned() };
    let (place, protocol) = match written.rsplit_once('/') {
        None | Some((_, "tcp")) => (written.trim_end_matches("/tcp"), Protocol::Tcp),
        Some((place, "udp")) => (place, Protocol::Udp),
        Some((place, "icmp")) => (place, Protocol::Icmp),
        Some(_) => return Err(wrong().into()),
    };
    let (host, port) = place.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse() {
        return Ok((vec![address], port, protocol));
    }
    let known = debug.names.iter().filter(|(_, name)| name == host);
    let addresses: Vec<IpAddr> = known.filter_map(|(address, _)| address.parse().ok()).collect();
    if addresses.is_empty() {
        Err(ExplainError::Name { name: host.to_owned() }.into())
    } else {
        Ok((addresses, port, protocol))
    }
}

fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Icmp => "icmp",
        Protocol::Other => "other",
    }
}

fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Default => "nothing refuses it, and the default is to allow",
        Reason::Granted => "a rule grants it",
        Reason::Denied => "a rule denies it",
        Reason::Exclusive => "only other programs may reach this destination",
        Reason::Confined => "this program, or one that started it, may reach nothing but what its rule names",
        Reason::NotGranted => "the default is to deny, and no rule grants it",
        Reason::Overflow => "too many restricted programs led to this process",
        Reason::Fault => "the tables cannot be read",
    }
}
