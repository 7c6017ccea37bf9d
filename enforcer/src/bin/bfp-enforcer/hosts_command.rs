//! `hosts`: the names of the enforced policy, in a hosts file.

use std::path::{Path, PathBuf};

use bfp_enforcer::admit::state;
use bfp_enforcer::failure::Failure;
use bfp_enforcer::host::replacement::Original;
use bfp_enforcer::kernel::about::About;
use bfp_enforcer::kernel::enforced_bundle::EnforcedBundle;
use bfp_enforcer::kernel::pins::Pins;
use bfp_enforcer::report::hosts::{BrokenBlock, HOSTS, HostsError, MAX_HOSTS_BYTES, Names, with_block, without_block};
use clap::Args;

use crate::command_error::CommandError;
use crate::session::{Session, warn};

#[derive(Args)]
pub(crate) struct HostsArguments {
    /// The hosts file; `-` is the standard output
    #[arg(long, value_name = "FILE", default_value = HOSTS)]
    file: PathBuf,
    /// Take the names out of the file again; also if nothing is enforced
    #[arg(long, conflicts_with = "print")]
    remove: bool,
    /// Print the names, and change no file
    #[arg(long)]
    print: bool,
}

pub(crate) fn hosts(arguments: &HostsArguments, folder: &Path) -> Result<String, Failure> {
    let file = arguments.file.as_path();
    let is_printed = arguments.print || file == Path::new("-");
    if arguments.remove {
        return if is_printed { Err(HostsError::RemoveFromOutput.into()) } else { remove(file) };
    }
    // Its lock is held to the end: no policy is replaced meanwhile, and no other `hosts` writes the file.
    let pins = Pins::find()?;
    let generation = pins.as_ref().map(Pins::newest).transpose()?.flatten().ok_or(HostsError::NothingEnforced)?;
    let about = About::read(&generation.join("about"))?;
    let names = names(&about, folder).map_err(HostsError::NoBundle)?;
    let mut findings = 0;
    for name in names.left_out() {
        findings += 1;
        warn(&format!("`{name}` is left out: a hosts file cannot have it"), "name each host by itself in the policy");
    }
    let done = if is_printed {
        names.block()
    } else {
        let original = Original::read(file, MAX_HOSTS_BYTES)?;
        let new = with_block(original.bytes(), &names.block()).map_err(broken(file))?;
        for (name, address) in names.contradictions(original.bytes()).map_err(broken(file))? {
            findings += 1;
            let words = format!("`{}` gives `{name}` the address `{address}` too: not the policy's", file.display());
            warn(&words, "delete that line: a program may use this address, and be denied");
        }
        let has = if new == original.bytes() { "has already" } else { "has" };
        replace(&original, &new)?;
        format!("`{}` {has} {}\n", file.display(), names.words())
    };
    if findings == 0 { Ok(done) } else { Err(CommandError::Degraded(done).into()) }
}

/// The names of the enforced bundle, from its copy on disk.
fn names(about: &About, folder: &Path) -> Result<Names, Failure> {
    let bytes = state::kept_bundle(folder, &about.manifest_digest)?;
    Ok(Names::of(&EnforcedBundle::verify(&bytes, about, &Session::capabilities())?)?)
}

/// Needs no policy: its names may be what is left of it.
fn remove(file: &Path) -> Result<String, Failure> {
    let original = Original::read(file, MAX_HOSTS_BYTES)?;
    let new = without_block(original.bytes()).map_err(broken(file))?;
    if new == original.bytes() {
        return Ok(format!("`{}` has no names of a policy, so nothing was removed\n", file.display()));
    }
    replace(&original, &new)?;
    Ok(format!("removed the names from `{}`\n", file.display()))
}

fn replace(original: &Original, new: &[u8]) -> Result<(), Failure> {
    if new != original.bytes() {
        original.replace(new)?;
    }
    Ok(())
}

fn broken(file: &Path) -> impl FnOnce(BrokenBlock) -> HostsError {
    let path = file.to_owned();
    move |fault| HostsError::Broken { path, fault }
}
