//! A policy of ten thousand rules about its own programs and addresses, and its meaning.
//!
//! In: nothing. Out: the rules as text, and rows of a verdict table. Always: the meaning is computed by going through
//! the rules one by one, and shares no code with the compiler, which is queried about the same rows.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How many rules there are.
pub const RULES: usize = 10_000;
/// The folder of their programs.
pub const FOLDER: &str = "/opt/others";
/// How many programs they name.
const PROGRAMS: u16 = 200;
/// The first confined program; those before it hold exclusive grants.
const FIRST_CONFINED: u16 = 100;
/// The port of the exclusive destinations.
pub const PORT: u16 = 443;
/// A port that no rule names.
pub const OTHER_PORT: u16 = 8443;

/// A program that no rule names.
pub const STRANGER: &str = "/opt/others/stranger";

enum Rule {
    /// `only P -> D`
    Exclusive(u16, IpAddr),
    /// `P -> only D`, over a range of IPv4 and one of IPv6
    Confined(u16, (Ipv4Addr, Ipv6Addr)),
    /// `deny P -> D`
    Denied(u16, IpAddr),
    /// `deny * -> D`
    DeniedToAll(IpAddr),
}

/// A request of the last of several programs, each of which starts the next, and whether it is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The paths of the programs.
    pub programs: Vec<String>,
    /// The destination address.
    pub address: IpAddr,
    /// The destination port.
    pub port: u16,
    /// Whether it is TCP; otherwise it is UDP.
    pub tcp: bool,
    /// The verdict of the rules.
    pub allowed: bool,
}

/// The paths of the programs that the rules name.
pub fn programs() -> impl Iterator<Item = String> {
    (0..PROGRAMS).map(path)
}

/// The rules as the text of a policy.
#[must_use]
pub fn text() -> String {
    let mut text = String::new();
    for rule in rules() {
        // Writing to a string cannot fail.
        let _ = match rule {
            Rule::Exclusive(program, IpAddr::V4(at)) => writeln!(text, "only {:?} -> {at}:{PORT}", path(program)),
            Rule::Exclusive(program, IpAddr::V6(at)) => writeln!(text, "only {:?} -> [{at}]:{PORT}", path(program)),
            Rule::Confined(program, (v4, v6)) => {
                writeln!(text, "{:?} -> only {{ {v4}/24, [{v6}/64] }}", path(program))
            }
            Rule::Denied(program, at) => writeln!(text, "deny {:?} -> {at}", path(program)),
            Rule::DeniedToAll(at) => writeln!(text, "deny * -> {at}"),
        };
    }
    text
}

/// Rows about every kind of rule: for the programs that it names, for others, for their children, inside and outside.
#[must_use]
pub fn rows() -> Vec<Row> {
    let rules: Vec<Rule> = rules().collect();
    let mut rows = Vec::new();
    // A step that no number of programs divides, so that the programs differ from step to step.
    for (index, rule) in (0_u16..).zip(&rules).step_by(61) {
        let (own, address) = match rule {
            Rule::Exclusive(program, at) | Rule::Denied(program, at) => (*program, *at),
            Rule::DeniedToAll(at) => (index % PROGRAMS, *at),
            Rule::Confined(program, (v4, _)) => (*program, inside(*v4)),
        };
        let confined = FIRST_CONFINED + index % 50;
        let other = (index % PROGRAMS * 7 + 1) % PROGRAMS;
        for programs in [vec![Some(own)], vec![None], vec![Some(other)], vec![Some(confined)]] {
            push(&mut rows, &rules, &programs, address, index % 3 != 0);
        }
        for programs in
            [vec![Some(own), None], vec![Some(confined), Some(own)], vec![Some(other), Some(confined), None]]
        {
            push(&mut rows, &rules, &programs, address, index % 2 == 0);
        }
    }
    for rule in &rules {
        if let Rule::Confined(program, (v4, v6)) = rule {
            let within = [inside(*v4), IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() + 7))];
            for address in within {
                push(&mut rows, &rules, &[Some(*program)], address, true);
                push(&mut rows, &rules, &[Some(*program), None], address, false);
            }
        }
    }
    rows
}

fn push(rows: &mut Vec<Row>, rules: &[Rule], programs: &[Option<u16>], address: IpAddr, tcp: bool) {
    for port in [PORT, OTHER_PORT] {
        let allowed = !rules.iter().any(|rule| refuses(rule, programs, address, port));
        let programs = programs.iter().map(|program| program.map_or_else(|| STRANGER.to_owned(), path)).collect();
        let row = Row { programs, address, port, tcp, allowed };
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
}

/// Whether a rule denies a request of the last of these programs.
fn refuses(rule: &Rule, programs: &[Option<u16>], address: IpAddr, port: u16) -> bool {
    let led_by = |program| programs.contains(&Some(program));
    match *rule {
        Rule::Exclusive(program, at) => at == address && port == PORT && programs.last() != Some(&Some(program)),
        Rule::Confined(program, (v4, v6)) => {
            let covered = match address {
                IpAddr::V4(address) => address.to_bits() >> 8 == v4.to_bits() >> 8,
                IpAddr::V6(address) => address.to_bits() >> 64 == v6.to_bits() >> 64,
            };
            led_by(program) && !covered
        }
        Rule::Denied(program, at) => at == address && led_by(program),
        Rule::DeniedToAll(at) => at == address,
    }
}

fn rules() -> impl Iterator<Item = Rule> {
    // `n` in the middle bytes of an address.
    let v4 = |first: u8, second: u8, n: u16, last: u8| {
        let [high, low] = n.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(first, second.wrapping_add(high), low, last))
    };
    let v6 = |part: u16, n: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, part, n, 0, 0, 0, 7));
    let exclusive_v4 = (0..5000).map(move |n| Rule::Exclusive(n % FIRST_CONFINED, v4(10, 0, n, 7)));
    let confined = (0..50_u16).map(move |n| {
        let range = (
            Ipv4Addr::from_bits(0x0ac8_0000 + (u32::from(n) << 8)),
            Ipv6Addr::new(0x2001, 0xdb8, 0xaaaa, n, 0, 0, 0, 0),
        );
        Rule::Confined(FIRST_CONFINED + n, range)
    });
    let exclusive_v6 = (0..1000).map(move |n| Rule::Exclusive(n % FIRST_CONFINED, v6(0xbbbb, n)));
    let denied = (0..2950).map(move |n| Rule::Denied(n % PROGRAMS, v4(172, 16, n, 9)));
    let denied_to_all = (0..1000).map(move |n| Rule::DeniedToAll(v4(198, 18, n, 1)));
    exclusive_v4.chain(confined).chain(exclusive_v6).chain(denied).chain(denied_to_all)
}

fn path(program: u16) -> String {
    format!("{FOLDER}/p{program:03}")
}

fn inside(range: Ipv4Addr) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(range.to_bits() + 7))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_rules_as_promised() {
        assert_eq!(rules().count(), RULES);
        assert_eq!(text().lines().count(), RULES);
    }

    #[test]
    fn the_rows_have_both_verdicts_for_strangers_confined_and_started_programs() {
        let rows = rows();
        for allowed in [true, false] {
            let some = |which: &dyn Fn(&Row) -> bool| rows.iter().any(|row| row.allowed == allowed && which(row));
            assert!(some(&|row| row.programs == [STRANGER]));
            assert!(some(&|row| row.programs == [path(FIRST_CONFINED + 7)]));
            assert!(some(&|row| row.programs.len() == 2 && row.address.is_ipv4()));
            assert!(some(&|row| row.programs.len() == 3));
            assert!(some(&|row| row.address.is_ipv6() && row.tcp));
            assert!(some(&|row| row.address.is_ipv6() && !row.tcp));
        }
    }
}
