//! One line of strace: the call, its arguments and its result, and which of the arguments are paths.

use anyhow::{Context as _, Result, bail};

use super::Last;

/// A call that has returned.
#[derive(Debug)]
pub(super) struct Call {
    /// The process, in our numbering.
    pub(super) pid: u32,
    /// Name of the system call.
    pub(super) name: String,
    arguments: Vec<Vec<u8>>,
    result: Vec<u8>,
}

/// A path among the arguments.
#[derive(Debug)]
pub(super) struct Path {
    /// The directory that it is relative to; `None` for the working directory.
    pub(super) base: Option<Vec<u8>>,
    /// As it was given.
    pub(super) path: Vec<u8>,
    /// Whether the call follows a symlink at its end.
    pub(super) last: Last,
}

/// Where the path arguments of a call are: index of the directory's descriptor, if it takes one, and of the path.
type Places = &'static [(Option<usize>, usize)];

const FIRST: Places = &[(None, 0)];
const SECOND: Places = &[(None, 1)];
const BOTH: Places = &[(None, 0), (None, 1)];
const AT: Places = &[(Some(0), 1)];
const AT_SECOND: Places = &[(Some(1), 2)];
const AT_BOTH: Places = &[(Some(0), 1), (Some(2), 3)];

impl Call {
    /// Reads `name(arguments) = result`.
    pub(super) fn parse(pid: u32, text: &[u8]) -> Result<Self> {
        let open = text.iter().position(|&byte| byte == b'(').context("no arguments")?;
        let name = str::from_utf8(&text[..open])?.to_owned();
        let (arguments, rest) = arguments(&text[open + 1..])?;
        let result = rest.trim_ascii_start().strip_prefix(b"= ").context("no result")?.to_vec();
        Ok(Self { pid, name, arguments, result })
    }

    /// Whether it did what it was asked.
    pub(super) fn succeeded(&self) -> bool {
        self.result.first().is_some_and(u8::is_ascii_digit)
    }

    /// Whether it says nothing about the image: nothing is there, or the process ended in the call.
    pub(super) fn is_absent(&self) -> bool {
        self.result.starts_with(b"-1 ENOENT") || self.result.starts_with(b"?")
    }

    /// The process that it started.
    pub(super) fn child(&self) -> Option<u32> {
        if !matches!(self.name.as_str(), "clone" | "clone3" | "fork" | "vfork") || !self.succeeded() {
            return None;
        }
        let result = str::from_utf8(&self.result).ok()?;
        let translated = result.split_once("/* ").map_or(result, |(_, comment)| comment);
        translated.split_whitespace().next()?.parse().ok()
    }

    /// The working directory as far as the call tells it.
    pub(super) fn working_directory(&self) -> Option<Vec<u8>> {
        if self.name == "fchdir" && self.succeeded() {
            return annotation(self.arguments.first()?);
        }
        self.arguments.iter().find(|argument| argument.starts_with(b"AT_FDCWD<")).and_then(|a| annotation(a))
    }

    /// The path of the object that was opened.
    pub(super) fn returned_object(&self) -> Option<Vec<u8>> {
        annotation(&self.result).filter(|path| self.succeeded() && path.starts_with(b"/"))
    }

    fn says(&self, flag: &str) -> bool {
        self.arguments.iter().filter(|argument| !argument.starts_with(b"\"")).any(|argument| {
            argument
                .split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
                .any(|word| word == flag.as_bytes())
        })
    }
}

/// The paths among the arguments of `call`.
///
/// # Errors
/// When the call is not known: what nobody reads, nobody would miss.
pub(super) fn paths(call: &Call) -> Result<Vec<Path>> {
    let (places, last) = match call.name.as_str() {
        "clone" | "clone3" | "fork" | "vfork" | "getcwd" | "fchdir" => return Ok(Vec::new()),
        "open" | "creat" | "stat" | "access" | "chdir" | "statfs" | "truncate" | "execve" | "chmod"
        | "chown" | "utime" | "utimes" | "getxattr" | "setxattr" | "listxattr" | "removexattr" | "chroot" => {
            (FIRST, Last::Follow)
        }
        "lstat" | "readlink" | "mkdir" | "rmdir" | "unlink" | "mknod" | "lchown" | "lgetxattr"
        | "lsetxattr" | "llistxattr" | "lremovexattr" => (FIRST, Last::NoFollow),
        "inotify_add_watch" => (SECOND, Last::Follow),
        "symlink" => (SECOND, Last::NoFollow),
        "rename" | "link" => (BOTH, Last::NoFollow),
        "openat" | "openat2" | "newfstatat" | "statx" | "faccessat" | "faccessat2" | "fchmodat"
        | "fchmodat2" | "fchownat" | "utimensat" | "futimesat" | "execveat" => (AT, Last::Follow),
        "readlinkat" | "mkdirat" | "unlinkat" | "mknodat" => (AT, Last::NoFollow),
        "symlinkat" => (AT_SECOND, Last::NoFollow),
        "renameat" | "renameat2" | "linkat" => (AT_BOTH, Last::NoFollow),
        name => bail!("it is not known which arguments of {name} are paths: add it to the table"),
    };
    let no_follow = call.says("AT_SYMLINK_NOFOLLOW") || call.says("O_NOFOLLOW");
    let last = if no_follow { Last::NoFollow } else { last };
    let argument = |at: usize| call.arguments.get(at).with_context(|| format!("no argument {at}: {call:?}"));
    let path = |&(base, path): &(Option<usize>, usize)| {
        // `utimensat(fd, NULL, ...)` means the descriptor.
        let path = match argument(path)?.as_slice() {
            b"NULL" => Vec::new(),
            quoted => unquoted(quoted).with_context(|| format!("not a path: {call:?}"))?,
        };
        let base = base.map(argument).transpose()?.and_then(|base| annotation(base));
        Ok(Path { base, path, last })
    };
    places.iter().map(path).collect()
}

/// Splits at commas outside of strings, brackets and annotations; returns what follows the closing parenthesis, too.
fn arguments(text: &[u8]) -> Result<(Vec<Vec<u8>>, &[u8])> {
    let (mut arguments, mut current, mut depth, mut at) = (Vec::new(), Vec::new(), 0_u32, 0);
    while let Some(&byte) = text.get(at) {
        let length = match byte {
            b'"' => quoted_length(&text[at..]).context("a string without an end")?,
            // An annotation: `3</path>` or `AT_FDCWD</path>`. A `>` in it is escaped.
            b'<' if current.last().is_some_and(u8::is_ascii_alphanumeric) => {
                text[at..].iter().position(|&byte| byte == b'>').context("an annotation without an end")? + 1
            }
            b')' if depth == 0 => {
                if !current.is_empty() || !arguments.is_empty() {
                    arguments.push(current);
                }
                return Ok((arguments, &text[at + 1..]));
            }
            b'(' | b'[' | b'{' => {
                depth += 1;
                1
            }
            b')' | b']' | b'}' => {
                depth = depth.checked_sub(1).context("a bracket without a beginning")?;
                1
            }
            b',' if depth == 0 => {
                arguments.push(std::mem::take(&mut current));
                at += 1;
                continue;
            }
            b' ' if current.is_empty() => {
                at += 1;
                continue;
            }
            _other => 1,
        };
        current.extend_from_slice(&text[at..at + length]);
        at += length;
    }
    bail!("no closing parenthesis")
}

/// Length of the string at the start of `text`, both quotes included.
fn quoted_length(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _other => at += 1,
        }
    }
}

/// What a descriptor stands for: between `<` and `>`.
fn annotation(text: &[u8]) -> Option<Vec<u8>> {
    let begin = text.iter().position(|&byte| byte == b'<')?;
    let length = text[begin..].iter().position(|&byte| byte == b'>')?;
    unescaped(&text[begin + 1..begin + length])
}

fn unquoted(text: &[u8]) -> Option<Vec<u8>> {
    unescaped(text.strip_prefix(b"\"")?.strip_suffix(b"\"")?)
}

/// Undoes the escapes of C.
fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let (mut bytes, mut at) = (Vec::new(), 0);
    while let Some(&byte) = text.get(at) {
        at += 1;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let escape = *text.get(at)?;
        at += 1;
        bytes.push(match escape {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'v' => 0x0b,
            b'f' => 0x0c,
            b'0'..=b'7' => {
                let digits =
                    text[at - 1..].iter().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
                let octal = str::from_utf8(&text[at - 1..at - 1 + digits]).ok()?;
                at += digits - 1;
                u8::from_str_radix(octal, 8).ok()?
            }
            other => other,
        });
    }
    Some(bytes)
}
