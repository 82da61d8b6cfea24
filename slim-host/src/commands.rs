//! One file a verb; the only callers of several parts.

pub mod doctor;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> crate::exit::Exit {
    crate::exit::Exit::Internal
}
