//! `slim` watches a container from the host with eBPF and builds an image of only the files it uses.
//!
//! The parts, in the order in which data moves through them (ARCHITECTURE.md draws the picture):
//! [`tracer`] turns kernel facts into accesses, [`capture`] stores them, [`rootfs`] reads the source
//! image, [`packages`] tells which package owns what in it, [`keep`] decides which paths stay and why, [`image`] writes the slim image, [`engine`] talks to
//! the container engine, [`report`] tells people, [`settings`] says what need not be typed. [`commands`] alone knows several parts at once.

pub mod capture;
pub mod cli;
pub mod commands;
pub mod doctor;
pub mod engine;
pub mod exercise;
pub mod exit;
pub mod image;
pub mod keep;
mod memory;
mod mountinfo;
pub mod output;
pub mod package_data;
pub mod packages;
pub mod path;
pub mod report;
pub mod rootfs;
pub mod sbom;
pub mod settings;
pub mod tracer;
pub mod verify;
