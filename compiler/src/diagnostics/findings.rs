//! The diagnostics of a stage or a command, whatever their type.

use miette::Diagnostic;

/// Every diagnostic of a stage, in the order of the text.
pub type Findings = Vec<Box<dyn Diagnostic + Send + Sync>>;

/// Erases the type of a stage's own errors.
pub fn boxed<E: Diagnostic + Send + Sync + 'static>(errors: Vec<E>) -> Findings {
    errors.into_iter().map(|error| Box::new(error) as _).collect()
}
