//! The attacker's tools: one technique after another to get a message to an address that the policy forbids. The
//! entries of fixtures/attacks/ say which program uses them, and with which expected outcome.
//!
//! What enters: the name of a technique, a transport, the forbidden address and one that is granted. What leaves: one
//! line, `ok` if the kernel accepted everything, otherwise the call that failed and its errno (`sendmsg EPERM`). It is
//! not part of the product, and runs in a guest without a network card.
//!
//! ```text
//! attacker sendmmsg-to-two udp 203.0.113.66:443 192.0.2.20:443
//! attacker --list
//! ```
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its one line on stdout is what this program is for")]

mod aim;
mod clients;
mod configured;
mod confined;
mod everyone;
mod families;
mod groups;
mod inside;
mod left_open;
mod libraries;
mod named;
mod options;
mod other;
mod passed;
mod rerouted;
mod ring;
mod storms;
mod supervised;
mod switches;
mod sys;
mod taken_for;

use std::process::ExitCode;

use aim::Aim;
use sys::Refused;

/// A name, and the function that runs it.
type Technique = (&'static str, fn(&Aim) -> Result<(), Refused>);

fn techniques() -> impl Iterator<Item = &'static Technique> {
    [
        named::TECHNIQUES,
        rerouted::TECHNIQUES,
        families::TECHNIQUES,
        passed::TECHNIQUES,
        clients::TECHNIQUES,
        left_open::TECHNIQUES,
        ring::TECHNIQUES,
        inside::TECHNIQUES,
        taken_for::TECHNIQUES,
        libraries::TECHNIQUES,
        supervised::TECHNIQUES,
        options::TECHNIQUES,
        groups::TECHNIQUES,
        everyone::TECHNIQUES,
        confined::TECHNIQUES,
        switches::TECHNIQUES,
        configured::TECHNIQUES,
        storms::TECHNIQUES,
    ]
    .into_iter()
    .flatten()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if words == ["--list"] {
        techniques().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    let found = match words.as_slice() {
        [name, rest @ ..] => techniques().find(|(known, _)| known == name).zip(Aim::parse(rest)),
        [] => None,
    };
    let Some(((_, attack), aim)) = found else {
        eprintln!("usage: attacker TECHNIQUE tcp|udp FORBIDDEN GRANTED");
        return ExitCode::from(2);
    };
    match attack(&aim) {
        Ok(()) => println!("ok"),
        Err(refused) => println!("{refused}"),
    }
    ExitCode::SUCCESS
}
