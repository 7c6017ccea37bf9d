//! The plain model: the meaning of a checked policy, by a linear scan without tables.
//!
//! It follows the language reference section by section, and exists to be obviously right: `decide` over an image is
//! compared with it. The enforcer never uses it.

use bfp_bundle::request::{Address, LOOPBACK_V4, Protocol, Request};
use smallvec::SmallVec;

use crate::policy::{Addresses, Default, Effect, Enforcement, PortRange, ProgramIndex, ResolvedPolicy, Rule, Subjects};

/// The requesting process, as the model sees it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Process {
    /// Its program, where its digest pins hold.
    pub program: Option<ProgramIndex>,
    /// Its own program and those that led to it, whatever the content of their files.
    pub restricted_by: SmallVec<[ProgramIndex; 4]>,
    /// The programs `with children` that led to it, and whose digest pins held.
    pub inherited_from: SmallVec<[ProgramIndex; 4]>,
}

impl Process {
    /// A process of `program` that no restricted program started.
    pub fn of(program: Option<ProgramIndex>) -> Process {
        Process { program, restricted_by: program.into_iter().collect(), inherited_from: SmallVec::new() }
    }
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// An address, a port and a protocol.
    Request(Request),
    /// A raw or packet socket.
    Raw,
}

/// The verdict of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the request is allowed.
    pub allowed: bool,
    /// Whether an audited rule would deny it; only set for an allowed request.
    pub audited: bool,
}

impl Answer {
    /// Allowed if both are; audited if either is.
    pub(crate) fn and(self, other: Answer) -> Answer {
        let allowed = self.allowed && other.allowed;
        Answer { allowed, audited: allowed && (self.audited || other.audited) }
    }
}

/// The verdict on a request of `process`.
pub fn answer(policy: &ResolvedPolicy, process: &Process, asked: Asked) -> Answer {
    let Asked::Request(request) = asked else { return judge(policy, process, asked) };
    let address = judged(request.address);
    let first = judge(policy, process, Asked::Request(Request { address, ..request }));
    let Some(embedded) = address.behind_nat64() else { return first };
    // A gateway sends the packets on to the IPv4 address, whose restrictions hold too. Whether the process may use the
    // gateway is decided by the rules that cover the IPv6 address.
    let second = Asked::Request(Request { address: Address::V4(embedded), ..request });
    first.and(left_by_covering(policy, process, second))
}

/// The answer on a segment to the client of an accepted connection: `request` is its address and port, `local_port`
/// the server's. It is allowed as a request or as an answer, and neither way if a rule that covers it in the other way
/// denies it itself.
pub fn answer_to_client(policy: &ResolvedPolicy, process: &Process, request: Request, local_port: u16) -> Answer {
    let as_request = answer(policy, process, Asked::Request(request));
    if !policy.clients {
        return as_request;
    }
    let to_client = Request { port: local_port, protocol: Protocol::Answer, ..request };
    let ways = [
        as_request.and(left_by_rules_about(policy, process, to_client)),
        answer(policy, process, Asked::Request(to_client)).and(left_by_rules_about(policy, process, request)),
    ];
    let allowed = ways.iter().any(|way| way.allowed);
    Answer { allowed, audited: allowed && !ways.iter().any(|way| way.allowed && !way.audited) }
}

/// What the rules that cover a request leave of it; likewise for the address behind a NAT64 gateway.
fn left_by_rules_about(policy: &ResolvedPolicy, process: &Process, request: Request) -> Answer {
    let address = judged(request.address);
    let first = left_by_covering(policy, process, Asked::Request(Request { address, ..request }));
    let Some(embedded) = address.behind_nat64() else { return first };
    let second = Asked::Request(Request { address: Address::V4(embedded), ..request });
    first.and(left_by_covering(policy, process, second))
}

/// What the rules that cover a request leave of it, where no grant is needed.
fn left_by_covering(policy: &ResolvedPolicy, process: &Process, asked: Asked) -> Answer {
    let covering = policy.rules.iter().filter(|rule| covers(rule, asked));
    let covering: Vec<Weighed<'_>> = covering.map(|rule| Weighed { rule, covers: true }).collect();
    weigh(Needs::NOTHING, &covering, process)
}

/// The address that is looked up for a request.
fn judged(address: Address) -> Address {
    match address {
        Address::V4(0) => Address::V4(LOOPBACK_V4),
        Address::V4(_) => address,
        Address::V6 { high, low } => match u128::from(high) << 64 | u128::from(low) {
            0 => Address::v6(1),
            bits if bits >> 32 == 0xffff => match bits as u32 {
                0 => Address::V4(LOOPBACK_V4),
                carried => Address::V4(carried),
            },
            bits => Address::v6(bits),
        },
    }
}

/// The same for an address that is judged as it is: not mapped, not unspecified, not behind a gateway.
pub(crate) fn judge(policy: &ResolvedPolicy, process: &Process, asked: Asked) -> Answer {
    let weighed: Vec<Weighed<'_>> =
        policy.rules.iter().map(|rule| Weighed { rule, covers: covers(rule, asked) }).collect();
    weigh(Needs::of(policy, process, asked), &weighed, process)
}

/// Whether a request needs a grant although no rule covers it. Under `default deny`, every request does. Raw and packet
/// sockets, which carry no destination that can be checked, need one for a governed process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    /// The request needs a grant.
    pub(crate) grant: bool,
    /// The request would need a grant if an audited rule were enforced.
    pub(crate) grant_under_audit: bool,
}

impl Needs {
    pub(crate) const NOTHING: Needs = Needs { grant: false, grant_under_audit: false };

    pub(crate) fn of(policy: &ResolvedPolicy, process: &Process, asked: Asked) -> Needs {
        let by = |wanted: &dyn Fn(&Rule) -> bool| {
            asked == Asked::Raw && policy.rules.iter().any(|rule| wanted(rule) && governs(policy, rule, process))
        };
        Needs {
            grant: policy.default != Default::Allow || by(&|rule| rule.enforcement == Enforcement::Enforced),
            grant_under_audit: by(&|rule| is_silent_on_raw(rule)),
        }
    }
}

/// Whether a rule is audited and does not cover raw sockets itself.
pub(crate) fn is_silent_on_raw(rule: &Rule) -> bool {
    rule.enforcement == Enforcement::Audited && !covers(rule, Asked::Raw)
}

/// Whether a rule governs a process: the rule names its program, whose digest pins hold, or the process is restricted
/// by a program that the rule names. A grant of what the default allows governs no process.
pub(crate) fn governs(policy: &ResolvedPolicy, rule: &Rule, process: &Process) -> bool {
    let Subjects::Programs(programs) = &rule.subjects else { return false };
    if rule.effect == Effect::DenyOthers || gives_nothing(policy, rule) && rule.effect == Effect::AllowOthers {
        return false;
    }
    let is_about = |program: &ProgramIndex| programs.binary_search(program).is_ok();
    process.program.as_ref().is_some_and(is_about) && !gives_nothing(policy, rule)
        || restricts(rule) && process.restricted_by.iter().any(is_about)
}

/// Whether a rule grants only what the default allows.
pub(crate) fn gives_nothing(policy: &ResolvedPolicy, rule: &Rule) -> bool {
    matches!(rule.effect, Effect::Allow | Effect::AllowOthers) && policy.default == Default::Allow
}

/// Whether a rule restricts its programs and the processes that they start.
pub(crate) fn restricts(rule: &Rule) -> bool {
    rule.effect.restricts()
}

/// A rule, and whether its right side covers the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weighed<'a> {
    pub(crate) rule: &'a Rule,
    pub(crate) covers: bool,
}

impl Weighed<'_> {
    fn is(&self, identity: Option<ProgramIndex>) -> bool {
        match &self.rule.subjects {
            Subjects::Everyone => true,
            Subjects::Programs(programs) => identity.is_some_and(|program| programs.binary_search(&program).is_ok()),
        }
    }

    fn is_under(&self, process: &Process) -> bool {
        match &self.rule.subjects {
            Subjects::Everyone => true,
            Subjects::Programs(programs) => {
                process.restricted_by.iter().any(|program| programs.binary_search(program).is_ok())
            }
        }
    }

    /// Whether the rule denies the request, or would if it were enforced.
    pub(crate) fn refuses(&self, process: &Process, identity: Option<ProgramIndex>) -> bool {
        match self.rule.effect {
            Effect::Exclusive | Effect::DenyOthers => self.covers && !self.is(identity),
            Effect::Confined => !self.covers && self.is_under(process),
            Effect::Deny => self.covers && self.is_under(process),
            Effect::Allow | Effect::AllowOthers => false,
        }
    }

    /// Whether the rule is a grant to this identity. An `allow * except P` is one to every identity; it can be withheld
    /// from the process.
    pub(crate) fn grants(&self, identity: Option<ProgramIndex>) -> bool {
        self.is_granting_others() || self.is_enforced_here() && self.rule.effect.grants() && self.is(identity)
    }

    fn is_granting_others(&self) -> bool {
        self.is_enforced_here() && self.rule.effect == Effect::AllowOthers
    }

    fn is_enforced_here(&self) -> bool {
        self.rule.enforcement == Enforcement::Enforced && self.covers
    }
}

/// The identities that may satisfy a policy: the process's own, and the inherited ones.
pub(crate) fn identities(process: &Process) -> impl Iterator<Item = Option<ProgramIndex>> + '_ {
    std::iter::once(process.program).chain(process.inherited_from.iter().copied().map(Some))
}

/// The combined verdict of the rules. Rules that neither cover nor confine may be left out.
pub(crate) fn weigh(needs: Needs, rules: &[Weighed<'_>], process: &Process) -> Answer {
    let to_others = || rules.iter().filter(|weighed| weighed.is_granting_others());
    // Each program that led to the process must be one of the others to some of these rules.
    let is_one_of_others = |program: &ProgramIndex| to_others().any(|weighed| !weighed.is(Some(*program)));
    let is_granted_as_other = to_others().next().is_some() && process.restricted_by.iter().all(is_one_of_others);
    let is_granted = |identity| {
        is_granted_as_other || rules.iter().any(|weighed| !weighed.is_granting_others() && weighed.grants(identity))
    };
    // One identity must satisfy all enforced rules.
    let allowing = |identity: &Option<ProgramIndex>| {
        let enforced = |weighed: &&Weighed<'_>| weighed.rule.enforcement == Enforcement::Enforced;
        !rules.iter().filter(enforced).any(|weighed| weighed.refuses(process, *identity))
            && (!needs.grant || is_granted(*identity))
    };
    // Audited rules are evaluated for the first identity that is allowed.
    let Some(identity) = identities(process).find(allowing) else {
        return Answer { allowed: false, audited: false };
    };
    let audited = |weighed: &&Weighed<'_>| weighed.rule.enforcement == Enforcement::Audited;
    let is_refused = rules.iter().filter(audited).any(|weighed| weighed.refuses(process, identity));
    Answer { allowed: true, audited: is_refused || needs.grant_under_audit && !is_granted(identity) }
}

/// Whether a rule's right side covers the request.
pub fn covers(rule: &Rule, asked: Asked) -> bool {
    rule.destinations.iter().any(|destination| {
        let request = match (destination.addresses, asked) {
            (Addresses::Raw, Asked::Raw) => return true,
            (Addresses::Raw, _) | (_, Asked::Raw) => return false,
            (_, Asked::Request(request)) => request,
        };
        let address = match (destination.addresses, request.address) {
            (Addresses::V4(first, last), Address::V4(bits)) => (first..=last).contains(&bits),
            (Addresses::V6(first, last), Address::V6 { high, low }) => {
                (first..=last).contains(&(u128::from(high) << 64 | u128::from(low)))
            }
            _ => false,
        };
        let port = |range: &PortRange| {
            range.protocol == request.protocol && (range.first..=range.last).contains(&request.port)
        };
        address && destination.ports.iter().any(port)
    })
}
