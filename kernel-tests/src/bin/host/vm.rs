//! Runs a command as root under a stock Debian kernel, and exits with its status.
//!
//! In: a kernel's name, files, a command line. Out: the command's output as it comes. Status: the command's; 124 if it
//! was too slow, 125 if the guest returned none.

use bfp_kernel_tests::{Failure, Guest, Kernel};
use clap::Parser;
use std::{
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
    time::Duration,
};

/// Run a command as root under a stock Debian kernel
#[derive(Parser)]
struct Arguments {
    /// Series of the kernel: 6.1, 6.12, 6.18, 7.3
    #[arg(long, default_value = "6.12")]
    kernel: String,
    /// Take a file along, with its libraries [default DST: /bin/NAME]
    #[arg(long, value_name = "SRC[:DST]")]
    file: Vec<String>,
    /// Take a folder's content along [default DST: /]
    #[arg(long, value_name = "DIR[:DST]")]
    tree: Vec<String>,
    /// Load a module of the kernel, and those that it needs
    #[arg(long, value_name = "NAME")]
    module: Vec<String>,
    /// Memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    memory: u32,
    /// Number of processors
    #[arg(long, value_name = "N", default_value_t = 1)]
    cpus: u32,
    /// Boot with another lsm= list
    #[arg(long, value_name = "LIST")]
    lsm: Option<String>,
    /// Add to the kernel's command line
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    append: Vec<String>,
    /// Stop after this many seconds
    #[arg(long, value_name = "S", default_value_t = 60)]
    timeout: u64,
    /// Boot, instead of starting from a booted machine that was kept
    #[arg(long)]
    cold: bool,
    /// Print the kernel's console afterwards
    #[arg(long)]
    console: bool,
    /// A shell command line; several words are joined by spaces
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            // If standard error is closed, the status still reports the outcome.
            let _unheard = writeln!(io::stderr(), "vm: {failure}");
            ExitCode::from(if matches!(failure, Failure::TooSlow { .. }) { 124 } else { 125 })
        }
    }
}

fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let kernel = Kernel::find(&arguments.kernel)?;
    let mut guest = Guest::new(&kernel)
        .memory_mib(arguments.memory)
        .cpus(arguments.cpus)
        .time_limit(Duration::from_secs(arguments.timeout));
    for file in &arguments.file {
        let (host, place) = file.split_once(':').unwrap_or((file, ""));
        let name = Path::new(host).file_name().unwrap_or_default().to_string_lossy();
        guest = guest.file(host, if place.is_empty() { format!("/bin/{name}") } else { place.to_owned() });
    }
    for tree in &arguments.tree {
        let (host, place) = tree.split_once(':').unwrap_or((tree, "/"));
        guest = guest.tree(host, place);
    }
    for module in &arguments.module {
        guest = guest.module(module);
    }
    if let Some(list) = &arguments.lsm {
        guest = guest.lsm(list);
    }
    for more in &arguments.append {
        guest = guest.append(more);
    }
    if arguments.cold {
        guest = guest.cold();
    }
    let outcome = guest.run_into(&arguments.command.join(" "), &mut io::stdout().lock())?;
    if arguments.console {
        let _unheard = writeln!(io::stderr(), "{}", outcome.console);
    }
    Ok(outcome.status)
}
