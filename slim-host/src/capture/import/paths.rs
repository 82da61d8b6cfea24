//! A list of paths: one a line, or separated by NUL when the file holds one.
//!
//! In lines, `#` begins a comment and a carriage return at the end is none of the path. Whether a name with `*`, `?`, `[` or `{` is a
//! pattern or a file that is called so, the image decides ([`Pattern`]).

use super::{
    AccessKind, Cause, Imported, Input, Outcome, Pattern, Verdict, lines, requested, unknown_process,
};

pub(super) fn read(input: Input<'_>, found: &mut Imported) {
    let is_nul = input.bytes.contains(&0);
    for place in lines::separated(input, if is_nul { 0 } else { b'\n' }) {
        let text = if is_nul { place.text } else { place.text.strip_suffix(b"\r").unwrap_or(place.text) };
        let comment = !is_nul && (text.starts_with(b"#") || text.trim_ascii().is_empty());
        let verdict = if comment || text.is_empty() {
            Verdict::Passed
        } else if let Some(path) = requested(text) {
            match Pattern::new(input.name, place.line, text) {
                Some(pattern) => found.patterns.push(pattern),
                None => found.access(path, AccessKind::Open, Outcome::Found, unknown_process()),
            }
            Verdict::Used
        } else if text.starts_with(b"/") {
            Verdict::Lost(Cause::ImportUnparsed)
        } else {
            Verdict::Lost(Cause::ImportUnresolved)
        };
        found.count(place, verdict);
    }
}
