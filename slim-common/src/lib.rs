//! The wire contract between slim's kernel programs and its host agent.
//!
//! Both sides compile this crate, so there is one definition of every byte that crosses the border. Fixed-width
//! integers in native byte order only (both sides run on one machine), no `bool`, `enum` or `Option`, explicit
//! padding, and sizes asserted at compile time. It holds no logic that needs an operating system.
#![no_std]

pub mod config;
pub mod counters;
pub mod event;
pub mod familiar;
pub mod limits;
pub mod scope;
pub mod sweep;
pub mod syscalls;
