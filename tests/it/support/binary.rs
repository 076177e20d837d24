//! The program as users run it.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A command line to be run, in an empty folder and with an environment of our own.
pub struct Run {
    command: Command,
    stdin: String,
    _folder: tempfile::TempDir,
}

/// `dispatcher` with `arguments`; RabbitMQ and Postgres are where nothing listens until a test says so.
pub fn dispatcher(arguments: &[&str]) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dispatcher"));
    command.args(arguments).current_dir(folder.path()).env_clear();
    // For temporary files and the like; times are shown in China's zone.
    command.env("TZ", "Asia/Shanghai").env("TMPDIR", folder.path());
    let run = Run { command, stdin: String::new(), _folder: folder };
    run.amqp("amqp://guest:guest@127.0.0.1:1/%2f").postgres("postgres://nobody@127.0.0.1:1/nothing")
}

impl Run {
    /// Sets a variable, such as `DISPATCHER__LOG__LEVEL`.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// One more argument.
    pub fn argument(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    /// RabbitMQ's URL.
    pub fn amqp(self, url: &str) -> Self {
        self.env("DISPATCHER__RABBITMQ__URL", url)
    }

    /// Postgres' URL.
    pub fn postgres(self, url: &str) -> Self {
        self.env("DISPATCHER__POSTGRES__URL", url)
    }

    /// What it reads.
    pub fn stdin(mut self, text: &str) -> Self {
        text.clone_into(&mut self.stdin);
        self
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Ended {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let text = std::mem::take(&mut self.stdin);
        // A command that does not read to the end closes the pipe; that is its right.
        let writer = std::thread::spawn(move || drop(stdin.write_all(text.as_bytes())));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        Ended::of(output)
    }

    /// Runs it and expects exit 0; its stdout.
    pub fn ok(self) -> String {
        let ended = self.run();
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.stdout
    }

    /// Runs it and expects exit 0 and JSON on stdout.
    pub fn json(self) -> Value {
        let stdout = self.ok();
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
