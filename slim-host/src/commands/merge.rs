//! `slim merge`: captures of one image, or of builds of it, in one file.

use std::collections::BTreeSet;

use super::{CommandError, Context, side, source};
use crate::{
    capture::{self, AccessKey, Capture, Existing, Outcome as Ended, merge},
    cli::MergeArgs,
    engine::Engine,
    path::{ImagePath, quote},
    report::captures_report::{self, MergeReport},
    rootfs::{FileTree, LastLink, Outcome, resolve},
};

/// Runs the command.
///
/// # Errors
/// When a capture cannot be read, they are of different images (without `--across`), or the file exists.
pub(super) async fn execute(context: &Context, args: &MergeArgs) -> Result<(), CommandError> {
    if args.output.symlink_metadata().is_ok() {
        return Err(CommandError::CaptureExists(args.output.clone()));
    }
    let read = args.captures.iter().map(|file| capture::read(file));
    let captures = read.collect::<Result<Vec<Capture>, _>>()?;
    let (union, gone) = match &args.across {
        None => (merge(captures)?.to_capture(), Vec::new()),
        Some(image) => across(context, args, captures, image).await?,
    };
    capture::store::write(&args.output, &union, Existing::Refuse)?;
    let report = MergeReport::new(&union, args.captures.len(), gone, &args.output);
    context.present("merge", &report, captures_report::merge)
}

/// The union as a capture of `image`, and what of the images that the captures are of does not exist there.
async fn across(
    context: &Context,
    args: &MergeArgs,
    mut captures: Vec<Capture>,
    image: &str,
) -> Result<(Capture, Vec<ImagePath>), CommandError> {
    let engine = Engine::connect(context.host.as_deref()).await?;
    let target = engine.image(image).await?;
    let files = source::open(&engine, &target, None, &context.output).await?;
    let mut gone = BTreeSet::new();
    let mut compared: Vec<Vec<String>> = Vec::new();
    for (capture, file) in captures.iter().zip(&args.captures) {
        let diff_ids = &capture.header.image.diff_ids;
        if *diff_ids == target.diff_ids || compared.contains(diff_ids) {
            continue;
        }
        // All captures of this image at once: reading its files takes longer than anything else.
        let of_image = captures.iter().filter(|other| other.header.image.diff_ids == *diff_ids);
        let keys: BTreeSet<&AccessKey> = of_image.flat_map(|capture| capture.accesses.keys()).collect();
        let old = side::image_of(&engine, capture, file).await?;
        let old = source::open(&engine, &old, None, &context.output).await?;
        gone.extend(vanished(&keys, old.tree(), files.tree()));
        compared.push(diff_ids.clone());
    }
    for capture in &mut captures {
        let header = &mut capture.header;
        if header.image.diff_ids != target.diff_ids {
            let note = format!("recorded with another build, {}", quote(header.image.id.as_bytes()));
            let said = if header.fallback.is_empty() { "" } else { "; " };
            header.fallback = format!("{}{said}{note}", header.fallback);
        }
        header.image = target.identity();
    }
    Ok((merge(captures)?.to_capture(), gone.into_iter().collect()))
}

/// What accesses reached in `old` and do not reach in `new`.
fn vanished(keys: &BTreeSet<&AccessKey>, old: &FileTree, new: &FileTree) -> BTreeSet<ImagePath> {
    let found = keys.iter().filter(|key| key.outcome == Ended::Found);
    let vanished = found.filter_map(|key| {
        let reached = |tree| resolve(tree, &key.path, LastLink::Follow).outcome;
        match (reached(old), reached(new)) {
            (Outcome::Found(path), Outcome::Missing { .. } | Outcome::NotDirectory(_) | Outcome::Loop) => {
                Some(path)
            }
            (
                Outcome::Found(_) | Outcome::Missing { .. } | Outcome::NotDirectory(_) | Outcome::Loop,
                Outcome::Found(_) | Outcome::Missing { .. } | Outcome::NotDirectory(_) | Outcome::Loop,
            ) => None,
        }
    });
    vanished.collect()
}
