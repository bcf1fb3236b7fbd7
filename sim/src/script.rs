//! What simulated user code does: scripts that travel as the arguments of a task, functions that travel as their bodies,
//! and the values they make.
//!
//! A value has the text that counts, the execution that made it, and ballast: bytes that only weigh.

use bytes::Bytes;
use plait_core::id::FunctionKey;
use plait_core::outcome::Outcome;
use plait_core::spec::{Call, Start};
use plait_core::value::Value;
use std::fmt;
use std::str::FromStr;

/// Every time.
pub(crate) const ALWAYS: u32 = u32::MAX;

/// Heaviest ballast, in bytes.
pub(crate) const BALLAST_MAX: u64 = 24 << 20;

/// How one call behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// It returns.
    Return,
    /// It raises, so many times, something that `retry_on` covers; then it returns.
    Raise(u32),
    /// It raises something that `retry_on` does not cover.
    Refuse,
    /// It takes its executor down, so many times; then it returns.
    Crash(u32),
    /// It runs until it is interrupted.
    Hang,
    /// It runs until it is killed.
    Stubborn,
    /// It returns, and leaves child processes behind.
    Soil,
}

/// One call: what it does, how long it takes, how heavy its value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    /// Which call this is; its value says so.
    pub(crate) tag: u32,
    pub(crate) behaviour: Behaviour,
    pub(crate) micros: u64,
    pub(crate) ballast: u64,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, times) = match self.behaviour {
            Behaviour::Return => ("return", 0),
            Behaviour::Raise(times) => ("raise", times),
            Behaviour::Refuse => ("refuse", 0),
            Behaviour::Crash(times) => ("crash", times),
            Behaviour::Hang => ("hang", 0),
            Behaviour::Stubborn => ("stubborn", 0),
            Behaviour::Soil => ("soil", 0),
        };
        write!(f, "{} {name} {times} {} {}", self.tag, self.micros, self.ballast)
    }
}

/// Text that is no script.
#[derive(Debug)]
pub(crate) struct Garbled;

impl FromStr for Script {
    type Err = Garbled;

    fn from_str(text: &str) -> Result<Self, Garbled> {
        let mut words = text.split(' ');
        let mut word = || words.next().ok_or(Garbled);
        let tag = word()?.parse().map_err(|_| Garbled)?;
        let name = word()?;
        let times = word()?.parse().map_err(|_| Garbled)?;
        let behaviour = match name {
            "return" => Behaviour::Return,
            "raise" => Behaviour::Raise(times),
            "refuse" => Behaviour::Refuse,
            "crash" => Behaviour::Crash(times),
            "hang" => Behaviour::Hang,
            "stubborn" => Behaviour::Stubborn,
            "soil" => Behaviour::Soil,
            _ => return Err(Garbled),
        };
        let micros = word()?.parse().map_err(|_| Garbled)?;
        let ballast = word()?.parse().map_err(|_| Garbled)?;
        Ok(Self { tag, behaviour, micros, ballast })
    }
}

/// The arguments of a task: one script, or one per item of a chunk.
pub(crate) fn arguments(scripts: &[Script]) -> Value {
    let lines: Vec<String> = scripts.iter().map(ToString::to_string).collect();
    Value::from(Bytes::from(lines.join("\n")))
}

/// The scripts in a task's arguments.
pub(crate) fn scripts(args: &Value) -> Vec<Script> {
    text(args).lines().map(|line| line.parse().expect("the arguments are scripts, untouched")).collect()
}

/// The functions that a start calls: its own first.
pub(crate) fn called(start: &Start) -> impl Iterator<Item = FunctionKey> + use<> {
    let session = start.attempt.task.session;
    let merge = if let Call::ChunkFold { merge, .. } = start.call { Some(merge) } else { None };
    [Some(start.function), merge].into_iter().flatten().map(move |function| FunctionKey { session, function })
}

/// What a function does, apart from what its arguments say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    /// It follows the script in its arguments.
    Plain,
    /// It merges or combines; takes its executor down the first so many times.
    Join { crashes: u32, micros: u64 },
    /// It merges or combines, and always raises.
    Fail,
}

impl Function {
    /// Its body, as it travels.
    pub(crate) fn body(self) -> Value {
        let text = match self {
            Self::Plain => "plain".to_string(),
            Self::Join { crashes, micros } => format!("join {crashes} {micros}"),
            Self::Fail => "fail".to_string(),
        };
        Value::from(Bytes::from(text))
    }

    /// The function of a body.
    pub(crate) fn of(body: &Value) -> Self {
        let text = text(body);
        let mut words = text.split(' ');
        match words.next() {
            Some("plain") => Self::Plain,
            Some("fail") => Self::Fail,
            Some("join") => {
                let mut number = || words.next().and_then(|word| word.parse().ok()).expect("a join has two numbers");
                Self::Join { crashes: number() as u32, micros: number() }
            }
            other => panic!("a function's body was changed on the way: {other:?}"),
        }
    }
}

/// A value made by `execution`.
pub(crate) fn value(text: &str, execution: u64, ballast: u64) -> Value {
    static ZEROS: [u8; BALLAST_MAX as usize] = [0; BALLAST_MAX as usize];
    let mut segments = vec![Bytes::copy_from_slice(text.as_bytes()), Bytes::copy_from_slice(&execution.to_le_bytes())];
    if ballast > 0 {
        segments.push(Bytes::from_static(&ZEROS[..ballast.min(BALLAST_MAX) as usize]));
    }
    Value::from_segments(segments)
}

/// The text of a value, or of the values of several parts of a chunk, one after the other.
pub(crate) fn text(value: &Value) -> String {
    let segments: Vec<&[u8]> = value.segments().collect();
    let texts = segments.chunks(2).enumerate().filter(|(n, part)| *n == 0 || part.len() == 2);
    let text = texts.flat_map(|(_, part)| part.first().copied().unwrap_or_default()).copied().collect();
    String::from_utf8(text).expect("texts are UTF-8")
}

/// Which executions made a value, one for each part; none made those that a client gave.
pub(crate) fn makers(value: &Value) -> Vec<u64> {
    let segments: Vec<&[u8]> = value.segments().collect();
    let makers = segments.chunks_exact(2).map(|part| part[1]);
    makers.map(|maker| u64::from_le_bytes(maker.try_into().expect("an execution is eight bytes"))).collect()
}

/// Before each item of a chunk's value.
const ITEM: char = '\u{1f}';

/// The value of a chunk: the texts of its items.
pub(crate) fn chunk_text(items: &[String]) -> String {
    items.iter().map(|item| format!("{ITEM}{item}")).collect()
}

/// What one call returns: it depends on the call and its inputs alone.
pub(crate) fn result_text(tag: u32, inputs: &[String]) -> String {
    if inputs.is_empty() {
        return format!("v{tag};");
    }
    let hash = inputs
        .iter()
        .flat_map(|input| input.bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("v{tag}({hash:016x});")
}

/// What a failing call raises.
pub(crate) fn error_text(tag: u32) -> String {
    format!("E{tag};")
}

/// What an item comes to that has killed as many executors as it may.
pub(crate) fn crash_text(tag: u32) -> String {
    format!("X{tag};")
}

/// What a combine makes of a piece that failed, and of what that was given.
pub(crate) fn failure_text(failure: &Outcome, given: &[Script]) -> String {
    let text = match failure {
        Outcome::Raised(error) => text(error),
        Outcome::Failed(_) => "failed".to_string(),
        Outcome::Value(_) | Outcome::Skipped | Outcome::Cancelled => panic!("no failure of a piece: {failure:?}"),
    };
    format!("!{text}{}", given_text(given))
}

/// The scripts that are meant among those in a start's arguments.
pub(crate) fn scripts_of(start: &Start) -> Vec<Script> {
    let span = start.call.span();
    if span.is_empty() { Vec::new() } else { scripts(&start.args)[span.first as usize..span.end as usize].to_vec() }
}

/// Which items of a failed chunk are meant.
pub(crate) fn place(value: &Value) -> std::ops::Range<usize> {
    let text = text(value);
    let (first, end) = text.split_once(' ').expect("two numbers");
    first.parse().expect("a number")..end.parse().expect("a number")
}

/// What a combine says of what a failed piece was given.
pub(crate) fn given_text(given: &[Script]) -> String {
    given.iter().map(|script| format!("@{}", script.tag)).collect()
}

/// The texts of the items of a chunk.
pub(crate) fn item_texts(value: &Value) -> Vec<String> {
    text(value).split(ITEM).skip(1).map(str::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_survive_their_journey() {
        let scripts_there = [
            Script { tag: 7, behaviour: Behaviour::Crash(ALWAYS), micros: 10, ballast: 0 },
            Script { tag: 8, behaviour: Behaviour::Raise(2), micros: 0, ballast: 9 },
        ];
        assert_eq!(scripts(&arguments(&scripts_there)), scripts_there);
        let join = Function::Join { crashes: 2, micros: 5 };
        assert_eq!(Function::of(&join.body()), join);
        assert_eq!((text(&value("a", 3, 5)), makers(&value("a", 3, 0))), ("a".to_string(), vec![3]));
    }
}
