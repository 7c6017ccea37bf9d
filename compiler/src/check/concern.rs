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
    #[error("{programs}, so every script run by {pronoun} would hold this exclusive grant")]
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
    #[error("{programs}, so every script run by {pronoun} would hold this grant")]
    #[diagnostic(
        code(check::interpreter),
        severity(Warning),
        help("name the program that needs the destination, instead of its interpreter")
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
    /// `only "/usr/bin/python3" in unit "cron.service" -> D`
    #[error("`{unit}` {why}, so each of these would hold this grant")]
    #[diagnostic(
        code(check::shared_unit),
        severity(Warning),
        help("give the job a unit of its own, and name that instead")
    )]
    SharedUnit {
        /// The unit.
        unit: String,
        /// What it does, in words.
        why: &'static str,
        /// The left side of the rule.
        #[label("granted here")]
        rule: Span,
        /// Where the program stands, if elsewhere.
        #[label("in this unit")]
        program_span: Option<Span>,
    },
    /// `allow "/usr/bin/socat" -> D`
    #[error("{programs}, so every process that can start {pronoun} would hold this grant")]
    #[diagnostic(
        code(check::relay),
        severity(Warning),
        help(
            "name the program that needs the destination; or let only that program start this tool, and add an `accept`"
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
        #[label(collection, "a general-purpose tool")]
        program_spans: Vec<Span>,
    },
    /// `only "/lib64/ld-linux-x86-64.so.2" -> D`
    #[error("{programs} the dynamic loader: a grant to it is a grant to every executable that it can run")]
    #[diagnostic(
        code(check::loader),
        help("name the executable itself: a program that is started by its path is identified by that path")
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
    #[error("{programs}, but a process is identified by its interpreter")]
    #[diagnostic(
        code(check::script),
        severity(Warning),
        help(
            "give it a compiled launcher, and name that; or name the interpreter, which covers every script that it runs"
        )
    )]
    Script {
        /// The paths, with the verb.
        programs: String,
        /// The left side of the rule.
        #[label("matches no process")]
        rule: Span,
        /// Where the paths stand, if elsewhere.
        #[label(collection, "a script")]
        program_spans: Vec<Span>,
    },
    /// `only "/usr/bin/postgres" -> 127.0.0.1:5432`
    #[error("`only` on loopback denies this service to every other program on this host")]
    #[diagnostic(
        code(check::exclusive_loopback),
        severity(Warning),
        help("name the clients on the left: the listener needs no grant; to confine P itself, write `P -> only D`")
    )]
    ExclusiveLoopback {
        /// How much of the right side is loopback.
        extent: &'static str,
        /// The right side of the rule.
        #[label("{extent} is loopback")]
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
        #[label("whoever can write it holds the grant")]
        rule: Span,
        /// Where the path stands, if elsewhere.
        #[label("no `verity` here")]
        program_span: Option<Span>,
    },
    /// `allow "/home/*/bin/app" -> D`
    #[error("{programs} files that users other than root can create, below {folders}")]
    #[diagnostic(
        code(check::writable_grant),
        help("name a folder that only root can write to, or pin the content with `verity`")
    )]
    WritableGrant {
        /// The patterns, with the verb.
        programs: String,
        /// The folders.
        folders: String,
        /// The left side of the rule.
        #[label("whoever creates one holds the grant")]
        rule: Span,
        /// Where the paths stand, if elsewhere.
        #[label(collection, "no `verity` here")]
        program_spans: Vec<Span>,
    },
    /// One address, two names, and different rights.
    #[error("`{closed}` and `{open}` share the address {address}")]
    #[diagnostic(
        code(check::shared_address),
        help("give `{closed}` an address of its own: a denial for one name also denies the other")
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
    #[error("this grant never applies: {why}")]
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
        #[label("grants what is already allowed")]
        rule: Span,
    },
    /// A grant of a large part of the internet.
    #[error("this grants {what}")]
    #[diagnostic(
        code(check::wide_grant),
        severity(Warning),
        help(
            "name the hosts that the program needs: a stolen secret can be sent to every address of this destination"
        )
    )]
    WideGrant {
        /// How much.
        what: String,
        /// The right side of the rule.
        #[label("{what}")]
        span: Span,
    },
    /// A grant of a name under which anybody can have a name.
    #[error("`{name}` is a public suffix: anyone can register a name below it")]
    #[diagnostic(code(check::public_suffix), severity(Warning), help("name the host itself, such as `api.{name}`"))]
    PublicSuffix {
        /// The name.
        name: String,
        /// The right side of the rule.
        #[label("granted here")]
        span: Span,
    },
    /// A name that the lock leads to an address which is special.
    #[error("the lock file resolves `{name}` to {address}, {kind}")]
    #[diagnostic(
        code(check::special_address),
        severity(Warning),
        help(
            "check the answer with another resolver: `bfpc lock FILE --update {name} --resolver IP`; if it is intended, \
             add an `accept`"
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
        #[label("a special-purpose address")]
        span: Span,
    },
    /// Exclusive destinations, and raw sockets for everyone.
    #[error("an exclusive destination can be reached by raw sockets, whose destination is not checked")]
    #[diagnostic(
        code(check::raw_open),
        severity(Warning),
        help("add `deny * -> raw`, or `only P -> raw` where P needs them (ping does not)")
    )]
    RawOpen {
        /// The first exclusive rule.
        #[label("exclusive, except for raw sockets")]
        rule: Span,
    },
    /// `default deny` without loopback.
    #[error("`default deny` denies the loopback addresses to unlisted programs")]
    #[diagnostic(
        code(check::no_loopback),
        severity(Warning),
        help(
            "add `allow * -> loopback`, or grant it to the programs that need it: local databases, resolvers and test suites use it"
        )
    )]
    NoLoopback {
        /// The default.
        #[label("denies `127.0.0.1` and `::1` too")]
        span: Span,
    },
    /// `default deny` without a resolver.
    #[error("under `default deny`, no program can reach a resolver")]
    #[diagnostic(
        code(check::no_resolver),
        severity(Warning),
        help("add `allow * -> 127.0.0.53:53` (or your resolver), or add the output of `bfpc hosts` to /etc/hosts")
    )]
    NoResolver {
        /// The default.
        #[label("no rule grants port 53")]
        span: Span,
    },
    /// A confined program that cannot look up the names that it may reach.
    #[error("{programs} may reach `{name}`, but cannot look it up")]
    #[diagnostic(
        code(check::cannot_resolve),
        severity(Warning),
        help("add the resolver to the rule, such as `127.0.0.53:53`, or add the output of `bfpc hosts` to /etc/hosts")
    )]
    CannotResolve {
        /// Which.
        programs: String,
        /// A name of the rule.
        name: String,
        /// The right side of the rule.
        #[label("no resolver here")]
        span: Span,
    },
    /// A confined server that cannot answer.
    #[error("{programs} cannot answer clients")]
    #[diagnostic(
        code(check::silent_server),
        severity(Warning),
        help(
            "add `clients` to the destinations (`clients:443` for those of its port 443 alone); if it does not listen, \
             add an `accept`"
        )
    )]
    SilentServer {
        /// Which.
        programs: String,
        /// The right side of the rule.
        #[label("without `clients`")]
        span: Span,
    },
    /// A test about `/usr/bin/singer`, where the rules are about `/usr/bin/signer`.
    #[error("the test names `{written}`, but a rule names `{near}`")]
    #[diagnostic(code(check::mistyped_program), severity(Warning), help("did you mean `{near}`?"))]
    MistypedProgram {
        /// As the test has it.
        written: String,
        /// As a rule has it.
        near: String,
        /// Where.
        #[label("not in any rule")]
        span: Span,
    },
    /// A name whose addresses rotate, where that refuses too much.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Rotating(RotatingGrant),
    /// `accept check::pathgrant because "…"`
    #[error("no diagnostic has the code `{code}`")]
    #[diagnostic(code(check::unknown_code), severity(Warning))]
    UnknownCode {
        /// The code.
        code: String,
        /// Where.
        #[label("suppresses nothing")]
        span: Span,
        /// What may have been meant.
        #[help]
        help: String,
    },
    /// `accept check::exclusive_conflict because "…"`
    #[error("`{code}` is an error, which cannot be accepted")]
    #[diagnostic(
        code(check::not_acceptable),
        help("remove this `accept`, and fix the error: `bfpc explain-code {code}` explains it")
    )]
    NotAcceptable {
        /// The code.
        code: String,
        /// Where.
        #[label("suppresses nothing")]
        span: Span,
    },
    /// `accept check::writable_grant everywhere because "…"`
    #[error("`{code}` is an error here, which cannot be accepted everywhere")]
    #[diagnostic(
        code(check::not_acceptable),
        help("remove `everywhere`, and write this `accept` on the line before each statement that it is about")
    )]
    NotEverywhere {
        /// The code.
        code: String,
        /// Where.
        #[label("suppresses nothing")]
        span: Span,
    },
    /// An `accept` for nothing.
    #[error("`{code}` is accepted, but {by}")]
    #[diagnostic(
        code(check::nothing_to_accept),
        severity(Warning),
        help("remove it: it would hide a finding that comes later")
    )]
    NothingToAccept {
        /// The code.
        code: String,
        /// What does not cause it, as a clause.
        by: &'static str,
        /// Where.
        #[label("suppresses nothing")]
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
