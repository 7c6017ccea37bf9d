//! A refusal of the verifier's, told to whoever compiles and signs.

use bfp_bundle::verify::Refusal;
use miette::{Diagnostic, Report};

use crate::Failure;

#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{refusal}")]
#[diagnostic(code(verify::refused))]
struct Refused {
    refusal: Refusal,
    #[help]
    help: String,
}

/// A document is refused, with what to do about it.
pub(crate) fn refused(refusal: Refusal) -> Failure {
    let help = match &refusal {
        Refusal::WrongAudience(_) => "name the host's tag with `--audience LABEL`",
        other => other.help(),
    };
    let help = help.to_owned();
    Failure::Refused(Report::new(Refused { refusal, help }))
}
