//! What the kernel programs tell of a refusal: one record in a ring of fixed size.
//!
//! Always: a record has no padding, so that nothing of the kernel's memory leaves with it.

use crate::label::ProgramId;

/// One event.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Since the machine was started, in nanoseconds, time asleep included.
    pub since_boot: u64,
    /// The program that asked, by the name of its executable; 0 where the policy names none.
    pub program: ProgramId,
    /// The address, IPv4 as IPv6 (`::ffff:a.b.c.d`): its first half,
    pub high: u64,
    /// and its second.
    pub low: u64,
    /// The process, as the host numbers it; 0 for a packet, which no process may be sending just then.
    pub process: u32,
    /// Its user, as the host numbers it.
    pub user: u32,
    /// The rule that decided; [`NO_RULE`](crate::record::NO_RULE) where none did.
    pub rule: u32,
    /// The flags of its label.
    pub label: u32,
    /// A [`Kind`] by number.
    pub kind: u16,
    /// A [`Reason`](crate::decide::Reason) by number, where tables decided.
    pub reason: u16,
    /// The port.
    pub port: u16,
    /// The protocol, as in an IP header.
    pub protocol: u16,
    /// The name of the thread, filled up with zeros.
    pub thread: [u8; 16],
    /// How many events like this one were held back before it, because there were many.
    pub held: u64,
}

impl Event {
    /// The size of a record in bytes.
    pub const SIZE: usize = 80;

    /// The size of what every release writes and reads: the members before `held`. A later release adds at the end.
    pub const PREFIX: usize = 72;
}

const _: () = assert!(size_of::<Event>() == Event::SIZE);
const _: () = assert!(core::mem::offset_of!(Event, held) == Event::PREFIX);

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// A request.
    Request = 1,
    /// Nothing: an `audit` rule would refuse this request.
    Audited = 2,
    /// A raw or packet socket, or a TUN device.
    Raw = 3,
    /// A packet that goes elsewhere than what was judged.
    Packet = 4,
    /// A kind of socket, or of name, that cannot be judged.
    Unjudged = 5,
    /// An option of a socket that puts another destination on the wire.
    Option = 6,
    /// What needs a label, and there was none: no memory for one, or the kernel did not find it.
    NoLabel = 7,
    /// To trace a program that holds a guarded grant, or one that is restricted by less, or to reach into its memory or
    /// its descriptors.
    Access = 8,
    /// To map for execution what is not pinned for the program.
    Mapping = 9,
    /// To take apart a policy that is locked.
    Locked = 10,
}

impl Kind {
    /// Every kind, in the order of the numbers.
    pub const ALL: [Kind; 10] = [
        Kind::Request,
        Kind::Audited,
        Kind::Raw,
        Kind::Packet,
        Kind::Unjudged,
        Kind::Option,
        Kind::NoLabel,
        Kind::Access,
        Kind::Mapping,
        Kind::Locked,
    ];

    /// From its number.
    pub fn from_number(number: u16) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u16 == number)
    }
}
