//! What can be wrong with the text of a policy, one variant a mistake.
//!
//! Titles stand alone on one line, labels mark the smallest guilty span, and every variant says
//! what to write instead. Codes are `syntax::reason` and never change their meaning.

use miette::Diagnostic;
use thiserror::Error;

use crate::syntax::Span;

/// A mistake in the text of a policy.
#[derive(Clone, Debug, Diagnostic, Error, PartialEq, Eq)]
pub enum SyntaxError {
    /// Something else stands where the language wants one of a few things.
    #[error("expected {expected}, found {found}")]
    #[diagnostic(code(syntax::unexpected))]
    Unexpected {
        /// What could stand here.
        expected: String,
        /// What stands here.
        found: String,
        /// Where.
        #[label("not expected here")]
        span: Span,
        /// What to do about it.
        #[help]
        help: String,
    },

    /// A line begins with a word that begins no statement.
    #[error("`{word}` does not begin a statement")]
    #[diagnostic(code(syntax::unknown_statement))]
    UnknownStatement {
        /// The word.
        word: String,
        /// Where.
        #[label("no statement begins like this")]
        span: Span,
        /// What was perhaps meant.
        #[help]
        help: String,
    },

    /// A rule, or another statement, between the brackets of a test.
    #[error("`{word}` begins a statement, and a test cannot contain one")]
    #[diagnostic(code(syntax::statement_in_test))]
    StatementInTest {
        /// The word that begins it.
        word: String,
        /// Where.
        #[label("not a line of a test")]
        span: Span,
        /// What a line of a test looks like.
        #[help]
        help: String,
    },

    /// A character that looks like an ASCII one, where only ASCII has a meaning.
    #[error("`{character}` ({named}) is not the ASCII `{ascii}` that it looks like")]
    #[diagnostic(code(syntax::look_alike))]
    LookAlike {
        /// The character.
        character: char,
        /// Its code point and its script.
        named: String,
        /// What it looks like.
        ascii: char,
        /// Where.
        #[label("not `{ascii}`")]
        span: Span,
        /// What was probably meant.
        #[help]
        help: String,
    },

    /// Letters of several scripts between two dots of a DNS name.
    #[error("`{label}` mixes {scripts} letters in one part of a DNS name")]
    #[diagnostic(
        code(syntax::mixed_scripts),
        help("check the spelling; if the name is correct, write its A-label, which begins with `xn--`")
    )]
    MixedScripts {
        /// The part of the name.
        label: String,
        /// Which scripts.
        scripts: String,
        /// The code point of the first letter that is not Latin, and its script.
        stranger: String,
        /// Where that stands.
        #[label("{stranger}")]
        span: Span,
    },

    /// `P -> D`, which could mean four things.
    #[error("the rule does not state its effect")]
    #[diagnostic(code(syntax::missing_effect))]
    MissingEffect {
        /// The arrow.
        #[label("neither `only`, `allow` nor `deny`")]
        span: Span,
        /// The ways to write it.
        #[help]
        help: String,
    },

    /// `deny P -> only D` or `allow P -> only D`.
    #[error("`{effect}` and `only` cannot be in one rule")]
    #[diagnostic(code(syntax::conflicting_effects), help("write two rules, or remove one of the two words"))]
    ConflictingEffects {
        /// The first word.
        effect: &'static str,
        /// Where the first word stands.
        #[label("one effect")]
        first: Span,
        /// Where `only` stands.
        #[label("and another")]
        span: Span,
    },

    /// `only * except P -> D`, `* except P -> only D`, or without an effect.
    #[error("only `deny` and `allow` can be about `* except` some programs")]
    #[diagnostic(code(syntax::except_of_effect))]
    ExceptOfEffect {
        /// The `* except`.
        #[label("leaves programs out")]
        span: Span,
        /// What to write instead.
        #[help]
        help: String,
    },

    /// `=>`, `→`, `-->`.
    #[error("`{written}` is not an arrow of this language")]
    #[diagnostic(code(syntax::wrong_arrow), help("write `->` between the program and the destination"))]
    WrongArrow {
        /// What was written.
        written: String,
        /// Where.
        #[label("not an arrow here")]
        span: Span,
    },

    /// A bracket that no closing one belongs to.
    #[error("`{bracket}` is never closed")]
    #[diagnostic(code(syntax::unclosed_bracket), help("close the bracket before the next statement begins"))]
    UnclosedBracket {
        /// The bracket.
        bracket: String,
        /// Where it stands.
        #[label("opened here")]
        opener: Span,
        /// The begin of the next statement.
        #[label("still open at this statement")]
        next: Option<Span>,
    },

    /// A closing bracket that closes nothing, or not the one that is open.
    #[error("`{bracket}` closes nothing")]
    #[diagnostic(code(syntax::stray_bracket), help("remove it, or add the opening bracket"))]
    StrayBracket {
        /// The bracket.
        bracket: char,
        /// Where.
        #[label("no matching opening bracket")]
        span: Span,
        /// The other bracket that is open here.
        #[label("this one is open")]
        opener: Option<Span>,
    },

    /// A quotation mark without its partner on the same line.
    #[error("the text in quotes does not end on its line")]
    #[diagnostic(
        code(syntax::unterminated_string),
        help("close it with `\"`; inside it, write `\\\"` for a quotation mark and `\\n` for a line end")
    )]
    UnterminatedString {
        /// From the quotation mark to the end of the line.
        #[label("begins here")]
        span: Span,
    },

    /// A backslash with something behind it that has no meaning.
    #[error("`{escape}` is not an escape")]
    #[diagnostic(
        code(syntax::unknown_escape),
        help("the escapes are `\\\"`, `\\\\`, `\\n` and `\\t`; for a backslash itself, write `\\\\`")
    )]
    UnknownEscape {
        /// The backslash and what follows it.
        escape: String,
        /// Where.
        #[label("unknown escape")]
        span: Span,
    },

    /// A character that a reader of the policy would not see.
    #[error("invisible character U+{code_point:04X}: the policy is not what it appears to be")]
    #[diagnostic(
        code(syntax::hidden_character),
        help("remove it; if the file is not text, check that it is the right file")
    )]
    HiddenCharacter {
        /// Which one.
        code_point: u32,
        /// Where.
        #[label("an invisible character")]
        span: Span,
    },

    /// Brackets or `except` inside one another, too often.
    #[error("the nesting is deeper than 64 levels")]
    #[diagnostic(code(syntax::too_deep), help("declare the inner part under a name of its own and use that name here"))]
    TooDeep {
        /// The first bracket that is too many.
        #[label("one level too many")]
        span: Span,
    },

    /// A word of the language where a name should be.
    #[error("`{word}` is a reserved word and cannot be a name")]
    #[diagnostic(code(syntax::reserved_word))]
    ReservedWord {
        /// The word.
        word: String,
        /// Where.
        #[label("a name belongs here")]
        span: Span,
        /// What to write.
        #[help]
        help: String,
    },

    /// A word that is no name.
    #[error("`{word}` is not a name")]
    #[diagnostic(
        code(syntax::bad_name),
        help(
            "write ASCII letters, digits, `_` and `-`, with a letter or `_` first; put a DNS name without a dot in quotes"
        )
    )]
    BadName {
        /// The word.
        word: String,
        /// Where.
        #[label("not a name")]
        span: Span,
    },

    /// `/usr/bin/signer` without quotes.
    #[error("the path `{path}` has no quotes")]
    #[diagnostic(code(syntax::unquoted_path), help("write `\"{path}\"`"))]
    UnquotedPath {
        /// The path.
        path: String,
        /// Where.
        #[label("paths need quotes")]
        span: Span,
    },

    /// An address or a DNS name on the left of the arrow.
    #[error("`{word}` is a destination, not a program")]
    #[diagnostic(
        code(syntax::destination_as_program),
        help("left of `->`, write a path in quotes, a declared program, a `{{ set }}` of them, or `*`")
    )]
    DestinationAsProgram {
        /// What was written.
        word: String,
        /// Where.
        #[label("a program belongs here")]
        span: Span,
    },

    /// A path on the right of the arrow.
    #[error("`{path}` is a path, not a destination")]
    #[diagnostic(
        code(syntax::path_as_destination),
        help("right of `->`, write an address, a DNS name, a declared host, a `{{ set }}` of them, or `*`")
    )]
    PathAsDestination {
        /// The path.
        path: String,
        /// Where.
        #[label("a destination belongs here")]
        span: Span,
    },

    /// `{}`
    #[error("the set is empty")]
    #[diagnostic(code(syntax::empty_set), help("name at least one element, or remove the statement"))]
    EmptySet {
        /// The brackets.
        #[label("nothing in here")]
        span: Span,
    },

    /// `*:443`, `*/icmp`
    #[error("`*` cannot have ports or a protocol")]
    #[diagnostic(code(syntax::ports_on_any), help("for every address, write `{{ 0.0.0.0/0{ports}, [::/0]{ports} }}`"))]
    PortsOnAny {
        /// The ports, with their colon, or the protocol.
        ports: String,
        /// Where.
        #[label("`*` already covers everything")]
        span: Span,
    },

    /// `*.example.com`
    #[error("the addresses of the wildcard name `{name}` cannot be known")]
    #[diagnostic(
        code(syntax::wildcard_name),
        help(
            "list the names that you need, or write their address range, such as `203.0.113.0/24`: DNS cannot list every name that matches"
        )
    )]
    WildcardName {
        /// The name.
        name: String,
        /// Where.
        #[label("cannot be resolved")]
        span: Span,
    },

    /// A DNS name with an empty label, or with characters that no DNS name has.
    #[error("`{name}` is not a DNS name")]
    #[diagnostic(code(syntax::bad_dns_name))]
    BadDnsName {
        /// The name.
        name: String,
        /// Where.
        #[label("not a DNS name")]
        span: Span,
        /// What to do about it.
        #[help]
        help: String,
    },

    /// Digits and dots, or hexadecimal and colons, that are no address.
    #[error("`{address}` is not an address")]
    #[diagnostic(code(syntax::bad_address))]
    BadAddress {
        /// What was written.
        address: String,
        /// Where.
        #[label("not an address")]
        span: Span,
        /// What to do about it.
        #[help]
        help: String,
    },

    /// `10.0.0.256`
    #[error("`{octet}` is too large for a part of an IPv4 address")]
    #[diagnostic(code(syntax::octet_too_large), help("each of the four parts is a number from 0 to 255"))]
    OctetTooLarge {
        /// The number.
        octet: String,
        /// Where.
        #[label("at most 255")]
        span: Span,
    },

    /// `10.0.0.0/33`, `[fd00::/129]`
    #[error("the prefix length {length} is longer than an {family} address")]
    #[diagnostic(
        code(syntax::prefix_too_long),
        help("write a length from 0 to {limit}; without one, it is a single address")
    )]
    PrefixTooLong {
        /// What was written.
        length: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// The longest.
        limit: u8,
        /// Where.
        #[label("at most {limit}")]
        span: Span,
    },

    /// `kms.internal/24`
    #[error("`{name}` is a name, and a name cannot have a prefix length")]
    #[diagnostic(
        code(syntax::prefix_on_name),
        help("write `{name}` alone, or an address range such as `203.0.113.0/24`")
    )]
    PrefixOnName {
        /// The name.
        name: String,
        /// The length, with its slash.
        #[label("remove this")]
        span: Span,
    },

    /// `fd00::/8`
    #[error("the IPv6 address `{address}` has no brackets")]
    #[diagnostic(code(syntax::unbracketed_v6))]
    UnbracketedV6 {
        /// The address.
        address: String,
        /// What to write.
        #[help]
        help: String,
        /// Where.
        #[label("brackets missing")]
        span: Span,
    },

    /// `:65536`
    #[error("the port {port} is out of range")]
    #[diagnostic(code(syntax::port_too_large), help("ports go from 0 to 65535"))]
    PortTooLarge {
        /// What was written.
        port: String,
        /// Where.
        #[label("at most 65535")]
        span: Span,
    },

    /// `accept check::path_grant because ""`, `owner ""`
    #[error("the {what} is empty")]
    #[diagnostic(code(syntax::no_reason))]
    NoReason {
        /// The reason, the owner or the ticket.
        what: &'static str,
        /// What to write.
        #[help]
        help: &'static str,
        /// The quotes.
        #[label("no {what}")]
        span: Span,
    },

    /// `until 31.1.2027`
    #[error("`{written}` is not a day")]
    #[diagnostic(
        code(syntax::bad_date),
        help("write the year, the month and the day of the month, such as `2027-01-31`")
    )]
    BadDate {
        /// What was written.
        written: String,
        /// Where.
        #[label("not a day of the calendar")]
        span: Span,
    },

    /// `:8010-8000`
    #[error("the port range {first}-{last} ends before it begins")]
    #[diagnostic(code(syntax::reversed_ports), help("write the lower port first: `{last}-{first}`"))]
    ReversedPorts {
        /// What stands first.
        first: u16,
        /// What stands last.
        last: u16,
        /// Where.
        #[label("the wrong way round")]
        span: Span,
    },

    /// `kms.internal:443/sctp`
    #[error("`{protocol}` is not a protocol that a policy can name")]
    #[diagnostic(
        code(syntax::unknown_protocol),
        help(
            "write `/tcp` or `/udp` after a port, `/icmp` after a host, or nothing for every protocol; for raw and packet sockets, write the built-in host `raw`"
        )
    )]
    UnknownProtocol {
        /// The protocol.
        protocol: String,
        /// Where.
        #[label("neither `tcp`, `udp` nor `icmp`")]
        span: Span,
    },

    /// `kms.internal/tcp`
    #[error("the protocol `{protocol}` has no port")]
    #[diagnostic(
        code(syntax::protocol_without_port),
        help("write the port before it, or `:*/{protocol}` for every port")
    )]
    ProtocolWithoutPort {
        /// The protocol.
        protocol: String,
        /// Where.
        #[label("no port before this")]
        span: Span,
    },

    /// `kms.internal:{443/tcp, 53}/udp`
    #[error("the set of ports has a protocol inside and another after it")]
    #[diagnostic(
        code(syntax::protocol_twice),
        help("write the protocol after each port of the set, or one after the set for all of them")
    )]
    ProtocolTwice {
        /// The first within the set.
        #[label("one here")]
        inside: Span,
        /// The one behind it.
        #[label("and one here")]
        behind: Span,
    },

    /// `kms.internal:443/icmp`
    #[error("ICMP has no ports")]
    #[diagnostic(code(syntax::ports_on_icmp))]
    PortsOnIcmp {
        /// The ports, with their colon.
        #[label("no ports here")]
        span: Span,
        /// What to do about it.
        #[help]
        help: String,
    },

    /// A `sha256:` that is not 64 hexadecimal digits, or another algorithm.
    #[error("`{digest}` is not an fs-verity digest")]
    #[diagnostic(code(syntax::bad_digest))]
    BadDigest {
        /// What was written, cut where it is long.
        digest: String,
        /// Where.
        #[label("not a digest")]
        span: Span,
        /// What to do about it.
        #[help]
        help: String,
    },
}

impl SyntaxError {
    /// Where the error begins in the text.
    #[must_use]
    pub fn start(&self) -> usize {
        let first = self.labels().and_then(|labels| labels.map(|label| label.offset()).min());
        first.unwrap_or_default()
    }
}
