//! Answers to clients, in words: `clients`, `clients:443 from 10.0.0.0/8`.
//!
//! Always: answers are described as TCP requests to the same addresses would be, and no others are shown than those that
//! no host without ports stands for.

use bfp_bundle::request::Protocol;

use super::{AddressNames, CLIENTS, Described, describe_requests, tidy};
use crate::policy::{Addresses, Destination, PortRange};
use crate::resolve::coverage::{union, without};

/// Requests, and answers with TCP in their place. A host without ports stands for the answers to clients there too, so
/// those are left out.
pub(super) fn divided(destinations: &[Destination]) -> (Vec<Destination>, Vec<Destination>) {
    let part = |wanted: &dyn Fn(&PortRange) -> Option<PortRange>| -> Vec<Destination> {
        let of = |to: &Destination| Destination {
            addresses: to.addresses,
            ports: to.ports.iter().filter_map(wanted).collect(),
        };
        destinations.iter().map(of).filter(|to| !to.ports.is_empty()).collect()
    };
    let requests = part(&|range| (range.protocol != Protocol::Answer).then_some(*range));
    let answers = part(&|range| {
        let is_answer = range.protocol == Protocol::Answer;
        is_answer.then_some(PortRange { protocol: Protocol::Tcp, ..*range })
    });
    if answers.is_empty() {
        return (requests, answers);
    }
    let of_raw = |to: &Destination| to.addresses == Addresses::Raw;
    let whole: Vec<Destination> = union(&requests).into_iter().filter(|to| to.ports == PortRange::all()).collect();
    let answers: Vec<Destination> = without(&answers, &whole).into_iter().filter(|to| !of_raw(to)).collect();
    (requests, answers)
}

/// Describes answers, of [`divided`].
pub(super) fn describe(answers: &[Destination], names: &AddressNames) -> Vec<Described> {
    if answers.is_empty() {
        return Vec::new();
    }
    let tidied = tidy(answers);
    let is_all = |to: &Destination| matches!(to.addresses, Addresses::V4(0, u32::MAX) | Addresses::V6(0, u128::MAX));
    if let [first, second] = tidied.as_slice()
        && first.ports == second.ports
        && is_all(first)
        && is_all(second)
    {
        return vec![Described { addresses: CLIENTS.to_owned(), ports: of_server(&first.ports), names: Vec::new() }];
    }
    let mut described = describe_requests(answers, names);
    for (to, described) in tidied.iter().zip(&mut described) {
        described.addresses = format!("{CLIENTS} from {}", described.addresses);
        described.ports = of_server(&to.ports);
    }
    described
}

/// The ports of a server, without a protocol; empty for every port.
fn of_server(ports: &[PortRange]) -> Vec<String> {
    let number = |range: &PortRange| match (range.first, range.last) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    };
    match ports {
        [PortRange { first: 0, last: u16::MAX, .. }] => Vec::new(),
        some => some.iter().map(number).collect(),
    }
}
