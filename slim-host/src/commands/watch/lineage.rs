//! From a slim image to its source: by the labels that slim wrote, or by what the user says.

use std::{collections::HashSet, path::PathBuf};

use crate::{
    capture::{AccessKey, Outcome, Status},
    commands::{CommandError, state},
    engine::{Engine, EngineError, SourceImage},
    image::LABEL_PREFIX,
    path::quote,
};

/// `ENOENT`.
const ENOENT: i32 = rustix::io::Errno::NOENT.raw_os_error();

/// Where a slim image comes from.
pub(super) struct Lineage {
    /// The image that it was built from.
    pub(super) source: SourceImage,
    /// What was looked for in vain when the source image was traced; empty when its capture is not on this machine.
    pub(super) before: HashSet<AccessKey>,
    /// That capture.
    pub(super) capture: Option<PathBuf>,
    /// Whether that is whole; as if it were, when it is not on this machine.
    pub(super) status: Status,
    /// What people should know.
    pub(super) warnings: Vec<String>,
}

/// The lineage of `slim`; its source is `named`, or what its labels lead to.
///
/// # Errors
/// When the source cannot be told, or is not in the engine.
pub(super) async fn of(
    engine: &Engine,
    slim: &SourceImage,
    named: Option<&str>,
) -> Result<Lineage, CommandError> {
    let digest = label(slim, "source.digest");
    let mut warnings = Vec::new();
    let source = match (named, digest) {
        (Some(name), digest) => {
            let source = engine.image(name).await?;
            if digest.is_some_and(|digest| digest != source.config_digest) {
                warnings.push(format!(
                    "{} was built from another image than {}: what only that one has is not missed",
                    quote(slim.reference.as_bytes()),
                    quote(name.as_bytes())
                ));
            }
            source
        }
        (None, Some(digest)) => labelled(engine, slim, digest).await?,
        (None, None) => return Err(CommandError::NoLineage(quote(slim.reference.as_bytes()))),
    };
    let built_from = label(slim, "capture.digest").filter(|_| digest == Some(&source.config_digest));
    let capture = built_from.and_then(state::place);
    let (before, status) = match built_from.map(state::find) {
        Some(Ok(Some(capture))) => {
            let absent = |key: &AccessKey| key.outcome == Outcome::Failed(ENOENT);
            (capture.accesses.into_keys().filter(absent).collect(), capture.header.status)
        }
        Some(Err(error)) => {
            log::info!("the capture that the image was built from is of no use: {error}");
            (HashSet::new(), Status::Complete)
        }
        Some(Ok(None)) | None => (HashSet::new(), Status::Complete),
    };
    Ok(Lineage { source, before, capture, status, warnings })
}

/// The image with the configuration `digest`: by its name, or by its id, which that digest is with a graph driver.
async fn labelled(engine: &Engine, slim: &SourceImage, digest: &str) -> Result<SourceImage, CommandError> {
    let reference = label(slim, "source.reference").unwrap_or(digest);
    let mut moved = false;
    for name in [reference, digest] {
        match engine.image(name).await {
            Ok(mut image) if image.config_digest == digest => {
                reference.clone_into(&mut image.reference);
                return Ok(image);
            }
            Ok(_) => moved = true,
            // Labels are anybody's words.
            Err(EngineError::UnknownImage { .. } | EngineError::BadName { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(CommandError::SourceGone {
        image: quote(slim.reference.as_bytes()),
        source_image: quote(reference.as_bytes()),
        digest: quote(digest.as_bytes()),
        moved: if moved { " (that name is another image's now)" } else { "" },
    })
}

fn label<'i>(image: &'i SourceImage, name: &str) -> Option<&'i str> {
    image.config.json().pointer("/config/Labels")?.get(format!("{LABEL_PREFIX}{name}"))?.as_str()
}
