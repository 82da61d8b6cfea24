//! `slim info`.

use clap::Args;

const LONG_ABOUT: &str = "\
Tell what an image is made of.

Its configuration; its layers, with what each added, replaced and removed and how
many bytes of it upper layers hide; packages; files with the rights of others;
exposed ports. Nothing runs, and nothing is written.";

/// Arguments of `slim info`.
#[derive(Debug, Clone, Args)]
#[command(long_about = LONG_ABOUT)]
pub struct InfoArgs {
    /// An image in the engine
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// Write a Dockerfile read back from the image instead
    ///
    /// What an image does not tell (base images, sources of COPY) stands as such in it. --format json has it as well,
    /// beside everything else.
    #[arg(long)]
    pub dockerfile: bool,
}
