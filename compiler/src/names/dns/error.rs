//! Why a name has no answer that can be locked. Messages do not repeat the name that was asked for:
//! whoever reports them points at it.

use miette::Diagnostic;
use thiserror::Error;

/// Why there is nobody to ask.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
pub enum ResolversError {
    /// Not an address.
    #[error("`{written}` is not the address of a resolver")]
    #[diagnostic(code(resolve::resolver_address), help("write `192.0.2.53`, `192.0.2.53:5353` or `[2001:db8::53]:53`"))]
    Address {
        /// What was written.
        written: String,
    },
    /// The same resolver again.
    #[error("the resolver `{written}` is named twice")]
    #[diagnostic(code(resolve::resolver_twice), help("name it once: it cannot confirm its own answers"))]
    Twice {
        /// The second time.
        written: String,
    },
    /// An empty list.
    #[error("no resolver is named")]
    #[diagnostic(code(resolve::no_resolver), help("name one with `--resolver IP[:PORT]`"))]
    Nobody,
    /// `--quorum`
    #[error("a quorum of {quorum} cannot be met by {resolvers}")]
    #[diagnostic(code(resolve::quorum), help("name as many resolvers with `--resolver`, or require a smaller quorum"))]
    Quorum {
        /// How many must agree.
        quorum: usize,
        /// How many there are, in words.
        resolvers: String,
    },
    /// The system's configuration cannot be used.
    #[error("the system's DNS configuration cannot be used: {reason}")]
    #[diagnostic(code(resolve::system_configuration), help("name a resolver with `--resolver IP[:PORT]`"))]
    System {
        /// Why not.
        reason: String,
    },
}

/// Why a name has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error, Diagnostic)]
pub enum DnsError {
    /// NXDOMAIN, for the name itself.
    #[error("the name does not exist, according to {resolver}")]
    #[diagnostic(code(resolve::no_such_name), help("check the spelling, and that the resolver serves this zone"))]
    NoSuchName {
        /// Who said so.
        resolver: String,
    },
    /// NXDOMAIN, for what the name is an alias of.
    #[error("the name is an alias of `{target}`, which does not exist, according to {resolver}")]
    #[diagnostic(code(resolve::dangling_alias), help("repair the CNAME record, or use another name"))]
    DanglingAlias {
        /// Who said so.
        resolver: String,
        /// The end of the chain.
        target: String,
    },
    /// Neither A nor AAAA.
    #[error("the name exists but has no address, according to {resolver}")]
    #[diagnostic(code(resolve::no_address), help("give the name an A or AAAA record, or write the address itself"))]
    NoAddress {
        /// Who said so.
        resolver: String,
    },
    /// An error code.
    #[error("{resolver} answers with {code}")]
    #[diagnostic(code(resolve::refused), help("query another resolver with `--resolver`, or try again later"))]
    Refused {
        /// Who said so.
        resolver: String,
        /// The response code.
        code: String,
    },
    /// The server is authoritative for something else and asks nobody.
    #[error("{resolver} only refers to other servers")]
    #[diagnostic(code(resolve::referral), help("name a recursive resolver, or a server of this zone"))]
    Referral {
        /// Who said so.
        resolver: String,
    },
    /// Addresses of one family, and NXDOMAIN for the other.
    #[error("{resolver} returns addresses for one family, and NXDOMAIN for the other")]
    #[diagnostic(
        code(resolve::contradiction),
        help("repair the zone, or write the addresses: half an answer cannot be trusted")
    )]
    Contradiction {
        /// Who said so.
        resolver: String,
    },
    /// The aliases come back to where they were.
    #[error("the aliases of the name lead back to `{again}`, according to {resolver}")]
    #[diagnostic(code(resolve::cname_loop), help("repair the CNAME records of the zone"))]
    CnameLoop {
        /// Who said so.
        resolver: String,
        /// The first name to come again.
        again: String,
    },
    /// More aliases than anybody means.
    #[error("the name has more than {limit} aliases in a row, according to {resolver}")]
    #[diagnostic(code(resolve::cname_too_long), help("use a name nearer to the end of the chain"))]
    CnameTooLong {
        /// Who said so.
        resolver: String,
        /// How many are followed.
        limit: usize,
    },
    /// An answer that cannot be believed.
    #[error("the answer of {resolver} cannot be used: {reason}")]
    #[diagnostic(code(resolve::malformed), help("query another resolver with `--resolver`"))]
    Malformed {
        /// Who said so.
        resolver: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing in time, or no way there.
    #[error("{resolver} did not answer: {reason}")]
    #[diagnostic(
        code(resolve::no_answer),
        help("check that the resolver can be reached, give it more time with `--timeout`, or name another one")
    )]
    NoAnswer {
        /// Who was asked.
        resolver: String,
        /// What happened.
        reason: String,
    },
    /// DNSSEC says that it is wrong.
    #[error("the answer of {resolver} is forged, or its zone is broken: {reason}")]
    #[diagnostic(
        code(resolve::bogus),
        help("query another resolver, check the clock, or have the zone signed again: this answer is never used")
    )]
    Bogus {
        /// Who gave it.
        resolver: String,
        /// What DNSSEC found.
        reason: String,
    },
    /// Addresses, and none.
    #[error("the resolvers disagree: {answers}")]
    #[diagnostic(
        code(resolve::resolvers_disagree),
        help("name resolvers that see the same zone, or write the addresses")
    )]
    Disagree {
        /// Who said what.
        answers: String,
    },
    /// `--quorum`
    #[error("fewer than {quorum} resolvers return the same addresses: {answers}")]
    #[diagnostic(
        code(resolve::no_quorum),
        help(
            "find the resolver that is wrong, and name resolvers that see the same zone; a name whose addresses rotate cannot reach a quorum"
        )
    )]
    NoQuorum {
        /// How many must agree.
        quorum: usize,
        /// Who said what.
        answers: String,
    },
}

impl DnsError {
    /// No answer, and no resolver to blame: the query did not get as far as one.
    pub fn unanswered(reason: impl Into<String>) -> DnsError {
        DnsError::NoAnswer { resolver: "the resolver".to_owned(), reason: reason.into() }
    }

    /// Whether the resolver answered the question, and the answer is that there is no address.
    ///
    /// Everything else means that nothing is known.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::NoSuchName { .. } | Self::DanglingAlias { .. } | Self::NoAddress { .. })
    }
}
