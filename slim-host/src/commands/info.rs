//! `slim info`: what an image is made of.

use super::{CommandError, Context, source};
use crate::{
    cli::InfoArgs,
    engine::Engine,
    output::Page,
    packages::Packages,
    report::image_report::{self, ImageFacts, ImageReport},
};

/// Runs the command.
///
/// # Errors
/// When the image is not in the engine, or cannot be read.
pub(super) async fn execute(context: &Context, args: &InfoArgs) -> Result<(), CommandError> {
    let engine = Engine::connect(context.host.as_deref()).await?;
    let image = engine.image(&args.image).await?;
    let (files, stack) = source::open_with_layers(&engine, &image, &context.output).await?;
    let packages = Packages::read(files.tree(), &files)?;
    let facts = ImageFacts {
        reference: &image.reference,
        id: &image.id,
        config_digest: &image.config_digest,
        platform: &image.platform,
        tags: &image.repo_tags,
        config: &image.config,
        tree: files.tree(),
        stack: &stack,
        packages: &packages,
    };
    let report = ImageReport::new(&facts);
    context.present("info", &report, |report| {
        if args.dockerfile { Page::of_text(&report.dockerfile) } else { image_report::page(report) }
    })
}
