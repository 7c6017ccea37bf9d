//! What is wrong with the names and literals of a policy, each with its place and the next step.

use bfp_grammar::syntax::Span;

use super::list_source::ListSourceError;
use super::network_list::ListFault;
use crate::names::dns_name::{DnsName, NameError};

/// What is wrong with the names and literals of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum ResolveError {
    /// `{ *, signer }`
    #[error("`*` must be alone: it already means every program")]
    #[diagnostic(
        code(resolve::everyone_in_set),
        help("write `*` in the rule, without a set and without a declaration")
    )]
    EveryoneInSet {
        /// Where.
        #[label("every program")]
        span: Span,
    },
    /// `deny * except * -> D`
    #[error("`* except *` is no program")]
    #[diagnostic(
        code(resolve::except_everyone),
        help("name the programs that the rule leaves out, or remove the rule")
    )]
    ExceptEveryone {
        /// Where.
        #[label("every program")]
        span: Span,
    },
    /// `"/usr/bin/python3" in unit "system.slice"`
    #[error("`{unit}` is not a unit that a program can be in: {reason}")]
    #[diagnostic(code(resolve::unit_name))]
    UnitName {
        /// The name.
        unit: String,
        /// Why not.
        reason: &'static str,
        /// What to write instead.
        #[help]
        help: String,
        /// Where.
        #[label("not such a unit")]
        span: Span,
    },
    /// `"/usr/bin/python3 in unit backup.service"`
    #[error("the path contains ` in unit `")]
    #[diagnostic(code(resolve::path_unit))]
    PathUnit {
        /// What to write instead.
        #[help]
        help: String,
        /// Where.
        #[label("the unit is in the quotes of the path")]
        span: Span,
    },
    /// A list of networks that cannot be used.
    #[error("`{name}` {fault}")]
    #[diagnostic(code(resolve::network_list))]
    List {
        /// The file.
        name: String,
        /// Why.
        fault: ListFault,
        /// What to do.
        #[help]
        help: String,
        /// Where: the file, or the filter.
        #[label("used here")]
        span: Span,
    },
    /// No such declaration.
    #[error("no {kind} is called `{name}`")]
    #[diagnostic(code(resolve::unknown_name))]
    UnknownName {
        /// Program, host or set of ports.
        kind: &'static str,
        /// What was written.
        name: String,
        /// What may have been meant.
        #[help]
        help: String,
        /// Where.
        #[label("not declared")]
        span: Span,
    },
    /// A program where a host belongs, or the other way round.
    #[error("`{name}` is a {actual}, not a {expected}")]
    #[diagnostic(
        code(resolve::wrong_kind),
        help("write programs on the left of the arrow, hosts on the right, and ports after a colon")
    )]
    WrongKind {
        /// Which.
        name: String,
        /// What it is.
        actual: &'static str,
        /// What belongs here.
        expected: &'static str,
        /// Where it is used.
        #[label("used as a {expected}")]
        span: Span,
        /// Where it is declared; built-in hosts are not.
        #[label("declared as a {actual}")]
        declared: Option<Span>,
    },
    /// A name declared twice.
    #[error("`{name}` is declared twice")]
    #[diagnostic(code(resolve::duplicate_name), help("rename one of the two"))]
    DuplicateName {
        /// Which.
        name: String,
        /// The first declaration.
        #[label("first declared here")]
        first: Span,
        /// The second declaration.
        #[label("and again here")]
        second: Span,
    },
    /// A statement that may stand once.
    #[error("`{statement}` is written twice")]
    #[diagnostic(code(resolve::repeated_statement), help("keep one of the two"))]
    Repeated {
        /// Which.
        statement: &'static str,
        /// The first one.
        #[label("first here")]
        first: Span,
        /// The second one.
        #[label("and again here")]
        second: Span,
    },
    /// `default deny` in an included file.
    #[error("`{statement}` is in an included file, but is about the whole policy")]
    #[diagnostic(
        code(resolve::included_statement),
        help("move it to the policy that includes this file: several policies can then include it")
    )]
    Included {
        /// Which.
        statement: &'static str,
        /// Where.
        #[label("not in the policy's own file")]
        span: Span,
    },
    /// A declaration under a built-in name.
    #[error("`{name}` is a built-in host")]
    #[diagnostic(code(resolve::builtin_name), help("choose another name"))]
    Builtin {
        /// Which.
        name: String,
        /// Where.
        #[label("already has a meaning")]
        span: Span,
    },
    /// `clients:53/udp`
    #[error("`clients` cannot have {protocol} ports")]
    #[diagnostic(code(resolve::clients_protocol))]
    ClientsProtocol {
        /// Which.
        protocol: &'static str,
        /// What to write instead.
        #[help]
        help: &'static str,
        /// Where.
        #[label("not TCP")]
        span: Span,
    },
    /// `clients from 10.0.0.0/8:443`
    #[error("`from` takes the addresses of clients alone")]
    #[diagnostic(
        code(resolve::clients_from),
        help(
            "write addresses without ports; the server's ports stand behind `clients`: `clients:443 from 10.0.0.0/8`"
        )
    )]
    ClientsFromPorts {
        /// Where.
        #[label("not addresses alone")]
        span: Span,
    },
    /// `{ db, clients } except metadata`
    #[error("`except` cannot be used with `clients`")]
    #[diagnostic(code(resolve::clients_except))]
    ClientsExcept {
        /// What to write instead.
        #[help]
        help: &'static str,
        /// Where.
        #[label("has `clients` on one side of `except`")]
        span: Span,
    },
    /// `only nginx -> clients`
    #[error("`clients` cannot be exclusive")]
    #[diagnostic(
        code(resolve::exclusive_clients),
        help(
            "write `P -> only {{ D, clients }}` to confine P: whoever connects to a program is its client, and cannot be \
             reserved for another"
        )
    )]
    ExclusiveClients {
        /// The right side.
        #[label("whoever connects to a program")]
        span: Span,
    },
    /// A declaration that nothing uses.
    #[error("`{name}` is declared and never used")]
    #[diagnostic(code(resolve::unused_name), help("use it in a rule, or remove it"))]
    Unused {
        /// Which.
        name: String,
        /// Where.
        #[label("never used")]
        span: Span,
    },
    /// Declarations that stand for each other.
    #[error("the declaration of `{name}` leads back to itself")]
    #[diagnostic(code(resolve::cycle), help("replace `{name}` here with its intended value"))]
    Cycle {
        /// Which.
        name: String,
        /// Where.
        #[label("comes back to `{name}` here")]
        span: Span,
    },
    /// Declarations that stand for each other in a chain too long to follow.
    #[error("`{name}` is more than 32 declarations deep")]
    #[diagnostic(code(resolve::too_deep), help("replace one of the names in the chain with its value"))]
    TooDeep {
        /// Which.
        name: String,
        /// Where.
        #[label("one name too many")]
        span: Span,
    },
    /// `{ }`
    #[error("the set is empty")]
    #[diagnostic(code(resolve::empty_set), help("name at least one element, or remove the statement"))]
    EmptySet {
        /// Where.
        #[label("nothing in it")]
        span: Span,
    },
    /// Nothing is left.
    #[error("this destination is empty: `except` removes all of it")]
    #[diagnostic(code(resolve::nothing_left), help("remove less, or remove the rule"))]
    NothingLeft {
        /// Where.
        #[label("nothing is left")]
        span: Span,
    },
    /// An address where a network was meant, or the other way round.
    #[error("`{written}` has host bits set")]
    #[diagnostic(code(resolve::host_bits))]
    HostBits {
        /// What was written.
        written: String,
        /// What may have been meant.
        #[help]
        help: String,
        /// Where.
        #[label("not the first address of a network")]
        span: Span,
    },
    /// A path that is no identity.
    #[error("`{path}` is not the path of a program")]
    #[diagnostic(
        code(resolve::path),
        help("write the absolute path of a file, without `.`, `..`, or a slash at its end")
    )]
    Path {
        /// What was written.
        path: String,
        /// Where.
        #[label("cannot name an executable")]
        span: Span,
    },
    /// `"/usr/bin/curl -s"`
    #[error("this is a command line, not the path of a program")]
    #[diagnostic(code(resolve::path_arguments))]
    PathArguments {
        /// The path alone.
        #[help]
        help: String,
        /// Where.
        #[label("not the name of a file")]
        span: Span,
    },
    /// `"/opt/app-[12]/bin/app"`
    #[error("`{sign}` has no meaning in a path")]
    #[diagnostic(
        code(resolve::path_wildcard),
        help("write `*` for any characters within a name, or `**` for any folders")
    )]
    PathWildcard {
        /// The character.
        sign: char,
        /// Where.
        #[label("`{sign}` is not a pattern")]
        span: Span,
    },
    /// `"/opt/app**"`
    #[error("`**` must be a whole component of a path")]
    #[diagnostic(
        code(resolve::path_subtree),
        help("write `/opt/app/**` for everything below a folder, or `*` within a name: `/opt/app*/bin/app`")
    )]
    PathSubtree {
        /// Where.
        #[label("`**` beside other characters")]
        span: Span,
    },
    /// `"/opt/app/"`
    #[error("the path of a program cannot end with a slash")]
    #[diagnostic(
        code(resolve::path_trailing_slash),
        help(
            "write `{folder}/*` for the files of the folder, `{folder}/**` for all below it, or `{folder}` for a file"
        )
    )]
    PathTrailingSlash {
        /// The path without it.
        folder: String,
        /// Where.
        #[label("a folder is not a program")]
        span: Span,
    },
    /// `"/usr/bin/signer "`
    #[error("this path has {unseen}, which a reader cannot see")]
    #[diagnostic(
        code(resolve::path_unseen),
        help("remove it; if it is part of the file's name, write `*` in its place")
    )]
    PathUnseen {
        /// What.
        unseen: String,
        /// Where.
        #[label("not what it looks like")]
        span: Span,
    },
    /// `libraries { "/usr/lib/*.so" … }`
    #[error("a library must be one file, and `*` matches many")]
    #[diagnostic(
        code(resolve::library_pattern),
        help("name each library with its digests; it is identified by its content, at any path")
    )]
    LibraryPattern {
        /// Where.
        #[label("a pattern")]
        span: Span,
    },
    /// Two programs that one file can be, each pinned to other contents.
    #[error("{file} is pinned twice, and no content satisfies both")]
    #[diagnostic(
        code(resolve::pins_disagree),
        help("list a digest in both places, or write the patterns so that no file matches both")
    )]
    PinsDisagree {
        /// Which file, in words.
        file: String,
        /// One program,
        #[label("pinned here")]
        first: Span,
        /// and the other.
        #[label("and to other digests here")]
        second: Span,
    },
    /// More programs that a rule restricts than a label holds.
    #[error("one file can match {count} programs that rules restrict, and the limit is {limit}")]
    #[diagnostic(
        code(resolve::restrictions_of_one_file),
        help("restrict it by fewer patterns: one wider pattern can have the rules of several")
    )]
    RestrictionsOfOneFile {
        /// How many.
        count: usize,
        /// How many there may be.
        limit: usize,
        /// The first,
        #[label("one of them")]
        first: Span,
        /// and the last.
        #[label("and another")]
        last: Span,
    },
    /// Patterns that would need tables larger than the kernel's.
    #[error("the patterns of this policy overlap in too many ways: {reason}")]
    #[diagnostic(
        code(resolve::pattern_capacity),
        help("write fewer patterns with several `*` in one name, or spell out the folders before them")
    )]
    PatternCapacity {
        /// Which limit.
        reason: String,
        /// The first of them.
        #[label("one of the patterns")]
        span: Span,
    },
    /// A pattern that only tests name.
    #[error("the test names the pattern `{path}`, which no rule has")]
    #[diagnostic(code(resolve::pattern_in_test), help("write the path of one file, or a pattern exactly as in a rule"))]
    PatternInTest {
        /// What was written.
        path: String,
        /// Where.
        #[label("not in any rule")]
        span: Span,
    },
    /// A path that no file system holds.
    #[error("this path is too long: {what} has at most {limit} {unit}, and this one has {length}")]
    #[diagnostic(
        code(resolve::path_length),
        help(
            "shorten it: Linux cannot open a file whose name is longer than 255 bytes, or whose path is longer than 4095, and a path that is compared has at most 120 names"
        )
    )]
    LongPath {
        /// The part, or the whole.
        what: &'static str,
        /// What is counted.
        unit: &'static str,
        /// How long it is.
        length: usize,
        /// How long it may be.
        limit: usize,
        /// Where.
        #[label("{length} {unit}, at most {limit}")]
        span: Span,
    },
    /// Ports given twice.
    #[error("{what} already has ports or a protocol")]
    #[diagnostic(code(resolve::ports_twice))]
    PortsTwice {
        /// The host, the ports, or the element of a set, in words.
        what: String,
        /// What to do.
        #[help]
        help: String,
        /// What it stands for.
        #[label("given here")]
        declared: Span,
        /// The second time.
        #[label("and given again")]
        span: Span,
    },
    /// A DNS name that cannot be one.
    #[error("{reason}")]
    #[diagnostic(code(resolve::dns_name))]
    Name {
        /// Why not.
        reason: NameError,
        /// What to write.
        #[help]
        help: String,
        /// Where.
        #[label("not a DNS name")]
        span: Span,
    },
    /// A DNS name that the lock does not know.
    #[error("`{name}` is not in the lock file")]
    #[diagnostic(code(resolve::not_locked), help("run `bfpc lock FILE`, and review what it writes"))]
    NotLocked {
        /// Which.
        name: DnsName,
        /// Where.
        #[label("has no address yet")]
        span: Span,
    },
    /// `test "a\nb" { … }`
    #[error("{what} contains a control character")]
    #[diagnostic(
        code(resolve::control_character),
        help("write it on one line, without `\\n` and `\\t`: reports print it unchanged")
    )]
    ControlCharacter {
        /// The name of a test, a reason, an owner or a ticket.
        what: &'static str,
        /// Where.
        #[label("more than a line")]
        span: Span,
    },
    /// `host corp = 10.0.0.0/8 may change`
    #[error("nothing of `{name}` may change: its declaration writes no DNS name")]
    #[diagnostic(
        code(resolve::nothing_changes),
        help("remove `may change`, or write it where the DNS name is declared")
    )]
    NothingChanges {
        /// The declared host.
        name: String,
        /// Where.
        #[label("is about addresses that DNS answers")]
        span: Span,
    },
    /// `host corp = 10.0.0.0/8 within ranges("corp.txt")`
    #[error("nothing of `{name}` is within a list: its declaration writes no DNS name")]
    #[diagnostic(
        code(resolve::nothing_within),
        help("remove `within …`, write the `ranges(…)` as the destination, or declare the DNS name here")
    )]
    NothingWithin {
        /// The declared host.
        name: String,
        /// Where.
        #[label("bounds what DNS answers")]
        span: Span,
    },
    /// A name that leads out of its list.
    #[error("`{name}` resolves to {address}, which is not in the list that it is declared to be within")]
    #[diagnostic(
        code(resolve::outside_range),
        help("get the provider's list as it is now, and review it; if the list is right, find out who answers this")
    )]
    OutsideRange {
        /// The name.
        name: DnsName,
        /// The first address that is outside.
        address: std::net::IpAddr,
        /// The name's place.
        #[label("resolves to an address outside")]
        span: Span,
        /// The list's place.
        #[label("outside of this list")]
        list: Span,
    },
    /// A name that one place lets change, and another does not.
    #[error("`{name}` may change in one place, and not in another")]
    #[diagnostic(
        code(resolve::frozen_elsewhere),
        help("write the declared host in place of the name, or end that declaration with `may change` too")
    )]
    FrozenElsewhere {
        /// The name.
        name: DnsName,
        /// Where it may change.
        #[label("may change")]
        declared: Span,
        /// Where it may not.
        #[label("may not change here")]
        span: Span,
    },
    /// A list that the lock does not know.
    #[error("the list `{name}` is not in the lock file")]
    #[diagnostic(code(resolve::list_not_locked), help("run `bfpc lock FILE`, and review what it writes"))]
    ListNotLocked {
        /// The file.
        name: String,
        /// Where.
        #[label("not locked yet")]
        span: Span,
    },
    /// A list that is not what was locked.
    #[error("the list `{name}` has changed since it was locked")]
    #[diagnostic(code(resolve::list_changed))]
    ListChanged {
        /// The file.
        name: String,
        /// What to do.
        #[help]
        help: &'static str,
        /// Where.
        #[label("differs from the lock file")]
        span: Span,
    },
    /// What is wrong with where a list is published.
    #[error(transparent)]
    #[diagnostic(transparent)]
    ListSource(ListSourceError),
    /// One file, two identities.
    #[error("`{path}` is named twice, with different pins, libraries or `with children`")]
    #[diagnostic(
        code(resolve::two_identities),
        help("declare the program once, with its `verity` and `with children`, and use that name everywhere")
    )]
    TwoIdentities {
        /// The path.
        path: String,
        /// Where it was named first.
        #[label("named here")]
        first: Span,
        /// Where it is named otherwise.
        #[label("and differently here")]
        second: Span,
    },
    /// A library that anybody could replace.
    #[error("the library `{path}` is not pinned")]
    #[diagnostic(
        code(resolve::unpinned_library),
        help("pin it: `\"{path}\" verity file(\"…\")`, or `verity sha256:…` as `fsverity digest` prints it")
    )]
    UnpinnedLibrary {
        /// The path.
        path: String,
        /// Where.
        #[label("no `verity` behind this")]
        span: Span,
    },
    /// A list of libraries that an unpinned program would not keep to.
    #[error("`{path}` lists its libraries but is not pinned itself")]
    #[diagnostic(
        code(resolve::libraries_of_unpinned),
        help("write its `verity` between the path and `libraries`: an unpinned program can map any file")
    )]
    LibrariesOfUnpinned {
        /// The path.
        path: String,
        /// Where it stands.
        #[label("no `verity` behind this")]
        span: Span,
        /// The list.
        #[label("these are pinned")]
        libraries: Span,
    },
    /// `program b = a with children`
    #[error("`with children` cannot be added to `{name}` under another name")]
    #[diagnostic(
        code(resolve::heirs_of_name),
        help("write `with children` after the path of `{name}`, in its declaration")
    )]
    ChildrenOfName {
        /// The program that is named.
        name: String,
        /// Where.
        #[label("the name of a program")]
        span: Span,
        /// The words.
        #[label("cannot be added")]
        with_children: Span,
    },
    /// `audit allow`
    #[error("a grant cannot be audited")]
    #[diagnostic(
        code(resolve::audit_allow),
        help("remove the rule: `audit` reports what a restriction would deny, and a grant denies nothing")
    )]
    AuditAllow {
        /// The word.
        #[label("reports nothing")]
        span: Span,
    },
    /// `also Q -> D`, where no `shared only` covers D.
    #[error("`also` adds programs to a shared destination, and not all of this is shared")]
    #[diagnostic(code(resolve::also_not_shared))]
    AlsoNotShared {
        /// What to write, and who.
        #[help]
        help: String,
        /// The right side.
        #[label("not shared by its owner")]
        span: Span,
        /// The rule that reserves it, or a part of it.
        #[label("reserved here")]
        owner: Option<Span>,
    },
    /// `audit shared only`
    #[error("a shared rule cannot be audited")]
    #[diagnostic(
        code(resolve::audit_shared),
        help("enforce it, or try it with all programs in one rule: `audit only {{ P, Q }} -> D`")
    )]
    AuditShared {
        /// The word.
        #[label("would deny nothing")]
        span: Span,
    },
    /// `also * -> D`
    #[error("`also *` opens a reserved destination to every program")]
    #[diagnostic(
        code(resolve::also_everyone),
        help("name the programs; if every program is meant, remove the `shared only` rule")
    )]
    AlsoEveryone {
        /// The left side.
        #[label("everyone")]
        span: Span,
    },
    /// `raw:443`, `raw/icmp`
    #[error("`raw` cannot have ports or a protocol")]
    #[diagnostic(code(resolve::raw_ports))]
    RawPorts {
        /// What to write.
        #[help]
        help: String,
        /// The ports.
        #[label("cannot be checked")]
        span: Span,
    },
    /// `test "…" { }`
    #[error("the test has no expectation")]
    #[diagnostic(code(resolve::empty_test), help("write a line such as `signer -> kms allowed`, or remove the test"))]
    EmptyTest {
        /// Its name.
        #[label("no line")]
        span: Span,
    },
    /// `accept …` at the end of the policy.
    #[error("no statement follows this `accept`")]
    #[diagnostic(code(resolve::nothing_accepted), help("write `accept …` on the line before the rule or declaration"))]
    NothingAccepted {
        /// The statement.
        #[label("applies to nothing")]
        span: Span,
    },
    /// Nothing to enforce.
    #[error("the policy has no rule")]
    #[diagnostic(
        code(resolve::empty_policy),
        help("write one, such as `only \"/usr/bin/signer\" -> kms.internal:443`")
    )]
    Empty,
}
