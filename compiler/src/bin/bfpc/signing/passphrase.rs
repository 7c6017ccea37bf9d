//! Passphrases of encrypted keys: from a file, or asked for on the terminal without showing what is typed. Never
//! from an argument or the environment, which other processes can read.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use bfp_compiler::source::{self, SourceError};
use miette::Diagnostic;
use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use zeroize::Zeroizing;

use crate::Failure;
use crate::signing::permissions;

/// The bytes that are typed or stand in a file. They are wiped when they are dropped.
pub(crate) type Passphrase = Zeroizing<Vec<u8>>;

/// The longest passphrase, in bytes.
const LONGEST: usize = 1024;

#[derive(Debug, thiserror::Error, Diagnostic)]
enum PassphraseError {
    #[error("the passphrase of `{key}` cannot be entered: there is no terminal")]
    #[diagnostic(
        code(key::no_passphrase),
        help("name a file with `--passphrase-file FILE`: its first line is the passphrase")
    )]
    NoTerminal { key: String },
    #[error("the passphrase of `{key}` was not given")]
    #[diagnostic(code(key::no_passphrase), help("type it and press Enter, or use `--passphrase-file FILE`"))]
    Cancelled { key: String },
    #[error("the passphrase of `{key}` is empty")]
    #[diagnostic(code(key::bad_passphrase), help("give a longer one: an empty passphrase protects nothing"))]
    Empty { key: String },
    #[error("the passphrase of `{key}` has more than {LONGEST} bytes")]
    #[diagnostic(code(key::bad_passphrase), help("check the passphrase file: its first line is the passphrase"))]
    TooLong { key: String },
    #[error("the two passphrases differ")]
    #[diagnostic(code(key::bad_passphrase), help("try again: no key was made"))]
    Different,
}

/// Where passphrases come from.
#[derive(Clone, Copy)]
pub(crate) enum Passphrases<'a> {
    /// The first line of this file is the passphrase of every encrypted key.
    File(&'a Path),
    /// Whoever sits at the terminal is asked for each.
    Terminal,
}

impl Passphrases<'_> {
    pub(crate) fn of(file: Option<&PathBuf>) -> Passphrases<'_> {
        file.map_or(Passphrases::Terminal, |file| Passphrases::File(file))
    }

    /// That of a key that is there.
    pub(crate) fn of_key(self, key: &Path) -> Result<Passphrase, Failure> {
        match self {
            Passphrases::File(file) => from_file(file, key),
            Passphrases::Terminal => ask(&format!("passphrase of {}: ", key.display()), key),
        }
    }

    /// That of a key which is about to be made.
    pub(crate) fn of_new_key(self, key: &Path) -> Result<Passphrase, Failure> {
        match self {
            Passphrases::File(file) => from_file(file, key),
            Passphrases::Terminal => {
                let first = ask(&format!("passphrase for {}: ", key.display()), key)?;
                let second = ask("the same again: ", key)?;
                if first == second { Ok(first) } else { Err(PassphraseError::Different.into()) }
            }
        }
    }
}

fn from_file(path: &Path, key: &Path) -> Result<Passphrase, Failure> {
    let unreadable = |error: io::Error| SourceError::of(path, &error);
    let kind = fs::metadata(path).map_err(unreadable)?.file_type();
    // A pipe too: `--passphrase-file <(…)` leaves nothing on the disk.
    let mut file = if kind.is_fifo() { File::open(path).map_err(unreadable)? } else { source::open(path)? };
    permissions::check_secret(path, &file.metadata().map_err(unreadable)?)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
    (&mut file).take(LONGEST as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    checked(Zeroizing::new(line.to_vec()), key)
}

fn checked(passphrase: Passphrase, key: &Path) -> Result<Passphrase, Failure> {
    let key = key.display().to_string();
    match passphrase.len() {
        0 => Err(PassphraseError::Empty { key }.into()),
        1..=LONGEST => Ok(passphrase),
        _ => Err(PassphraseError::TooLong { key }.into()),
    }
}

/// The terminal that this program runs at, which shows nothing of what is typed until it is dropped.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Quiet {
    fn open() -> Option<Quiet> {
        let terminal = File::options().read(true).write(true).open("/dev/tty").ok()?;
        let before = termios::tcgetattr(&terminal).ok()?;
        let mut quiet = before.clone();
        // Letter by letter, Ctrl-C too: a program that dies while it asks would leave a terminal that shows
        // nothing.
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        termios::tcsetattr(&terminal, OptionalActions::Now, &quiet).ok()?;
        Some(Quiet { terminal, before })
    }

    /// What is typed before Enter; `None` where it is given up.
    fn line(&mut self, prompt: &str) -> io::Result<Option<Passphrase>> {
        self.terminal.write_all(prompt.as_bytes())?;
        let mut line: Passphrase = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
        let mut byte = [0];
        loop {
            if self.terminal.read(&mut byte)? == 0 {
                return Ok(None);
            }
            let [byte] = byte;
            match byte {
                b'\n' | b'\r' => return Ok(Some(line)),
                CTRL_C => return Ok(None),
                CTRL_D if line.is_empty() => return Ok(None),
                CTRL_U => line.clear(),
                BACKSPACE | DELETE => remove_letter(&mut line),
                // What is longer is refused anyway.
                _ if line.len() > LONGEST => {}
                _ => line.push(byte),
            }
        }
    }
}

const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const CTRL_U: u8 = 0x15;
const BACKSPACE: u8 = 0x08;
const DELETE: u8 = 0x7f;

/// Removes the last letter, which in UTF-8 may have several bytes.
fn remove_letter(line: &mut Vec<u8>) {
    while line.pop().is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000) {}
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // Where the terminal is gone, so is what could be restored.
        let _ = termios::tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
        let _ = self.terminal.write_all(b"\n");
    }
}

fn ask(prompt: &str, key: &Path) -> Result<Passphrase, Failure> {
    let shown = || key.display().to_string();
    let mut terminal = Quiet::open().ok_or_else(|| PassphraseError::NoTerminal { key: shown() })?;
    match terminal.line(prompt) {
        Ok(Some(passphrase)) => checked(passphrase, key),
        Ok(None) | Err(_) => Err(PassphraseError::Cancelled { key: shown() }.into()),
    }
}
