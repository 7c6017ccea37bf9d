//! What enters: the arguments. What leaves: the command that they describe, and, once run, the line on stdout and the
//! exit status. A prefix (`wait-then`, `fork`, …) changes the surroundings and passes on the rest of the arguments, so
//! prefixes combine.

use std::io::{BufRead, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use rustix::io::Errno;

use crate::errno_name::errno_name;
use crate::serving::{self, Answer};
use crate::traffic::{self, How, Journey};
use crate::{raw, surroundings, tally};

/// One command, as parsed from the arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Send { how: How, journey: Journey },
    Hold { to: SocketAddr },
    Hammer { to: SocketAddr },
    Tally { pause: Duration, to: SocketAddr },
    Accept { at: SocketAddr, rest: Box<Command> },
    SelfConnect { at: SocketAddr, rest: Box<Command> },
    Answer(Answer),
    WaitThen(Box<Command>),
    Thread(Box<Command>),
    Fork(Box<Command>),
    Times { count: u32, how: How, journey: Journey },
    Sweep { count: u32, how: How, journey: Journey },
    Spawn { program: String, arguments: Vec<String> },
    Exec { program: String, arguments: Vec<String> },
    ExecFromMemory { program: String, arguments: Vec<String> },
    ExecOpened { program: String, arguments: Vec<String> },
    Map(Mapped),
    InChroot { directory: String, rest: Box<Command> },
    InMountNamespace { source: String, target: String, rest: Box<Command> },
}

/// What to map for execution.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mapped {
    File(String),
    Memory,
    WrittenMemory,
}

impl Command {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let (word, rest) = arguments.split_first().ok_or("nothing to do: give a way to send")?;
        Ok(match word.as_str() {
            "wait-then" => Command::WaitThen(Box::new(Self::parse(rest)?)),
            "thread" => Command::Thread(Box::new(Self::parse(rest)?)),
            "times" | "sweep" => match rest {
                [count, how, rest @ ..] => {
                    let count = count.parse().map_err(|_| format!("no number: `{count}`"))?;
                    let how = How::parse(how).ok_or_else(|| format!("no such way to send: `{how}`"))?;
                    let journey = journey(rest)?;
                    match word.as_str() {
                        "times" => Command::Times { count, how, journey },
                        _ => Command::Sweep { count, how, journey },
                    }
                }
                _ => return Err(format!("`{word}` wants a number and a way to send")),
            },
            "fork" => Command::Fork(Box::new(Self::parse(rest)?)),
            "spawn" | "exec" | "exec-from-memory" | "exec-opened" => {
                let (program, arguments) = rest.split_first().ok_or_else(|| format!("`{word}` wants a path"))?;
                let (program, arguments) = (program.clone(), arguments.to_vec());
                match word.as_str() {
                    "spawn" => Command::Spawn { program, arguments },
                    "exec" => Command::Exec { program, arguments },
                    "exec-opened" => Command::ExecOpened { program, arguments },
                    _ => Command::ExecFromMemory { program, arguments },
                }
            }
            "in-chroot" => match rest {
                [directory, rest @ ..] => {
                    Command::InChroot { directory: directory.clone(), rest: Box::new(Self::parse(rest)?) }
                }
                [] => return Err("`in-chroot` wants a directory".to_owned()),
            },
            "in-mount-namespace" => match rest {
                [source, target, rest @ ..] => Command::InMountNamespace {
                    source: source.clone(),
                    target: target.clone(),
                    rest: Box::new(Self::parse(rest)?),
                },
                _ => return Err("`in-mount-namespace` wants a source and a target".to_owned()),
            },
            "map-file" => match rest {
                [file] => Command::Map(Mapped::File(file.clone())),
                _ => return Err("`map-file` wants a path".to_owned()),
            },
            "map-memory" => Command::Map(Mapped::Memory),
            "map-written-memory" => Command::Map(Mapped::WrittenMemory),
            "accept" | "self-connect" => match rest {
                [address, port, rest @ ..] => {
                    let at = journey(&[address.clone(), port.clone()])?.to;
                    let rest = Box::new(Self::parse(rest)?);
                    if word == "accept" { Command::Accept { at, rest } } else { Command::SelfConnect { at, rest } }
                }
                _ => return Err(format!("`{word}` wants an address and a port")),
            },
            "answer" => Command::Answer(Answer::Send),
            "answer-by-sendfile" => Command::Answer(Answer::SendFile),
            "answer-after-connect" => Command::Answer(Answer::Reconnect(journey(rest)?.to)),
            "answer-after-dissolving" => Command::Answer(Answer::Dissolve(journey(rest)?.to)),
            "hold-tcp" => Command::Hold { to: journey(rest)?.to },
            "hammer" => Command::Hammer { to: journey(rest)?.to },
            "tally" => match rest {
                [pause, rest @ ..] => Command::Tally {
                    pause: Duration::from_millis(pause.parse().map_err(|_| format!("no number: `{pause}`"))?),
                    to: journey(rest)?.to,
                },
                [] => return Err("`tally` wants milliseconds".to_owned()),
            },
            how => Command::Send {
                how: How::parse(how).ok_or_else(|| format!("no such way to send: `{how}`"))?,
                journey: journey(rest)?,
            },
        })
    }

    pub(crate) fn run(self) -> ExitCode {
        match self {
            Command::Send { how, journey } => say(traffic::send(how, &journey)),
            Command::Times { count, how, journey } => {
                let mut last = Ok(());
                for _ in 0..count {
                    last = traffic::send(how, &journey);
                }
                say(last)
            }
            Command::Sweep { count, how, mut journey } => {
                let mut last = Ok(());
                for _ in 0..count {
                    last = traffic::send(how, &journey);
                    journey.to.set_ip(next(journey.to.ip()));
                }
                say(last)
            }
            Command::Hold { to } => hold(to),
            Command::Hammer { to } => hammer(to),
            Command::Tally { pause, to } => tally::run(pause, to),
            Command::Accept { at, rest } => match serving::accept(at) {
                Ok(()) => rest.run(),
                Err(errno) => cannot("accept", errno),
            },
            Command::SelfConnect { at, rest } => match serving::connect_to_itself(at) {
                Ok(()) => rest.run(),
                Err(errno) => cannot("connect to itself", errno),
            },
            Command::Answer(how) => {
                let status = say(serving::answer(how));
                // The connection ends with this process, and an end can overtake what the client has not read yet.
                wait_for_a_line();
                status
            }
            Command::WaitThen(rest) => {
                println_now("ready");
                wait_for_a_line();
                rest.run()
            }
            Command::Thread(rest) => std::thread::spawn(|| rest.run()).join().unwrap_or(ExitCode::from(2)),
            Command::Fork(rest) => match raw::fork() {
                Ok(raw::Fork::Child) => rest.run(),
                Ok(raw::Fork::Parent { child }) => surroundings::wait_for(child),
                Err(errno) => cannot("fork", errno),
            },
            Command::Spawn { program, arguments } => {
                surroundings::spawn(&program, &arguments).unwrap_or_else(|error| cannot("spawn", errno_of(&error)))
            }
            Command::Exec { program, arguments } => cannot("exec", errno_of(&surroundings::exec(&program, &arguments))),
            Command::ExecFromMemory { program, arguments } => {
                let error = surroundings::exec_from_memory(&program, &arguments);
                cannot("exec from memory", errno_of(&error))
            }
            Command::ExecOpened { program, arguments } => {
                let opened = std::fs::File::open(&program);
                println_now("ready");
                wait_for_a_line();
                let error = opened.map_or_else(|error| error, |file| surroundings::exec_opened(&file, &arguments));
                cannot("exec an open file", errno_of(&error))
            }
            Command::Map(Mapped::File(path)) => match std::fs::File::open(&path) {
                Ok(file) => say(raw::map_executable(&file)),
                Err(error) => cannot("open", errno_of(&error)),
            },
            Command::Map(Mapped::Memory) => say(raw::map_executable_memory()),
            Command::Map(Mapped::WrittenMemory) => say(raw::make_written_memory_executable()),
            Command::InChroot { directory, rest } => match surroundings::enter_chroot(&directory) {
                Ok(()) => rest.run(),
                Err(errno) => cannot("chroot", errno),
            },
            Command::InMountNamespace { source, target, rest } => {
                match surroundings::enter_mount_namespace(&source, &target) {
                    Ok(()) => rest.run(),
                    Err(errno) => cannot("bind-mount", errno),
                }
            }
        }
    }
}

/// The address after this one; after the last, the first.
fn next(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits().wrapping_add(1))),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits().wrapping_add(1))),
    }
}

fn journey(arguments: &[String]) -> Result<Journey, String> {
    let (address, port, mut options) = match arguments {
        [address, port, options @ ..] => (address, port, options),
        _ => return Err("an address and a port are wanted".to_owned()),
    };
    let address: IpAddr = address.parse().map_err(|_| format!("no address: `{address}`"))?;
    let port: u16 = port.parse().map_err(|_| format!("no port: `{port}`"))?;
    let mut journey = Journey { to: SocketAddr::new(address, port), bind: None, via: None };
    while let [option, value, rest @ ..] = options {
        let bad = |_| format!("no address for `{option}`: `{value}`");
        match option.as_str() {
            "--bind" => journey.bind = Some(value.parse().map_err(bad)?),
            "--via" => journey.via = Some(value.parse().map_err(bad)?),
            _ => return Err(format!("no such option: `{option}`")),
        }
        options = rest;
    }
    match options {
        [] => Ok(journey),
        rest => Err(format!("too much: `{}`", rest.join(" "))),
    }
}

fn hold(to: SocketAddr) -> ExitCode {
    let connection = match traffic::connect_tcp(to) {
        Ok(connection) => connection,
        Err(errno) => return say(Err(errno)),
    };
    println_now("ok");
    let mut last = Ok(());
    while wait_for_a_line() {
        last = traffic::send_one_byte(&connection);
        println_now(word_for(last));
    }
    if last.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Tries without a pause, alternately over TCP and UDP, until a line arrives: the prober that looks for a moment
/// without protection.
fn hammer(to: SocketAddr) -> ExitCode {
    let stop = std::thread::spawn(wait_for_a_line);
    let (mut tries, mut through) = (0_u64, 0_u64);
    let mut odd_error = None;
    loop {
        let how = if tries % 2 == 0 { How::Tcp } else { How::Sendto };
        match traffic::send(how, &Journey { to, bind: None, via: None }) {
            Ok(()) => through += 1,
            Err(Errno::PERM) => {}
            Err(errno) => odd_error = Some(errno),
        }
        tries += 1;
        // Both ways have been tried once before the suite goes on.
        if tries == 2 {
            println_now("ready");
        }
        if tries >= 2 && stop.is_finished() {
            break;
        }
    }
    match odd_error {
        _ if through > 0 => println!("{through} of {tries} got through"),
        Some(errno) => println!("not refused but failed: {}", errno_name(errno)),
        None => println!("all refused, {tries} tries"),
    }
    if through == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn say(outcome: Result<(), Errno>) -> ExitCode {
    println_now(word_for(outcome));
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

pub(crate) fn word_for(outcome: Result<(), Errno>) -> &'static str {
    match outcome {
        Ok(()) => "ok",
        Err(errno) => errno_name(errno),
    }
}

/// A failure before anything was sent must not read like a denial of the traffic.
fn cannot(what: &str, errno: Errno) -> ExitCode {
    println!("cannot {what}: {}", errno_name(errno));
    ExitCode::from(2)
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

pub(crate) fn println_now(line: &str) {
    println!("{line}");
    // A closed stdout means that the answer is not read any more.
    let _ = std::io::stdout().flush();
}

/// Whether a line came, rather than the end of the input.
fn wait_for_a_line() -> bool {
    let mut line = String::new();
    matches!(std::io::stdin().lock().read_line(&mut line), Ok(length) if length > 0)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Command::parse(&arguments)
    }

    #[test]
    fn prefixes_combine_in_the_order_written() {
        assert_eq!(
            parse("wait-then fork tcp 127.0.0.1 80").unwrap(),
            Command::WaitThen(Box::new(Command::Fork(Box::new(parse("tcp 127.0.0.1 80").unwrap()))))
        );
    }

    #[test]
    fn what_a_spawned_program_gets_is_not_read() {
        assert_eq!(
            parse("spawn /bin/x no-such-way").unwrap(),
            Command::Spawn { program: "/bin/x".into(), arguments: vec!["no-such-way".into()] }
        );
    }

    #[test]
    fn bad_arguments_are_named() {
        assert_eq!(parse("carrier-pigeon ::1 1").unwrap_err(), "no such way to send: `carrier-pigeon`");
        assert_eq!(parse("tcp localhost 1").unwrap_err(), "no address: `localhost`");
        assert_eq!(parse("tcp ::1 65536").unwrap_err(), "no port: `65536`");
        assert_eq!(parse("tcp ::1 1 --bind").unwrap_err(), "too much: `--bind`");
        assert_eq!(parse("sweep 3").unwrap_err(), "`sweep` wants a number and a way to send");
    }
}
