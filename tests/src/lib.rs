//! Fixtures of the end-to-end tests: a real engine, real containers, the built `slim` binary.
//!
//! - [`Engine`] finds a container engine; [`Container`] and [`Image`] remove what they stand for when
//!   they are dropped. Every name they make begins with `slim-e2e-`.
//! - [`Ground`] is what nearly every test stands on: engine, test image, binary, directory.
//! - [`Slim`] runs the binary under a deadline and keeps what it said; [`Started`] is a run that a test
//!   talks to meanwhile. [`Scratch`] is a directory for its files.
//! - [`oracle`] is what else tells which files a container used: strace, fanotify, the dentry sweep.
//! - [`workload`] is the table of test images: how each is driven, and what must come out. It is
//!   proven on the source images first; only then may it judge a slim one.
//! - [`exercise`] takes the exercises of tests/exercises without slim; [`mutation`] removes files of slim images and asks
//!   whether `slim verify` finds that out.
//!
//! A test that cannot run here says why and passes, but fails where `CI` is set: see [`require!`].
//! Nothing waits for a fixed time; whatever must be awaited is asked for until a deadline.
#![expect(
    clippy::print_stderr,
    reason = "a fixture that cannot clean up must say so, and has no caller to tell"
)]

mod browser;
mod client;
mod container;
mod containerd;
pub mod crafted;
mod deadline;
mod engine;
pub mod exercise;
mod ground;
mod image;
pub mod kernel;
pub mod mutation;
pub mod oracle;
mod podman;
mod recipe;
mod scratch;
mod slim;
mod started;
mod tree;
pub mod workload;

pub use crate::browser::Browser;
pub use crate::client::http;
pub use crate::container::Container;
pub use crate::containerd::Containerd;
pub use crate::deadline::Deadline;
pub use crate::engine::Engine;
pub use crate::ground::{Ground, complete, found, mentions};
pub use crate::image::{Entries, Entry, Image, flattened};
pub use crate::podman::Podman;
pub use crate::recipe::Recipe;
pub use crate::scratch::Scratch;
pub use crate::slim::{Run, Slim};
pub use crate::started::Started;
pub use crate::tree::{Node, Tree, comparable};

/// What keeps a test from running on this machine, as a sentence for the developer.
#[derive(Debug)]
pub struct Missing(pub String);

/// Unwraps what a test needs, or ends the test with the reason why it cannot run here. The test
/// returns [`anyhow::Result`].
///
/// Under `CI` a missing requirement fails the test: a suite that skips silently proves nothing.
#[macro_export]
macro_rules! require {
    ($needed:expr) => {
        match $needed {
            Ok(found) => found,
            Err($crate::Missing(why)) => {
                assert!(std::env::var_os("CI").is_none(), "cannot run, and CI runs everything: {why}");
                eprintln!("skipped: {why}");
                return Ok(());
            }
        }
    };
}
