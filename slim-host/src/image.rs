//! The image configuration, and writing the slim image.
//!
//! Invariants: the source configuration is carried as raw JSON, so fields that we do not know survive; the
//! output is a pure function of source image, keep set and labels.

pub mod config;
mod name;

pub use config::ImageConfig;
pub use name::{ImageName, ImageNameError};
