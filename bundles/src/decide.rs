//! The decision: (tables of a policy, label of a task, request) → verdict.
//!
//! This is the only place where a verdict is made. The kernel programs, `bfpc explain` and the tests call it over their
//! own [`Tables`]. It reads a bounded number of records for every policy: the depth of two search trees, one cell, and
//! at most four buckets for each program in the label.
//!
//! **Invariant:** a table that cannot be read denies ([`Reason::Fault`]).
//!
//! Comparisons of which the kernel's verifier would have to follow both outcomes are written as arithmetic: a branch
//! for each of sixteen keys on six levels is more states than the verifier visits, a sum of sign bits is one.

use crate::label::{Label, ProgramId};
use crate::record::{
    BUCKET, Cell, FANOUT, NO_RULE, Node32, Node128, Pair, PairBucket, Policy, ProgramBucket, Step, bucket_hashes,
    pair_key,
};
use crate::request::{Address, Protocol, Request};

/// The most levels of nodes from a root to a decided address: 16^6 ranges.
pub const ADDRESS_LEVELS: u32 = 6;

/// The most levels of nodes from a decided address to a cell: 16^4 ranges of ports.
pub const PORT_LEVELS: u32 = 4;

/// The tables, as arrays that are read by index. `None` means that an index is out of range.
pub trait Tables {
    /// The one record with the roots of the search trees and the default.
    fn policy(&self) -> Option<&Policy>;
    /// A node over 32-bit keys.
    fn node32(&self, index: u32) -> Option<&Node32>;
    /// A node over 128-bit keys.
    fn node128(&self, index: u32) -> Option<&Node128>;
    /// A cell.
    fn cell(&self, index: u32) -> Option<&Cell>;
    /// A bucket of programs.
    fn program_bucket(&self, index: u32) -> Option<&ProgramBucket>;
    /// A bucket of pairs.
    fn pair_bucket(&self, index: u32) -> Option<&PairBucket>;

    /// The cell of an IPv4 address and a port key. `None` is a fault. The kernel programs override this with a global
    /// function, which the verifier checks once for every argument, instead of at each call with what is known there.
    #[inline(always)]
    fn cell_v4(&self, address: u32, port_key: u32) -> Option<u32>
    where
        Self: Sized,
    {
        cell_v4(self, address, port_key)
    }

    /// As [`Tables::cell_v4`], for an IPv6 address in two halves.
    #[inline(always)]
    fn cell_v6(&self, high: u64, low: u64, port_key: u32) -> Option<u32>
    where
        Self: Sized,
    {
        cell_v6(self, high, low, port_key)
    }

    /// The verdict for one cell: see [`judge`]. Overridden likewise.
    #[inline(always)]
    fn judge(&self, label: &Label, cell: u32, unless: Unless) -> Verdict
    where
        Self: Sized,
    {
        judge(self, label, cell, unless)
    }

    /// What holds for a program in a cell: see [`pair`]. `None` is a fault. Overridden likewise.
    #[inline(always)]
    fn pair(&self, cell: u32, program: ProgramId) -> Option<Pair>
    where
        Self: Sized,
    {
        pair(self, cell, program)
    }

    /// What holds for a program in every cell: see [`whole`]. `None` is a fault. Overridden likewise.
    #[inline(always)]
    fn whole(&self, program: ProgramId) -> Option<Whole>
    where
        Self: Sized,
    {
        whole(self, program)
    }

    /// The same number. A BPF program has a stack of 512 bytes, which the compiler would fill by unrolling a loop whose
    /// count it can compute.
    #[inline(always)]
    fn opaque(number: u32) -> u32 {
        number
    }

    /// The highest bit, as 0 or 1. A BPF program needs an instruction here that the compiler does not turn back into a
    /// branch.
    #[inline(always)]
    fn sign_bit(word: u64) -> u64 {
        word >> 63
    }
}

/// The verdict for a request that no rule covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Unless {
    /// Allowed unless a rule or the policy's default denies it.
    Refused = 0,
    /// Whatever the default: denied unless a rule grants it.
    Granted = 1,
    /// Whatever the default: allowed unless a rule that covers it denies it. Destinations outside a confinement, and
    /// missing grants, do not count.
    Covered = 2,
}

impl Unless {
    /// From its number. An unknown number is the strictest value.
    #[inline(always)]
    pub const fn from_number(number: u32) -> Unless {
        match number {
            0 => Unless::Refused,
            2 => Unless::Covered,
            _ => Unless::Granted,
        }
    }
}

/// The verdict on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// Why the request is allowed or denied; this implies which.
    pub reason: Reason,
    /// The number of the rule that decided, or [`NO_RULE`].
    pub rule: u32,
    /// The number of an audited rule that would have denied what is allowed, or [`NO_RULE`].
    pub audited: u32,
}

impl Verdict {
    #[inline(always)]
    const fn new(reason: Reason, rule: u32) -> Verdict {
        Verdict { reason, rule, audited: NO_RULE }
    }

    /// Whether the request is allowed.
    #[inline(always)]
    pub const fn is_allowed(self) -> bool {
        matches!(self.reason, Reason::Default | Reason::Granted)
    }

    /// The stricter of two verdicts: this one, unless only `other` denies, or only `other` has an audited rule.
    #[inline(always)]
    pub const fn and(self, other: Verdict) -> Verdict {
        if !self.is_allowed() {
            self
        } else if !other.is_allowed() {
            other
        } else if self.audited == NO_RULE {
            Verdict { audited: other.audited, ..self }
        } else {
            self
        }
    }

    /// A request that cannot be decided is denied.
    pub const FAULT: Verdict = Verdict::new(Reason::Fault, NO_RULE);

    /// As one number, which is all that a global BPF function can return.
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        pack(self.reason as u16, self.rule, self.audited)
    }

    /// From [`Verdict::to_bits`].
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Verdict {
        let (reason, rule, audited) = unpack(bits);
        Verdict { reason: Reason::from_number(reason as u8), rule, audited }
    }
}

/// A bit that no flag of [`Pair`] uses: a table could not be read.
const PAIR_FAULT: u16 = 1 << 9;

/// The result of [`Tables::pair`], as one number.
#[inline(always)]
pub const fn pair_to_bits(found: Option<Pair>) -> u64 {
    match found {
        Some(pair) => pack(pair.flags as u16 & !PAIR_FAULT, pair.rule, pair.audit_rule),
        None => pack(PAIR_FAULT, NO_RULE, NO_RULE),
    }
}

/// From [`pair_to_bits`].
#[inline(always)]
pub const fn pair_from_bits(bits: u64) -> Option<Pair> {
    let (flags, rule, audit_rule) = unpack(bits);
    if flags & PAIR_FAULT == 0 { Some(Pair { flags: flags as u32, rule, audit_rule }) } else { None }
}

/// How many bits a rule's number takes when it is packed. Larger numbers lose their high bits and are reported as
/// another rule's; verdicts do not depend on them.
const RULE_BITS: u32 = 27;
const RULE_MASK: u64 = (1 << RULE_BITS) - 1;

#[inline(always)]
const fn pack(first: u16, rule: u32, audit_rule: u32) -> u64 {
    (first as u64) << (2 * RULE_BITS) | (audit_rule as u64 & RULE_MASK) << RULE_BITS | rule as u64 & RULE_MASK
}

#[inline(always)]
const fn unpack(bits: u64) -> (u16, u32, u32) {
    #[inline(always)]
    const fn rule(bits: u64) -> u32 {
        let number = bits & RULE_MASK;
        if number == RULE_MASK { NO_RULE } else { number as u32 }
    }
    ((bits >> (2 * RULE_BITS)) as u16, rule(bits), rule(bits >> RULE_BITS))
}

/// Why a request is allowed or denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// Allowed: nothing denies it, under `default allow`.
    Default = 0,
    /// Allowed: a rule grants it.
    Granted = 1,
    /// Denied by `deny P -> D`.
    Denied = 2,
    /// Denied by `only P -> D`: the program is not one of P.
    Exclusive = 3,
    /// Denied by `P -> only D`: the destination lies outside D.
    Confined = 4,
    /// Denied by `default deny`: no rule grants it.
    NotGranted = 5,
    /// Denied: more restricted programs led to this process than its label can hold.
    Overflow = 6,
    /// Denied: a table could not be read.
    Fault = 7,
}

impl Reason {
    /// From its number. An unknown number is a fault.
    #[inline(always)]
    pub const fn from_number(number: u8) -> Reason {
        match number {
            0 => Reason::Default,
            1 => Reason::Granted,
            2 => Reason::Denied,
            3 => Reason::Exclusive,
            4 => Reason::Confined,
            5 => Reason::NotGranted,
            6 => Reason::Overflow,
            _ => Reason::Fault,
        }
    }
}

/// Decides whether the task labelled `label` may make `request`.
///
/// # Preconditions
/// `tables` hold an image whose structure was checked (`verify/structure.rs`), so that every search ends at a cell.
/// `label` is the task's own, and `request.address` is as the call named it, in host byte order.
///
/// # Returns
/// The verdict for the address. If the address embeds an IPv4 address for NAT64, the stricter of the verdicts for both.
/// A table that cannot be read yields [`Verdict::FAULT`], which denies.
#[inline(always)]
pub fn decide<T: Tables>(tables: &T, label: &Label, request: &Request) -> Verdict {
    judge_both(tables, label, request, Unless::Refused)
}

/// Decides whether the task labelled `label` may send to the client of a connection that its socket accepted: `request`
/// names the client's address and port, and `local_port` is the server's.
///
/// An answer is allowed if the policy allows it as a request to the client's address and port, or as an answer to a
/// client of that local port. Either way, what the rules that cover it in the other way deny themselves counts too: a
/// `deny`, or a destination that is exclusive to other programs.
///
/// # Preconditions
/// As for [`decide`]. The kernel made the socket for a peer that connected to it ([`Label::ACCEPTED`]).
///
/// # Returns
/// Of the two verdicts the milder one, preferably one that no audited rule would deny; if both deny, that on the
/// request, unless a rule denies answers. Where the policy does not name `clients`, the verdict on the request.
#[inline(always)]
pub fn decide_answer<T: Tables>(tables: &T, label: &Label, request: &Request, local_port: u16) -> Verdict {
    let Some(policy) = tables.policy() else { return Verdict::FAULT };
    let asked = decide(tables, label, request);
    if policy.flags & Policy::CLIENTS == 0 {
        return asked;
    }
    let answer = Request { address: request.address, port: local_port, protocol: Protocol::Answer };
    let asked = asked.and(covered(tables, label, &answer));
    if asked.is_allowed() && asked.audited == NO_RULE {
        return asked;
    }
    let answered = decide(tables, label, &answer);
    let is_denied = matches!(answered.reason, Reason::Denied);
    let answered = answered.and(covered(tables, label, request));
    if asked.is_allowed() {
        return if answered.is_allowed() && answered.audited == NO_RULE { answered } else { asked };
    }
    if answered.is_allowed() || is_denied { answered } else { asked }
}

/// What the rules that cover a request deny themselves.
#[inline(always)]
fn covered<T: Tables>(tables: &T, label: &Label, request: &Request) -> Verdict {
    judge_both(tables, label, request, Unless::Covered)
}

/// The verdict for an address, and what the rules that cover the address behind a NAT64 gateway deny themselves.
#[inline(always)]
fn judge_both<T: Tables>(tables: &T, label: &Label, request: &Request, unless: Unless) -> Verdict {
    let Some(number) = find_cell(tables, request) else { return Verdict::FAULT };
    let verdict = tables.judge(label, number, unless);
    let Some(embedded) = request.address.judged().behind_nat64() else { return verdict };
    let Some(number) = tables.cell_v4(embedded, request.port_key()) else { return Verdict::FAULT };
    verdict.and(tables.judge(label, number, Unless::Covered))
}

/// The cell of a request.
///
/// # Preconditions
/// As for [`decide`].
///
/// # Returns
/// The number of the cell, or `None`, a fault, if a search leaves the tables or does not end within [`ADDRESS_LEVELS`]
/// and [`PORT_LEVELS`] nodes.
#[inline(always)]
pub fn find_cell<T: Tables>(tables: &T, request: &Request) -> Option<u32> {
    let port_key = request.port_key();
    match request.address.judged() {
        Address::V4(address) => tables.cell_v4(address, port_key),
        Address::V6 { high, low } => tables.cell_v6(high, low, port_key),
    }
}

/// The cell of the IPv4 address to which a NAT64 gateway would forward a request, for reports. `None` if there is no
/// such address, or by a fault.
pub fn find_embedded_cell<T: Tables>(tables: &T, request: &Request) -> Option<u32> {
    tables.cell_v4(request.address.judged().behind_nat64()?, request.port_key())
}

/// Decides whether the task labelled `label` may use raw and packet sockets, which carry no destination that could be
/// checked.
///
/// # Preconditions
/// As for [`decide`].
///
/// # Returns
/// The verdict for the policy's cell of raw sockets. An enforced rule that governs the task requires a grant there. An
/// audited one adds its number to a verdict that allows by default. A table that cannot be read yields
/// [`Verdict::FAULT`], which denies.
#[inline(always)]
pub fn decide_raw<T: Tables>(tables: &T, label: &Label) -> Verdict {
    let Some(policy) = tables.policy() else { return Verdict::FAULT };
    let governance = governance(tables, label);
    let unless = if governance.is_enforced { Unless::Granted } else { Unless::Refused };
    let verdict = tables.judge(label, policy.raw_cell, unless);
    match verdict.reason {
        Reason::Default if verdict.audited == NO_RULE => Verdict { audited: governance.audited, ..verdict },
        _ => verdict,
    }
}

/// Whether the policy governs a process: a rule names its program, which is proven, or a restriction holds for it, of
/// its own or of a program that started it. Requests that cannot be judged are denied to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Governance {
    /// By an enforced rule.
    pub is_enforced: bool,
    /// By an audited rule that does not itself cover raw sockets: its number, or [`NO_RULE`].
    pub audited: u32,
}

impl Governance {
    const FAULT: Governance = Governance { is_enforced: true, audited: NO_RULE };

    /// As one number.
    #[inline(always)]
    pub const fn to_bits(self) -> u64 {
        pack(self.is_enforced as u16, NO_RULE, self.audited)
    }

    /// From [`Governance::to_bits`].
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Governance {
        let (is_enforced, _, audited) = unpack(bits);
        Governance { is_enforced: is_enforced != 0, audited }
    }
}

/// Whether the policy governs the task labelled `label`.
///
/// # Preconditions
/// As for [`decide`].
///
/// # Returns
/// Whether an enforced rule governs the task, and the number of an audited rule that would. If a table cannot be read,
/// or the label has [`Label::OVERFLOW`], the task counts as governed.
#[inline(always)]
pub fn governance<T: Tables>(tables: &T, label: &Label) -> Governance {
    if label.flags & Label::OVERFLOW != 0 {
        return Governance::FAULT;
    }
    let own = if label.flags & Label::PROVEN != 0 { label.program } else { 0 };
    let Some(own) = tables.whole(own) else { return Governance::FAULT };
    let mut flags = own.flags;
    let mut audited = own.audited_by(ProgramBucket::AUDIT_GOVERNED);
    let mut index = 0;
    while let Some(program) = label.restricted_by.get(index as usize).filter(|_| index < label.depth) {
        index = T::opaque(index + 1);
        let Some(held) = tables.whole(*program) else { return Governance::FAULT };
        if held.flags & ProgramBucket::GOVERNING != 0 {
            flags |= ProgramBucket::GOVERNED;
        }
        if audited == NO_RULE {
            audited = held.audited_by(ProgramBucket::AUDIT_GOVERNING);
        }
    }
    Governance { is_enforced: flags & ProgramBucket::GOVERNED != 0, audited }
}

/// The verdict for one cell.
///
/// # Preconditions
/// `number` is a cell that [`find_cell`] or [`find_embedded_cell`] found in the same tables, or the policy's cell of
/// raw sockets. `unless` says what applies if no rule covers the request.
///
/// # Returns
/// The first that applies: [`Reason::Overflow`], a denial for every program, a restriction of a program in
/// `label.restricted_by`, and last the grants of the task's program or of one that it inherits from. One identity must satisfy
/// all rules. A table that cannot be read yields [`Verdict::FAULT`], which denies.
#[inline(always)]
pub fn judge<T: Tables>(tables: &T, label: &Label, number: u32, unless: Unless) -> Verdict {
    let Some(policy) = tables.policy() else { return Verdict::FAULT };
    let needs_grant = match unless {
        Unless::Refused => policy.flags & Policy::DEFAULT_DENY != 0,
        Unless::Granted => true,
        Unless::Covered => false,
    };
    // Whether confinements count, as a mask: a BPF program has few registers, and a small stack.
    let counts = if matches!(unless, Unless::Covered) { 0 } else { u32::MAX };
    if label.flags & Label::OVERFLOW != 0 {
        return Verdict::new(Reason::Overflow, NO_RULE);
    }
    let Some(cell) = tables.cell(number) else { return Verdict::FAULT };
    if cell.flags & Cell::DENIED != 0 {
        return Verdict::new(Reason::Denied, cell.rule);
    }
    if cell.flags & Cell::OUTSIDE & counts != 0 {
        return Verdict::new(Reason::Denied, cell.outside_rule);
    }
    let mut audited = NO_RULE;
    if cell.flags & (Cell::AUDIT_DENIED | Cell::AUDIT_OUTSIDE & counts) != 0 {
        audited = cell.audit_rule;
    }

    // Restrictions: of the task's program and of every program that started it.
    let mut withheld = 0;
    let mut index = 0;
    while let Some(program) = label.restricted_by.get(index as usize).filter(|_| index < label.depth) {
        index = T::opaque(index + 1);
        let Some(held) = tables.pair(number, *program) else { return Verdict::FAULT };
        withheld |= held.flags & Pair::WITHHELD;
        if held.flags & Pair::DENIED != 0 {
            return Verdict::new(Reason::Denied, held.rule);
        }
        if held.flags & Pair::INSIDE == 0 && counts != 0 {
            return Verdict::new(Reason::Confined, held.rule);
        }
        if (held.flags ^ Pair::AUDIT_INSIDE) & (Pair::AUDIT_DENIED | Pair::AUDIT_INSIDE & counts) != 0 {
            audited = held.audit_rule;
        }
    }

    // Grants: those of the task's program, if it is proven to be that program, or of a program that it inherits from.
    // One identity must satisfy everything: grants do not combine.
    let identity = if label.flags & Label::PROVEN != 0 { label.program } else { 0 };
    let Some(own) = tables.pair(number, identity) else { return Verdict::FAULT };
    let to_everyone = cell.flags & Cell::GRANTED != 0 && withheld == 0;
    let mut verdict = grant(policy, cell, own, audited, needs_grant, to_everyone);
    let mut index = 0;
    while let Some(heritage) = label.inherits_from.get(index as usize).filter(|id| **id != 0 && !verdict.is_allowed()) {
        index = T::opaque(index + 1);
        let Some(held) = tables.pair(number, *heritage) else { return Verdict::FAULT };
        let inherited = grant(policy, cell, held, audited, needs_grant, to_everyone);
        if inherited.is_allowed() {
            verdict = inherited;
        }
    }
    verdict
}

/// The verdict for an identity that holds `own`, in a cell where nothing else denies. `to_everyone`: the cell is granted
/// to everyone, and that is not withheld from the task.
#[inline(always)]
fn grant(policy: &Policy, cell: &Cell, own: Pair, audited: u32, needs_grant: bool, to_everyone: bool) -> Verdict {
    if cell.flags & Cell::EXCLUSIVE != 0 && own.flags & Pair::MEMBER == 0 {
        return Verdict::new(Reason::Exclusive, cell.rule);
    }
    let allowed = if own.flags & Pair::GRANTED != 0 {
        Verdict::new(Reason::Granted, own.rule)
    } else if to_everyone {
        let is_second = cell.flags & (Cell::EXCLUSIVE | Cell::OUTSIDE) == Cell::EXCLUSIVE;
        Verdict::new(Reason::Granted, if is_second { cell.outside_rule } else { cell.rule })
    } else if needs_grant {
        return Verdict::new(Reason::NotGranted, policy.default_rule);
    } else {
        Verdict::new(Reason::Default, policy.default_rule)
    };
    let excluded = cell.flags & Cell::AUDIT_EXCLUSIVE != 0 && own.flags & Pair::AUDIT_MEMBER == 0;
    Verdict { audited: if excluded { cell.audit_rule } else { audited }, ..allowed }
}

/// What holds for a program in a cell. A program that the policy does not name is an unlisted program. `None` is a
/// fault.
#[inline(always)]
pub fn pair<T: Tables>(tables: &T, cell: u32, id: ProgramId) -> Option<Pair> {
    let policy = tables.policy()?;
    if id == 0 {
        return Some(Pair::UNLISTED);
    }
    let found = find_program(tables, policy, id)?;
    if found.number == 0 {
        return Some(Pair::UNLISTED);
    }
    let elsewhere = Pair { flags: found.flags & ProgramBucket::PAIR, rule: found.rule, audit_rule: found.audit_rule };

    let program = found.number;
    let (first, second) = bucket_hashes(pair_key(cell, program));
    let mut found = Found::NOTHING;
    for index in [first & policy.pair_mask, second & policy.pair_mask] {
        let bucket = tables.pair_bucket(index)?;
        let mut next = 0;
        while (next as usize) < BUCKET {
            let slot = next as usize;
            next = T::opaque(next + 1);
            let different = (entry(&bucket.cells, slot) ^ cell) | (entry(&bucket.programs, slot) ^ program);
            let mask = all_ones_if_zero::<T>(different as u64);
            found.merge(
                mask,
                program,
                entry(&bucket.flags, slot),
                entry(&bucket.rules, slot),
                entry(&bucket.audit_rules, slot),
            );
        }
    }
    if found.number == 0 {
        return Some(elsewhere);
    }
    Some(Pair { flags: found.flags, rule: found.rule, audit_rule: found.audit_rule })
}

/// What holds for a program in every cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Constants of [`ProgramBucket`], above those of [`Pair`].
    pub flags: u32,
    /// An audited rule that names it.
    pub audit_rule: u32,
}

impl Whole {
    #[inline(always)]
    const fn audited_by(self, flag: u32) -> u32 {
        if self.flags & flag != 0 { self.audit_rule } else { NO_RULE }
    }

    /// The result of [`Tables::whole`], as one number.
    #[inline(always)]
    pub const fn to_bits(found: Option<Whole>) -> u64 {
        match found {
            Some(whole) => pack((whole.flags >> WHOLE_SHIFT) as u16 & !PAIR_FAULT, NO_RULE, whole.audit_rule),
            None => pack(PAIR_FAULT, NO_RULE, NO_RULE),
        }
    }

    /// From [`Whole::to_bits`].
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Option<Whole> {
        let (flags, _, audit_rule) = unpack(bits);
        if flags & PAIR_FAULT == 0 { Some(Whole { flags: (flags as u32) << WHOLE_SHIFT, audit_rule }) } else { None }
    }
}

/// Above the flags of [`Pair`] in a [`ProgramBucket`].
const WHOLE_SHIFT: u32 = 16;

/// What holds for a program in every cell. `None` is a fault.
#[inline(always)]
pub fn whole<T: Tables>(tables: &T, id: ProgramId) -> Option<Whole> {
    if id == 0 {
        return Some(Whole { flags: 0, audit_rule: NO_RULE });
    }
    let found = find_program(tables, tables.policy()?, id)?;
    Some(Whole { flags: found.flags & !ProgramBucket::PAIR, audit_rule: found.audit_rule })
}

#[inline(always)]
fn find_program<T: Tables>(tables: &T, policy: &Policy, id: ProgramId) -> Option<Found> {
    let (first, second) = bucket_hashes(id);
    let mut found = Found::NOTHING;
    for index in [first & policy.program_mask, second & policy.program_mask] {
        let bucket = tables.program_bucket(index)?;
        let mut next = 0;
        while (next as usize) < BUCKET {
            let slot = next as usize;
            next = T::opaque(next + 1);
            let mask = all_ones_if_zero::<T>(entry(&bucket.ids, slot) ^ id);
            let number = index.wrapping_mul(BUCKET as u32).wrapping_add(slot as u32 + 1);
            found.merge(
                mask,
                number,
                entry(&bucket.flags, slot),
                entry(&bucket.rules, slot),
                entry(&bucket.audit_rules, slot),
            );
        }
    }
    Some(found)
}

/// An entry of a bucket, merged in by masks: an entry is in at most one place, even if its two buckets are the same.
struct Found {
    number: u32,
    flags: u32,
    rule: u32,
    audit_rule: u32,
}

impl Found {
    const NOTHING: Found = Found { number: 0, flags: 0, rule: 0, audit_rule: 0 };

    #[inline(always)]
    fn merge(&mut self, mask: u32, number: u32, flags: u32, rule: u32, audit_rule: u32) {
        self.number |= mask & number;
        self.flags |= mask & flags;
        self.rule |= mask & rule;
        self.audit_rule |= mask & audit_rule;
    }
}

#[inline(always)]
fn entry<W: Copy + Default, const N: usize>(entries: &[W; N], index: usize) -> W {
    // Never the default: every caller counts to N. Written so that no panic remains.
    entries.get(index).copied().unwrap_or_default()
}

#[inline(always)]
fn all_ones_if_zero<T: Tables>(word: u64) -> u32 {
    (T::sign_bit(word | word.wrapping_neg()) as u32).wrapping_sub(1)
}

/// The cell of an IPv4 address and a port key. `None` is a fault.
#[inline(always)]
pub fn cell_v4<T: Tables>(tables: &T, address: u32, port_key: u32) -> Option<u32> {
    let root = Step(tables.policy()?.root_v4);
    let step = descend32::<T, ADDRESS_LEVELS>(tables, root, Step::ADDRESS_DONE, address)?;
    cell_number(tables, step, port_key)
}

/// The cell of an IPv6 address, in two halves, and a port key. `None` is a fault.
#[inline(always)]
pub fn cell_v6<T: Tables>(tables: &T, high: u64, low: u64, port_key: u32) -> Option<u32> {
    let root = Step(tables.policy()?.root_v6);
    let step = descend128(tables, root, high, low)?;
    cell_number(tables, step, port_key)
}

/// From a decided address to the number of a cell.
#[inline(always)]
fn cell_number<T: Tables>(tables: &T, step: Step, port_key: u32) -> Option<u32> {
    descend32::<T, PORT_LEVELS>(tables, step, Step::PORT_DONE, port_key).map(Step::index)
}

/// Descends until a step has the bit `done`. `None` if none has it after `LEVELS` nodes.
#[inline(always)]
fn descend32<T: Tables, const LEVELS: u32>(tables: &T, root: Step, done: u32, key: u32) -> Option<Step> {
    let mut step = root;
    for _ in 0..LEVELS {
        if step.0 & done != 0 {
            return Some(step);
        }
        let node = tables.node32(step.index())?;
        let mut before = 0;
        for child in 0..FANOUT {
            before += T::sign_bit((entry(&node.ends, child) as u64).wrapping_sub(key as u64));
        }
        step = Step(entry(&node.next, before as usize % FANOUT));
    }
    if step.0 & done != 0 { Some(step) } else { None }
}

/// As [`descend32`], over IPv6 addresses.
#[inline(always)]
fn descend128<T: Tables>(tables: &T, root: Step, high: u64, low: u64) -> Option<Step> {
    let mut step = root;
    for _ in 0..ADDRESS_LEVELS {
        if step.0 & Step::ADDRESS_DONE != 0 {
            return Some(step);
        }
        let node = tables.node128(step.index())?;
        let mut before = 0;
        for child in 0..FANOUT {
            before += is_less128::<T>(entry(&node.ends_high, child), entry(&node.ends_low, child), high, low);
        }
        step = Step(entry(&node.next, before as usize % FANOUT));
    }
    if step.0 & Step::ADDRESS_DONE != 0 { Some(step) } else { None }
}

/// 1 if the first 128-bit number is less than the second, else 0: the borrow of their difference.
#[inline(always)]
fn is_less128<T: Tables>(a_high: u64, a_low: u64, b_high: u64, b_low: u64) -> u64 {
    let borrow = is_less64::<T>(a_low, b_low);
    let difference = a_high.wrapping_sub(b_high).wrapping_sub(borrow);
    T::sign_bit((!a_high & b_high) | (!(a_high ^ b_high) & difference))
}

#[inline(always)]
fn is_less64<T: Tables>(a: u64, b: u64) -> u64 {
    T::sign_bit((!a & b) | (!(a ^ b) & a.wrapping_sub(b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct None_;
    impl Tables for None_ {
        fn policy(&self) -> Option<&Policy> {
            None
        }
        fn node32(&self, _: u32) -> Option<&Node32> {
            None
        }
        fn node128(&self, _: u32) -> Option<&Node128> {
            None
        }
        fn cell(&self, _: u32) -> Option<&Cell> {
            None
        }
        fn program_bucket(&self, _: u32) -> Option<&ProgramBucket> {
            None
        }
        fn pair_bucket(&self, _: u32) -> Option<&PairBucket> {
            None
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let request = Request { address: Address::V4(1), port: 443, protocol: Protocol::Tcp };
        assert_eq!(decide(&None_, &Label::UNLISTED, &request), Verdict::FAULT);
        assert!(!Verdict::FAULT.is_allowed());
    }

    proptest! {
        #[test]
        fn from_bits_inverts_to_bits(reason in 0u8..8, rule in 0u32..1 << 26, audited in 0u32..1 << 26, none in 0u8..4) {
            let rule = if none & 1 == 0 { rule } else { NO_RULE };
            let audited = if none & 2 == 0 { audited } else { NO_RULE };
            let verdict = Verdict { reason: Reason::from_number(reason), rule, audited };
            prop_assert_eq!(Verdict::from_bits(verdict.to_bits()), verdict);
            let pair = Pair { flags: u32::from(reason) << 5 | 31, rule, audit_rule: audited };
            prop_assert_eq!(pair_from_bits(pair_to_bits(Some(pair))), Some(pair));
        }
    }

    #[test]
    fn what_is_no_verdict_is_a_fault() {
        assert_eq!(Verdict::from_bits(u64::MAX), Verdict::FAULT);
        assert_eq!(pair_from_bits(pair_to_bits(None)), None);
    }

    fn near(word: u64) -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            Just(word),
            Just(word.wrapping_add(1)),
            Just(word.wrapping_sub(1)),
            Just(0),
            Just(u64::MAX)
        ]
    }

    proptest! {
        #[test]
        fn the_arithmetic_comparison_is_the_comparison(
            (a, b) in any::<u128>().prop_flat_map(|a| {
                (near((a >> 64) as u64), near(a as u64)).prop_map(move |(high, low)| (a, (high as u128) << 64 | low as u128))
            })
        ) {
            let less = is_less128::<None_>((a >> 64) as u64, a as u64, (b >> 64) as u64, b as u64);
            prop_assert_eq!(less == 1, a < b);
            prop_assert_eq!(all_ones_if_zero::<None_>(a as u64) == u32::MAX, a as u64 == 0);
        }
    }
}
