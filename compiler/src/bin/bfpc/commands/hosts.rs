//! `hosts`: the pinned names, as lines of /etc/hosts.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use bfp_bundle::debug::DebugName;
use clap::Args;

use crate::Answer;
use crate::files::input::{Input, InputArguments};

#[derive(Args)]
pub(crate) struct HostsArguments {
    /// The policy, or the bundle (which requires `--trust`)
    file: PathBuf,
    #[command(flatten)]
    input: InputArguments,
}

pub(crate) fn hosts(arguments: &HostsArguments) -> Answer {
    let input = Input::read(&arguments.file, &arguments.input)?;
    let pinned = input.compiled.debug.names.iter();
    // By name, IPv4 before IPv6: a line is found where its name is looked for.
    let lines: BTreeSet<(&str, IpAddr)> = pinned.map(|DebugName { address, name }| (name.as_str(), *address)).collect();
    Ok(lines.into_iter().map(|(name, address)| format!("{address} {name}\n")).collect())
}
