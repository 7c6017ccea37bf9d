//! A library in the signer's path, which attacks inside the signer. It prints the outcome, and ends the signer; if it
//! is not loaded, the signer prints that it was not accessed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Technique;
use crate::aim::Aim;
use crate::other::{SIGNER, become_program, bind_mount, enter_mount_namespace, own_place};
use crate::sys::Refused;

pub(crate) const TECHNIQUES: &[Technique] = &[
    ("preload", |aim| with(aim, "LD_PRELOAD", LIBRARY)),
    ("audit", |aim| with(aim, "LD_AUDIT", LIBRARY)),
    ("library-path", by_path),
    ("waiting-for-its-name", waiting),
    ("mounted-library", mounted),
    ("untouched", untouched),
];

/// The suite installs it.
const LIBRARY: &str = "/lib/misleading.so";
/// A library that the signer is linked to.
const NEEDED: &str = "libgcc_s.so.1";

/// The signer, started as any other program would start it.
fn signer(aim: &Aim) -> Command {
    let mut command = Command::new(SIGNER);
    command.arg("untouched").args(aim.words()).env("BFP_AIM", aim.words().join(" "));
    command
}

fn with(aim: &Aim, variable: &str, value: impl AsRef<Path>) -> Result<(), Refused> {
    let mut command = signer(aim);
    command.env(variable, value.as_ref());
    become_program(command)
}

/// Named by a later revision of the policy.
const SECOND: &str = "/usr/bin/second";

/// In a program that no policy names yet, the library waits for a policy that does.
fn waiting(aim: &Aim) -> Result<(), Refused> {
    let mut command = Command::new(SECOND);
    command.arg("untouched").args(aim.words()).env("BFP_AIM", aim.words().join(" "));
    command.env("BFP_WAITS", "yes").env("LD_PRELOAD", LIBRARY);
    become_program(command)
}

fn by_path(aim: &Aim) -> Result<(), Refused> {
    let folder = own_place("libraries");
    fs::create_dir(&folder).map_err(Refused::io("mkdir"))?;
    fs::copy(LIBRARY, folder.join(NEEDED)).map_err(Refused::io("open"))?;
    with(aim, "LD_LIBRARY_PATH", folder)
}

/// The path at which the loader finds the signer's own library.
fn place_of_needed() -> Result<PathBuf, Refused> {
    let folders = ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"];
    let places = folders.iter().map(|folder| Path::new(folder).join(NEEDED));
    places.into_iter().find(|place| place.exists()).ok_or(Refused::new("stat", libc::ENOENT))
}

fn mounted(aim: &Aim) -> Result<(), Refused> {
    let place = place_of_needed()?;
    enter_mount_namespace()?;
    bind_mount(LIBRARY, place)?;
    become_program(signer(aim))
}

/// Not an attack: what the signer does if it is not accessed.
fn untouched(_: &Aim) -> Result<(), Refused> {
    println!("the signer is untouched");
    std::process::exit(0);
}
