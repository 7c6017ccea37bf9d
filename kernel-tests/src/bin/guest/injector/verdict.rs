//! Whether a command with a failing call ended correctly: it succeeded, or printed an error message with its exit code.

use nix::sys::signal::Signal;

use crate::trace::{End, Traced};

/// The enforcer's exit codes that come with a message.
const CODES: std::ops::RangeInclusive<i32> = 1..=4;

/// Checks how it ended.
pub(crate) fn judge(traced: &Traced) -> Result<(), String> {
    let for_memory = traced.hit.as_ref().is_some_and(|call| call.is_for_memory());
    let said = &traced.stderr;
    match traced.end {
        End::Exit(0) if !traced.stdout.is_empty() => Ok(()),
        End::Exit(code) if CODES.contains(&code) && is_a_sentence(said) => Ok(()),
        // Rust aborts a program that gets no memory (std's `handle_alloc_error`), and prints so.
        End::Signal(Signal::SIGABRT) if for_memory && said.starts_with("memory allocation of ") => Ok(()),
        end => Err(format!("expected a sentence and an exit code, seen {end:?}: {}{said}", traced.stdout)),
    }
}

/// Whether the policy was replaced nevertheless, as the message must then say.
pub(crate) fn says_it_is_enforced(traced: &Traced) -> bool {
    traced.stderr.contains("the new policy is active, but")
}

/// Whether the message says what is wrong and what to do.
pub(crate) fn is_a_sentence(said: &str) -> bool {
    let mut lines = said.lines();
    let first = lines.next().unwrap_or_default();
    first.len() > "bfp-enforcer: ".len()
        && first.starts_with("bfp-enforcer: ")
        && lines.next().is_some_and(|line| line.starts_with("  help: "))
        && !said.contains("panicked")
}

#[cfg(test)]
mod tests {
    use super::is_a_sentence;

    #[test]
    fn a_sentence_has_help_and_no_panic() {
        assert!(is_a_sentence("bfp-enforcer: no\n  help: yes\n"));
        assert!(!is_a_sentence("bfp-enforcer: \n  help: yes\n"));
        assert!(!is_a_sentence("bfp-enforcer: no\n"));
        assert!(!is_a_sentence(""));
        assert!(!is_a_sentence("thread 'main' panicked at x\n  help: no\n"));
    }
}
