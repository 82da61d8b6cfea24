//! Values of options that are more than a word.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;

use crate::{path::quote, tracer::Choice};

/// A command of `--exec`, split into words as a shell would, with nothing expanded.
///
/// No shell runs it: a shell that the user did not ask for would be traced, and kept in the slim image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecCommand {
    /// The words; never empty.
    pub words: Vec<String>,
}

/// What `--source` listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum SourceArg {
    /// The file system layer where the kernel allows it, else system calls
    #[default]
    Auto,
    /// System calls: works everywhere, costs every process of the host a little
    Syscalls,
    /// The kernel's file system layer: objects, however they are reached
    Vfs,
    /// Both: also names that were looked for and absent
    Both,
}

impl From<SourceArg> for Choice {
    fn from(source: SourceArg) -> Self {
        match source {
            SourceArg::Auto => Self::Auto,
            SourceArg::Syscalls => Self::Syscalls,
            SourceArg::Vfs => Self::Vfs,
            SourceArg::Both => Self::Both,
        }
    }
}

/// Why a command line cannot be split.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum WordsError {
    /// No word at all.
    #[error("the command is empty")]
    Empty,
    /// It begins like a JSON list and is none.
    #[error("{0} is no JSON list of words")]
    NotAList(String),
    /// A quotation mark has no partner, or a backslash is last.
    #[error("a quotation mark in {0} is not closed")]
    Unclosed(String),
}

impl FromStr for ExecCommand {
    type Err = WordsError;

    fn from_str(text: &str) -> Result<Self, WordsError> {
        let words = split_words(text)?;
        if words.is_empty() { Err(WordsError::Empty) } else { Ok(Self { words }) }
    }
}

/// A command of the image's configuration: words, or a JSON list of them, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandEdit {
    /// The words; empty for no command.
    pub words: Vec<String>,
}

impl FromStr for CommandEdit {
    type Err = WordsError;

    fn from_str(text: &str) -> Result<Self, WordsError> {
        if text.trim_start().starts_with('[') {
            let words =
                serde_json::from_str(text).map_err(|_| WordsError::NotAList(quote(text.as_bytes())))?;
            return Ok(Self { words });
        }
        Ok(Self { words: split_words(text)? })
    }
}

/// POSIX quoting: '...' keeps everything, "..." keeps all but \" \\ \$ \` and \newline, \x keeps x.
fn split_words(text: &str) -> Result<Vec<String>, WordsError> {
    let unclosed = || WordsError::Unclosed(quote(text.as_bytes()));
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or_else(unclosed)? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or_else(unclosed)? {
                        '"' => break,
                        '\\' => match chars.next().ok_or_else(unclosed)? {
                            '\n' => {}
                            c @ ('"' | '\\' | '$' | '`') => word.push(c),
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            '\\' => match chars.next().ok_or_else(unclosed)? {
                '\n' => {}
                c => word.get_or_insert_default().push(c),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// What `--ignore` excuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ignored {
    /// Names of this pattern.
    Names(String),
    /// Lines of the log with this text.
    Log(String),
    /// The body of the step of this name.
    Body(String),
}

impl FromStr for Ignored {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            _ if text.starts_with('/') => Ok(Self::Names(text.to_owned())),
            Some(("log", part)) if !part.is_empty() => Ok(Self::Log(part.to_owned())),
            Some(("body", step)) if !step.is_empty() => Ok(Self::Body(step.to_owned())),
            Some(_) | None => Err("write /a/glob, log:TEXT or body:STEP".to_owned()),
        }
    }
}

/// `30s`, `5m`, `1h 30m`; never zero.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("a duration of nothing records nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write 30s, 5m or 1h30m")),
    }
}

/// An address and a port that only this machine reaches.
pub(super) fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "write 127.0.0.1:9180 or [::1]:9180".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("not a loopback address: others would learn what is in your images; write 127.0.0.1:9180"
            .to_owned())
    }
}

/// What ends a trace by itself, as `--until` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// All of the containers have ended.
    Exit,
    /// No new file was used for this long.
    Idle(Duration),
    /// This time is over.
    Time(Duration),
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "exit" => Ok(Self::Exit),
            None if text == "idle" => Err("how long without a new file? write idle:30s".to_owned()),
            None => duration(text)
                .map(Self::Time)
                .map_err(|_| "write exit, idle:30s, or a duration such as 10m".to_owned()),
            Some(("idle", time)) => duration(time).map(Self::Idle),
            Some(_) => Err("write exit, idle:30s, or a duration such as 10m".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_like_a_shell_without_expansion() {
        for (text, words) in [
            ("nginx -t", &["nginx", "-t"][..]),
            ("  a\t b\n", &["a", "b"]),
            ("sh -c 'echo $HOME; ls *'", &["sh", "-c", "echo $HOME; ls *"]),
            (r#"a "b \"c\" \d $x" e\ f"#, &["a", r#"b "c" \d $x"#, "e f"]),
            ("a ''", &["a", ""]),
            ("a'b'\"c\"d", &["abcd"]),
            ("a \\\n b", &["a", "b"]),
        ] {
            assert_eq!(text.parse::<ExecCommand>().unwrap().words, words, "{text}");
        }
        for bad in ["'a", "\"a", "a\\", "\"a\\"] {
            assert!(matches!(bad.parse::<ExecCommand>(), Err(WordsError::Unclosed(_))), "{bad}");
        }
        assert_eq!(" ".parse::<ExecCommand>(), Err(WordsError::Empty));
    }

    #[test]
    fn durations() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        for bad in ["", "5", "0s", "-1s", "forever"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn excuses() {
        for (text, ignored) in [
            ("/a:b/**", Ignored::Names("/a:b/**".into())),
            ("log:a: b", Ignored::Log("a: b".into())),
            ("body:GET /", Ignored::Body("GET /".into())),
        ] {
            assert_eq!(text.parse(), Ok(ignored));
        }
        for bad in ["", "log:", "body:", "etc", "x:y"] {
            assert!(bad.parse::<Ignored>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ends() {
        let time = Duration::from_secs;
        for (text, until) in
            [("exit", Until::Exit), ("idle:30s", Until::Idle(time(30))), ("10m", Until::Time(time(600)))]
        {
            assert_eq!(text.parse(), Ok(until));
        }
        for bad in ["", "idle", "idle:", "idle:0s", "idle:soon", "never", "exit:3s", "0s", ":"] {
            assert!(bad.parse::<Until>().is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn quoting_a_word_keeps_it(word in "[ -~é]{0,20}") {
            let quoted = format!("x '{}'", word.replace('\'', r"'\''"));
            proptest::prop_assert_eq!(quoted.parse::<ExecCommand>().unwrap().words, ["x".to_owned(), word]);
        }
    }
}
