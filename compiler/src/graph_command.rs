//! `graph`: a picture of who may reach what.

use std::path::PathBuf;

use clap::Args;

use crate::Answer;
use crate::input::InputArguments;

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

pub(crate) fn graph(_arguments: &GraphArguments) -> Answer {
    Ok(String::new())
}
