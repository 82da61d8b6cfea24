//! What dynamic loaders write when they miss something: it names the library even where nothing traced the search.

use crate::path::quote;

/// Lines that are looked at.
const MAX_LINES: usize = 20_000;
/// Bytes of a line that are kept.
const MAX_LINE: usize = 400;

/// Words of loaders alone: glibc's (`elf/dl-load.c`, `elf/dl-error-skeleton.c`), and musl's (`ldso/dynlink.c`).
const COMPLAINTS: [&[u8]; 4] = [
    b"error while loading shared libraries: ",
    b": cannot open shared object file: ",
    b"symbol lookup error: ",
    b"Error loading shared library ",
];

/// The lines of `log` in which a dynamic loader complains (quoted), each once, in order.
#[must_use]
pub fn loader_errors(log: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for line in log.split(|&byte| byte == b'\n').take(MAX_LINES) {
        let complains = |words: &&[u8]| line.windows(words.len()).any(|window| window == *words);
        if COMPLAINTS.iter().any(complains) {
            let line = quote(line.get(..MAX_LINE).unwrap_or(line));
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loaders_are_heard_and_nobody_else() {
        let log = b"starting\n/x: error while loading shared libraries: libz.so.1: cannot open shared object file: \
                    No such file\nopen a: No such file or directory\nError loading shared library libc.so: x\n\
                    Error loading shared library libc.so: x\n";
        let lines = loader_errors(log);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("/x: error while loading") && lines[1].starts_with("Error loading"));
        assert_eq!(loader_errors(b""), [""; 0]);
    }
}
