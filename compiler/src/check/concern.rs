//! What may well be a mistake, and can be meant: policy → concerns, each with a code under which
//! `accept CODE because "…"` takes it back.
//!
//! A concern is an error where access could be wider than it reads, or where a rule cannot work; else it
//! is a warning. An `accept` that takes nothing back is a concern of its own: it would hide the next one.

use bfp_grammar::syntax::Span;
use miette::{Diagnostic, Severity};

use super::rotating::RotatingGrant;

/// Something that the author of a policy should look at once more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Diagnostic)]
pub enum Concern {
    /// `only "/usr/bin/python3" -> D`
    #[error("{programs}, and every script of {pronoun} would hold this exclusive grant")]
    #[diagnostic(
        code(check::interpreter),
        help("give the script a program of its own (a compiled launcher), and name that instead")
    )]
    ExclusiveInterpreter {
        /// Which, and what they do.
        programs: String,
        /// It or them.
        pronoun: &'static str,
        /// The left side of the rule.
        #[label("granted here")]
        rule: Span,
        /// Where the paths stand, if elsewhere.
        #[label(collection, "an interpreter")]
        program_spans: Vec<Span>,
    },
    /// `allow "/bin/bash" -> D`
    #[error("{programs}, and every script of {pronoun} would hold this grant")]
    #[diagnostic(
        code(check::interpreter),
        severity(Warning),
        help("name the program that needs the destination, instead of what it is run by")
    )]
    Interpreter {
        /// Which, and what they do.
        programs: String,
        /// It or them.
        pronoun: &'static str,
        /// The left side of the rule.
        #[label("granted here")]
        rule: Span,
        /// Where the paths stand, if elsewhere.
        #[label(collection, "an interpreter")]
        program_spans: Vec<Span>,
    },
    /// `allow "/usr/bin/socat" -> D`
    #[error("{programs}, and everybody who can start {pronoun} would hold this grant")]
    #[diagnostic(
        code(check::relay),
        severity(Warning),
        help(
            "name the program that needs the destination, or let only that one start this tool, and say so with `accept`"
        )
    )]
    Relay {
        /// Which, and what they do.
        programs: String,
        /// It or them.
        pronoun: &'static str,
        /// The left side of the rule.
        #[label("granted here")]
        rule: Span,
        /// Where the paths stand, if elsewhere.
        #[label(collection, "a tool for everybody")]
        program_spans: Vec<Span>,
    },
    /// `only "/lib64/ld-linux-x86-64.so.2" -> D`
    #[error("{programs} the dynamic loader: a grant to it is a grant to every executable that it can run")]
    #[diagnostic(
        code(check::loader),
        help("name the executable itself: a program that is started by its path is that program")
    )]
    Loader {
        /// The paths, with the verb.
        programs: String,
        /// The left side of the rule.
        #[label("granted here")]
        rule: Span,
        /// Where the paths stand, if elsewhere.
        #[label(collection, "the loader")]
        program_spans: Vec<Span>,
    },
    /// `deny "/usr/local/bin/deploy.sh" -> D`
    #[error("{programs}, and a process is known by its interpreter")]
    #[diagnostic(
        code(check::script),
        severity(Warning),
        help(
            "give it a launcher that is compiled, and name that, or name the interpreter: every script of it is meant then"
        )
    )]
    Script {
        /// The paths, with the verb.
        programs: String,
        /// The left side of the rule.
        #[label("a rule for no process")]
        rule: Span,
        /// Where the paths stand, if elsewhere.
        #[label(collection, "a script")]
        program_spans: Vec<Span>,
    },
    /// `only "/usr/bin/postgres" -> 127.0.0.1:5432`
    #[error("nobody else on this host reaches this service: `only` on loopback shuts its clients out")]
    #[diagnostic(
        code(check::exclusive_loopback),
        severity(Warning),
        help("name the clients on the left, for who listens needs no grant; `P -> only D` keeps P itself in")
    )]
    ExclusiveLoopback {
        /// The right side of the rule.
        #[label("all of it is this machine")]
        span: Span,
    },
    /// An exclusive grant by path alone.
    #[error("{programs} an exclusive grant by {pronoun} path alone")]
    #[diagnostic(
        code(check::path_grant),
        severity(Warning),
        help("pin the build: `{path} verity file(\"…\")`, or `verity sha256:…` as `fsverity digest` prints it")
    )]
    PathGrant {
        /// Which, with the verb.
        programs: String,
        /// Its or their.
        pronoun: &'static str,
        /// The path of the first, as it is written.
        path: String,
        /// The left side of the rule.
        #[label("whoever can write the file has the grant")]
        rule: Span,
        /// Where the path stands, if elsewhere.
        #[label("no `verity` here")]
        program_span: Option<Span>,
    },
    /// `allow "/home/*/bin/app" -> D`
    #[error("{programs} files that other users than root can make, below {folders}")]
    #[diagnostic(
        code(check::writable_grant),
        help("name a folder that only root can write, or pin the content with `verity`")
    )]
    WritableGrant {
        /// The patterns, with the verb.
        programs: String,
        /// The folders.
        folders: String,
        /// The left side of the rule.
        #[label("whoever can make such a file has the grant")]
        rule: Span,
        /// Where the paths stand, if elsewhere.
        #[label(collection, "no `verity` here")]
        program_spans: Vec<Span>,
    },
    /// One address, two names, and different rights.
    #[error("`{closed}` and `{open}` share the address {address}")]
    #[diagnostic(
        code(check::shared_address),
        help("give `{closed}` an address of its own: what is refused for one name is refused for the other")
    )]
    SharedAddress {
        /// The name that a restriction is about.
        closed: String,
        /// The name that is granted.
        open: String,
        /// What they share.
        address: String,
        /// Where the first is written.
        #[label("{rights}")]
        closing: Span,
        /// Where the second is written.
        #[label("{granted}")]
        opening: Span,
        /// The restriction, in words.
        rights: String,
        /// The grant, in words.
        granted: String,
    },
    /// A rule that another one says already.
    #[error("{what} changes nothing: another rule {why}")]
    #[diagnostic(code(check::redundant), severity(Warning))]
    Redundant {
        /// The rule, or one of its two effects.
        what: &'static str,
        /// What to do, and what comes of it.
        #[help]
        help: &'static str,
        /// What the other one does.
        why: &'static str,
        /// The rule.
        #[label("changes nothing")]
        rule: Span,
        /// The other one.
        #[label("because of this")]
        other: Span,
    },
    /// A grant that another rule refuses as a whole.
    #[error("this grant never holds: {why}")]
    #[diagnostic(code(check::shadowed))]
    Shadowed {
        /// Why not.
        why: &'static str,
        /// What to do about it.
        #[help]
        help: &'static str,
        /// The grant.
        #[label("grants nothing")]
        rule: Span,
        /// What refuses.
        #[label("because of this")]
        other: Span,
    },
    /// `allow` under `default allow`.
    #[error("`allow` changes nothing under `default allow`")]
    #[diagnostic(
        code(check::no_effect),
        severity(Warning),
        help(
            "write `P -> only D` to keep the program in, `only P -> D` to keep others out, or `default deny`; or remove \
             it"
        )
    )]
    NoEffect {
        /// The rule.
        #[label("grants what nothing refuses")]
        rule: Span,
    },
    /// A grant of a large part of the internet.
    #[error("this grants {what}")]
    #[diagnostic(
        code(check::wide_grant),
        severity(Warning),
        help("name what the program needs: a stolen secret can be sent to every address of this destination")
    )]
    WideGrant {
        /// How much.
        what: String,
        /// The right side of the rule.
        #[label("{what}")]
        span: Span,
    },
    /// A grant of a name under which anybody can have a name.
    #[error("`{name}` is a public suffix: anybody can register a name below it")]
    #[diagnostic(code(check::public_suffix), severity(Warning), help("name the host itself, such as `api.{name}`"))]
    PublicSuffix {
        /// The name.
        name: String,
        /// The right side of the rule.
        #[label("granted here")]
        span: Span,
    },
    /// A name that the lock leads to an address which is special.
    #[error("the lock leads `{name}` to {address}, {kind}")]
    #[diagnostic(
        code(check::special_address),
        severity(Warning),
        help(
            "find out who answers so: ask another resolver by `bfpc lock FILE --update {name} --resolver IP`. Where it is \
             meant, say so with `accept`"
        )
    )]
    SpecialAddress {
        /// The name.
        name: String,
        /// The address.
        address: String,
        /// What it is.
        kind: &'static str,
        /// Where the name is written.
        #[label("no host of a network")]
        span: Span,
    },
    /// Exclusive destinations, and raw sockets for everyone.
    #[error("an exclusive destination can be reached by raw sockets, which carry no destination that is checked")]
    #[diagnostic(
        code(check::raw_open),
        severity(Warning),
        help("add `deny * -> raw`, or `only P -> raw` where P needs them (ping does not)")
    )]
    RawOpen {
        /// The first exclusive rule.
        #[label("exclusive, but for raw sockets")]
        rule: Span,
    },
    /// `default deny` without loopback.
    #[error("`default deny` leaves no program that is not named the loopback addresses")]
    #[diagnostic(
        code(check::no_loopback),
        severity(Warning),
        help("add `allow * -> loopback`, or name who needs it: local databases, resolvers and test suites use it")
    )]
    NoLoopback {
        /// The default.
        #[label("denies `127.0.0.1` and `::1` too")]
        span: Span,
    },
    /// `default deny` without a resolver.
    #[error("`default deny` leaves no program a resolver")]
    #[diagnostic(
        code(check::no_resolver),
        severity(Warning),
        help("add `allow * -> 127.0.0.53:53` (or your resolver), or put what `bfpc hosts` prints into /etc/hosts")
    )]
    NoResolver {
        /// The default.
        #[label("nothing grants port 53")]
        span: Span,
    },
    /// A confined program that cannot look up the names that it may reach.
    #[error("{programs} may reach `{name}`, and cannot look it up")]
    #[diagnostic(
        code(check::cannot_resolve),
        severity(Warning),
        help("add the resolver to the rule, such as `127.0.0.53:53`, or put what `bfpc hosts` prints into /etc/hosts")
    )]
    CannotResolve {
        /// Which.
        programs: String,
        /// A name of the rule.
        name: String,
        /// The right side of the rule.
        #[label("no resolver in it")]
        span: Span,
    },
    /// A test about `/usr/bin/singer`, where the rules are about `/usr/bin/signer`.
    #[error(
        "no rule is about `{written}`, and one is about `{near}`: a test of a program that no rule names says little"
    )]
    #[diagnostic(code(check::mistyped_program), severity(Warning), help("did you mean `{near}`?"))]
    MistypedProgram {
        /// As the test has it.
        written: String,
        /// As a rule has it.
        near: String,
        /// Where.
        #[label("in no rule")]
        span: Span,
    },
    /// A name whose addresses rotate, where that refuses too much.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Rotating(RotatingGrant),
    /// `accept check::pathgrant because "…"`
    #[error("no finding has the code `{code}`")]
    #[diagnostic(code(check::unknown_code), severity(Warning))]
    UnknownCode {
        /// The code.
        code: String,
        /// Where.
        #[label("takes nothing back")]
        span: Span,
        /// What may have been meant.
        #[help]
        help: String,
    },
    /// `accept check::exclusive_conflict because "…"`
    #[error("`{code}` cannot be accepted: it is no concern, but an error")]
    #[diagnostic(
        code(check::not_acceptable),
        help("remove this `accept`, and mend what it is about: `bfpc explain-code {code}` says how")
    )]
    NotAcceptable {
        /// The code.
        code: String,
        /// Where.
        #[label("takes nothing back")]
        span: Span,
    },
    /// An `accept` for nothing.
    #[error("`{code}` is accepted, and nothing of the kind is found in the next statement")]
    #[diagnostic(
        code(check::nothing_to_accept),
        severity(Warning),
        help("remove it: it would hide a finding that comes later")
    )]
    NothingToAccept {
        /// The code.
        code: String,
        /// Where.
        #[label("takes nothing back")]
        span: Span,
    },
}

impl Concern {
    /// Whether the policy is refused for it.
    pub fn is_error(&self) -> bool {
        self.severity() != Some(Severity::Warning)
    }

    /// Where it begins: the first of its labels.
    pub(super) fn start(&self) -> usize {
        self.labels().and_then(|mut labels| labels.next()).map_or(0, |label| label.offset())
    }
}
