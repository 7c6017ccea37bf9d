//! Why a command fails: a message, the operator's next action, and an exit code.
//!
//! Each error states these beside its message, by the trait `Actionable`. A `Failure` carries any of them to the command
//! that prints it, so that no layer repeats the errors of the layers below.

use std::error::Error;
use std::fmt;
use std::ops::Deref;

use bfp_bundle::verify::Refusal;

/// The exit code of a command that fails. It is 0 for a command that does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The command succeeded, but the operator must look.
    Finding = 1,
    /// Incorrect usage, or input that cannot be read.
    Usage = 2,
    /// A bundle, a trust set, a token, a key or the rollback state is rejected.
    Rejected = 3,
    /// This host cannot enforce, or cannot be asked.
    CannotEnforce = 4,
}

/// An error that names the operator's next action.
pub trait Actionable: Error {
    /// The next action for the operator.
    fn help(&self) -> &'static str;

    /// The exit code. Most errors come from the kernel or the host.
    fn exit(&self) -> Exit {
        Exit::CannotEnforce
    }

    /// The last lines of the verifier's log, if there is one.
    fn log(&self) -> Option<&str> {
        None
    }
}

/// Any error that ends a command.
#[derive(Debug)]
pub struct Failure(Box<dyn Actionable>);

impl Failure {
    /// The error, if it is of this type.
    pub fn find<E: Error + 'static>(&self) -> Option<&E> {
        let error: &(dyn Error + 'static) = &*self.0;
        error.downcast_ref()
    }
}

impl<E: Actionable + 'static> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure(Box::new(error))
    }
}

impl Deref for Failure {
    type Target = dyn Actionable;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Actionable for Refusal {
    fn help(&self) -> &'static str {
        Refusal::help(self)
    }

    fn exit(&self) -> Exit {
        Exit::Rejected
    }
}
