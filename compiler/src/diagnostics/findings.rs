//! What a stage or a command has to say of a text, whatever stage it is.

use miette::Diagnostic;

/// Every error of a stage, in the order of the text.
pub type Findings = Vec<Box<dyn Diagnostic + Send + Sync>>;

/// A stage's own errors as findings.
pub fn boxed<E: Diagnostic + Send + Sync + 'static>(errors: Vec<E>) -> Findings {
    errors.into_iter().map(|error| Box::new(error) as _).collect()
}
