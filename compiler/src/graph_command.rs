//! `graph`: a picture of who may reach what.

use std::path::PathBuf;

use bfp_compiler::drawing;
use clap::Args;

use crate::Answer;
use crate::input::{Input, InputArguments};
use crate::output::write;

#[derive(Args)]
pub(crate) struct GraphArguments {
    /// The policy, or the bundle (then `--trust` is needed)
    file: PathBuf,
    /// Where the picture is written
    #[arg(short, long, value_name = "SVG")]
    output: PathBuf,
    #[command(flatten)]
    input: InputArguments,
}

pub(crate) fn graph(arguments: &GraphArguments) -> Answer {
    let input = Input::read(&arguments.file, &arguments.input)?;
    write(&arguments.output, drawing::draw(&input.compiled).as_bytes())?;
    Ok(String::new())
}
