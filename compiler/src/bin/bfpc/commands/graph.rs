//! `graph`: a picture of who may reach what.

use std::path::PathBuf;

use bfp_compiler::query::drawing;
use clap::Args;

use crate::Failure;
use crate::files::input::{Input, InputArguments};
use crate::files::output::{self, Kind};
use crate::report::Output;

#[derive(Args)]
pub(crate) struct GraphArguments {
    /// The policy, or the bundle (which requires `--trust`)
    file: PathBuf,
    /// Where the picture is written
    #[arg(short, long, value_name = "SVG")]
    output: PathBuf,
    #[command(flatten)]
    input: InputArguments,
}

pub(crate) fn graph(arguments: &GraphArguments) -> Result<Output, Failure> {
    let input = Input::read(&arguments.file, &arguments.input)?;
    let picture = drawing::draw(&input.compiled).into_bytes();
    let bytes = output::write(&arguments.output, picture, Kind::Picture)?;
    Ok(Output { bytes, ..Output::default() })
}
