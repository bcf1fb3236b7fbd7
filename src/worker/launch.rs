//! How an executor is started: the command line, the environment, its standard streams.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The variable that tells an executor its `sys.path`, one entry a line; the executor removes it at once.
const PATH_VARIABLE: &str = "PLAIT_EXECUTOR_PATH";

/// What the interpreter runs. Short, so that `ps` shows what it is; `-m` would look plait up on a path that is not the
/// client's yet.
const PROGRAM: &str = "import os, sys; sys.path[:] = os.environ.pop('PLAIT_EXECUTOR_PATH').split('\\n'); \
                       from plait._executor import main; main()";

/// Join lines start like this, whatever their role.
const JOIN_LINE: &str = "plait1";

/// Thread pools of numeric libraries: each executor gets as many threads as the slots it serves.
const THREAD_VARIABLES: [&str; 5] =
    ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"];

/// What every executor of a worker is started with.
#[derive(Clone, Debug)]
pub struct Launch {
    program: PathBuf,
    args: Vec<OsString>,
    /// Fixed beforehand: in another program's process somebody may be writing to the environment whenever we read it.
    environment: Vec<(OsString, OsString)>,
}

/// A started process with our ends of its streams.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) stderr: OwnedFd,
}

impl Launch {
    /// An executor that is run by the interpreter `program` with `flags` (the client's own) and `path` as its `sys.path`.
    ///
    /// Reads the environment of this process; whoever calls this sees to it that nobody changes it meanwhile.
    #[must_use]
    pub fn python(program: PathBuf, flags: Vec<OsString>, path: &[OsString]) -> Self {
        let mut args = flags;
        args.extend(["-P", "-c", PROGRAM].map(OsString::from));
        Self { program, args, environment: environment(std::env::vars_os(), path) }
    }

    /// What is run.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Starts an executor that serves `cpus` slots, with `channel` as its standard input: a process group of its own,
    /// no secrets in its environment.
    pub(crate) fn start(&self, channel: OwnedFd, cpus: u32) -> io::Result<Started> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear();
        command.envs(THREAD_VARIABLES.map(|name| (name, cpus.to_string())));
        // What the user set goes before what we would.
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::from(channel)).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let stderr = child.stderr.take().expect("stderr is piped");
        Ok(Started { child, stderr: stderr.into() })
    }
}

/// The environment of executors: without secrets, with their `sys.path`.
fn environment(ours: impl Iterator<Item = (OsString, OsString)>, path: &[OsString]) -> Vec<(OsString, OsString)> {
    let mut environment: Vec<_> = ours.filter(|(name, value)| !is_secret(name, value)).collect();
    environment.push((PATH_VARIABLE.into(), path.join(OsStr::new("\n"))));
    environment
}

fn is_secret(name: &OsStr, value: &OsStr) -> bool {
    let value = value.as_encoded_bytes();
    let names_line =
        |text: &[u8]| text.strip_prefix(JOIN_LINE.as_bytes()).is_some_and(|rest| rest.len() > 1 && rest[1] == b'-');
    name == "PLAIT_ADDRESS" || value.split(|byte| b" \t\n\"'=,;".contains(byte)).any(names_line)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::ffi::OsStringExt;
    use std::os::unix::net::UnixStream;

    /// A shell script in place of an executor; its channel is its standard input.
    pub(crate) fn script(text: &str) -> Launch {
        let environment = environment(std::env::vars_os(), &["/one".into(), "/two".into()]);
        Launch { program: "/bin/sh".into(), args: vec!["-c".into(), text.into()], environment }
    }

    #[test]
    fn join_lines_are_secret_wherever_they_stand() {
        let secret = |name: &str, value: &str| is_secret(OsStr::new(name), OsStr::new(value));
        assert!(secret("PLAIT_ADDRESS", "/some/file"));
        assert!(secret("ANY", "plait1w-ABC-DEF-XYZ@127.0.0.1:8000"));
        assert!(secret("ARGS", "--join=plait1c-ABC-DEF-XYZ@h:1 --more"));
        assert!(!secret("PATH", "/opt/plait1/bin:/usr/bin"));
        assert!(!secret("PLAIT_HOME", "/home/me/.config/plait/default"));
    }

    #[test]
    fn secrets_stay_behind_and_the_rest_goes_along() {
        let ours = [("PLAIT_ADDRESS", "x"), ("LINE", "plait1c-A-B-C@h:1"), ("LANG", "C")];
        let ours = ours.into_iter().map(|(name, value)| (name.into(), value.into()));
        let environment = environment(ours, &["/one".into()]);
        let expected = [("LANG", "C"), (PATH_VARIABLE, "/one")].map(|(name, value)| (name.into(), value.into()));
        assert_eq!(environment, expected);
    }

    #[test]
    fn a_path_may_have_any_name() {
        let path = [OsString::from("/one"), OsString::from_vec(b"/\xff".into())];
        let environment = environment(std::iter::empty(), &path);
        assert_eq!(environment, [(PATH_VARIABLE.into(), OsString::from_vec(b"/one\n/\xff".into()))]);
    }

    #[test]
    fn an_executor_gets_its_channel_a_group_and_thread_settings() {
        let (mut near, far) = UnixStream::pair().expect("a socket pair");
        let text = "exec 1>&0; echo $$ $(cut -d' ' -f5 /proc/$$/stat) $OMP_NUM_THREADS $PLAIT_EXECUTOR_PATH";
        let mut started = script(text).start(far.into(), 3).expect("a shell");
        let mut said = String::new();
        near.read_to_string(&mut said).expect("it speaks");
        let pid = started.child.id().to_string();
        assert!(started.child.wait().expect("it ends").success());
        assert_eq!(said.split_whitespace().collect::<Vec<_>>(), [&*pid, &*pid, "3", "/one", "/two"]);
    }
}
