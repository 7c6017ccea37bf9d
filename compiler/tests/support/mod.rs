//! One harness for the tests that run `bfpc`: a directory with files and keys, and a command that runs there, with what
//! it must answer.
//!
//! Always: no run panics, and none writes colours where there is no terminal. A run that fails names its next step, and
//! answers nothing.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

use tempfile::TempDir;

/// A directory that `bfpc` runs in. It is removed when the test is done.
pub(crate) struct Place {
    directory: TempDir,
    /// The words before `bfpc`.
    launcher: &'static [&'static str],
}

impl Place {
    /// An empty directory.
    pub(crate) fn new() -> Place {
        Place { directory: TempDir::new().unwrap(), launcher: &[] }
    }

    /// A directory with these files.
    pub(crate) fn with(files: &[(&str, &str)]) -> Place {
        let place = Place::new();
        for (name, text) in files {
            place.write(name, text);
        }
        place
    }

    /// The same, where no run has a terminal to prompt on.
    pub(crate) fn without_terminal(self) -> Place {
        Place { launcher: &["setsid", "--wait"], ..self }
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    /// The path of a file.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// Writes a file, and makes the folders on the way to it.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let file = self.path(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }

    /// The bytes of a file.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// The text of a file.
    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    /// Sets the permissions of a file.
    pub(crate) fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Writes the key pair of this name, `NAME` and `NAME.pub`: the same one wherever this process asks for it.
    pub(crate) fn key(&self, name: &str) {
        static MADE: Mutex<BTreeMap<String, [Vec<u8>; 2]>> = Mutex::new(BTreeMap::new());
        let files = [name.to_owned(), format!("{name}.pub")];
        let mut made = MADE.lock().unwrap();
        let pair = made.entry(name.to_owned()).or_insert_with(|| {
            let once = Place::new();
            once.bfpc(&["keygen", name]).ok();
            files.each_ref().map(|file| once.read(file))
        });
        for ((file, content), mode) in files.iter().zip(pair).zip([0o600, 0o644]) {
            self.write(file, content);
            self.mode(file, mode);
        }
    }

    /// `bfpc` with these arguments.
    pub(crate) fn bfpc(&self, words: &[&str]) -> Run {
        self.run(&[self.launcher, &[env!("CARGO_BIN_EXE_bfpc")], words].concat())
    }

    /// Another program with these arguments.
    pub(crate) fn run(&self, words: &[&str]) -> Run {
        let (program, arguments) = words.split_first().unwrap();
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.root());
        let words = words.strip_prefix(self.launcher).unwrap_or(words).join(" ");
        Run { command, words: words.replace(env!("CARGO_BIN_EXE_bfpc"), "bfpc"), input: String::new() }
    }
}

/// A command that was not run yet.
#[must_use = "it runs when it is asked how it ends"]
pub(crate) struct Run {
    /// For what only one test changes.
    pub(crate) command: Command,
    words: String,
    input: String,
}

impl Run {
    /// What the standard input gives; without it, nothing.
    pub(crate) fn input(mut self, text: &str) -> Run {
        text.clone_into(&mut self.input);
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn env(mut self, variable: &str, value: &str) -> Run {
        self.command.env(variable, value);
        self
    }

    /// How it ends, whatever that is.
    pub(crate) fn ended(mut self) -> Ended {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.command.spawn();
        let mut child = child.unwrap_or_else(|error| unreachable!("this test needs `{}`: {error}", self.words));
        // A command that reads no input may have ended.
        let _ = child.stdin.take().unwrap().write_all(self.input.as_bytes());
        let ended = Ended::of(&self.words, child.wait_with_output().unwrap());
        assert!(!ended.stderr.contains("panicked"), "{}", ended.all());
        // Bundles are no text, and may have any byte.
        let text = if std::str::from_utf8(&ended.bytes).is_ok() { ended.all() } else { ended.stderr.clone() };
        assert!(!text.contains('\u{1b}'), "colour where there is no terminal: {text}");
        ended
    }

    /// It ends with this exit code; what it says on both outputs.
    pub(crate) fn says(self, code: i32) -> String {
        let ended = self.ended();
        assert_eq!(ended.code, code, "{}", ended.all());
        ended.stdout + &ended.stderr
    }

    /// It ends with this exit code, and has nothing to report; its answer.
    pub(crate) fn answers(self, code: i32) -> String {
        let ended = self.ended();
        assert_eq!((ended.code, ended.stderr.as_str()), (code, ""), "{}", ended.all());
        ended.stdout
    }

    /// It is done, and has nothing to report; its answer.
    pub(crate) fn ok(self) -> String {
        self.answers(0)
    }

    /// It is done, though the policy may have warnings; its answer.
    pub(crate) fn ok_with_warnings(self) -> String {
        let ended = self.ended();
        assert_eq!(ended.code, 0, "{}", ended.all());
        ended.stdout
    }

    /// It ends with this exit code, and says this.
    pub(crate) fn fails(self, code: i32, says: &str) -> Ended {
        let ended = self.ended();
        let all = ended.all();
        assert_eq!(ended.code, code, "{all}");
        if code == 1 {
            assert_eq!(ended.stderr, "", "{all}");
        } else {
            assert_eq!(ended.stdout, "", "a command that fails answers nothing: {all}");
            assert!(ended.stderr.contains("help: ") || ended.stderr.contains("try '--help'"), "{all}");
        }
        assert!(all.contains(says) || ended.in_one_line().contains(says), "`{says}` is not in: {all}");
        ended
    }
}

/// How a command ended.
pub(crate) struct Ended {
    words: String,
    /// Its exit code.
    pub(crate) code: i32,
    /// What it answered.
    pub(crate) stdout: String,
    /// The same, where that is no text.
    pub(crate) bytes: Vec<u8>,
    /// What it reported.
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn of(words: &str, output: Output) -> Ended {
        Ended {
            words: words.to_owned(),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            bytes: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The command and all that it said, for a message.
    pub(crate) fn all(&self) -> String {
        format!("{}: exit code {}\n{}{}", self.words, self.code, self.stdout, self.stderr)
    }

    /// What it reported without line breaks: a long title is broken where the line ends.
    pub(crate) fn in_one_line(&self) -> String {
        self.stderr.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
    }
}
