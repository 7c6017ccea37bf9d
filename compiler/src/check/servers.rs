//! Servers that cannot answer: a known server is confined, or granted something under `default deny`, and nothing lets it
//! send to whoever connects to it.
//!
//! Always: only programs with the file name of a well-known server are reported. Whether another program listens cannot
//! be known where a policy is compiled.

use bfp_bundle::request::Protocol;

use super::concern::Concern;
use crate::policy::{
    Default, Destination, Effect, Enforcement, PortRange, Program, ProgramIndex, ResolvedPolicy, Rule, Subjects,
};

/// Servers over TCP, by the name of the file; docs/errors/check/silent_server.md lists them.
const SERVERS: [&str; 24] = [
    "apache2",
    "caddy",
    "dovecot",
    "envoy",
    "exim4",
    "haproxy",
    "httpd",
    "lighttpd",
    "mariadbd",
    "memcached",
    "mongod",
    "mosquitto",
    "mysqld",
    "nginx",
    "postgres",
    "proftpd",
    "redis-server",
    "smbd",
    "squid",
    "sshd",
    "traefik",
    "valkey-server",
    "varnishd",
    "vsftpd",
];

pub(super) fn concerns(policy: &ResolvedPolicy) -> Vec<Concern> {
    let mut found: Vec<Concern> = Vec::new();
    let enforced = || policy.rules.iter().filter(|rule| rule.enforcement == Enforcement::Enforced);
    let is_everyones = |rule: &&Rule| rule.subjects == Subjects::Everyone;
    let mut told: Vec<ProgramIndex> = Vec::new();
    for rule in enforced() {
        let Subjects::Programs(subjects) = &rule.subjects else { continue };
        let is_short_of = |program: &ProgramIndex| match rule.effect {
            Effect::Confined => !answers(rule),
            // Whoever holds a grant may hold another one, and a confinement grants too.
            Effect::Allow | Effect::Exclusive if matches!(policy.default, Default::Deny(_)) => {
                let is_about = |rule: &&Rule| is_everyones(rule) || names(rule, *program);
                !enforced().filter(is_about).any(|rule| rule.effect != Effect::Deny && answers(rule))
            }
            _ => false,
        };
        let servers = subjects.iter().filter(|program| !told.contains(program) && is_short_of(program));
        let servers: Vec<ProgramIndex> =
            servers.copied().filter(|program| is_server(policy.program(*program))).collect();
        let mut written = policy.written(&servers).map(Program::quoted);
        if let Some(first) = written.next() {
            let programs = match written.count() {
                0 => first,
                more => format!("{first} and {more} more"),
            };
            found.push(Concern::SilentServer { programs, span: rule.destinations_span });
            told.extend(servers);
        }
    }
    found
}

fn names(rule: &Rule, program: ProgramIndex) -> bool {
    matches!(&rule.subjects, Subjects::Programs(programs) if programs.binary_search(&program).is_ok())
}

fn is_server(program: Option<&Program>) -> bool {
    let name = program.and_then(|program| program.path.rsplit('/').next());
    name.is_some_and(|name| SERVERS.binary_search(&name).is_ok())
}

/// Whether a rule covers answers to some client: as such, or as requests, which can be to any port.
fn answers(rule: &Rule) -> bool {
    let any_port = |range: &PortRange| range.protocol == Protocol::Tcp && (range.first, range.last) == (0, u16::MAX);
    let is_answer = |range: &PortRange| range.protocol == Protocol::Answer;
    let covers = |to: &Destination| to.ports.iter().any(|range| is_answer(range) || any_port(range));
    rule.destinations.iter().any(covers)
}

#[cfg(test)]
mod tests {
    use super::SERVERS;

    #[test]
    fn servers_are_sorted_for_the_search() {
        assert!(SERVERS.is_sorted());
    }
}
