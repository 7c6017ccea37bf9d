//! `completions` and `man`: what a shell and its user know of this program, from its own arguments.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::files::output::WriteError;
use crate::{Answer, Arguments};

pub(crate) fn completions(shell: Shell) -> Answer {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "bfpc", &mut bytes);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// One page: the program, then each command as a section of its own.
pub(crate) fn man() -> Answer {
    let mut command = Arguments::command();
    command.build();
    let mut bytes = Vec::new();
    let mut written = || -> std::io::Result<()> {
        clap_mangen::Man::new(command.clone()).render(&mut bytes)?;
        for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
            let page = clap_mangen::Man::new(command.clone());
            bytes.extend(format!(".SH \"COMMAND: {}\"\n", command.get_name().to_uppercase()).bytes());
            page.render_description_section(&mut bytes)?;
            page.render_synopsis_section(&mut bytes)?;
            page.render_options_section(&mut bytes)?;
        }
        Ok(())
    };
    let failed = |error: std::io::Error| WriteError::of(Path::new("the manual page"), &error);
    written().map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
