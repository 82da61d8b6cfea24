//! `slim explain`: why a path stays, or why it does not.

use std::{os::unix::ffi::OsStrExt as _, path::Path};

use super::{
    CommandError, Context,
    build::{Choices, Subject},
    side, source, state,
};
use crate::{
    capture::{self, Capture},
    cli::ExplainArgs,
    engine::{Engine, EngineError, SourceImage},
    image::LABEL_PREFIX,
    keep::{
        Explanation, Level, RuleSpec, Rules, explain,
        explain::{Higher, Owner},
    },
    output::Page,
    package_data::PackageDataMode,
    packages::Packages,
    path::{RequestedPath, quote},
};

/// Runs the command.
///
/// # Errors
/// When the subject is no capture, its image is not in the engine, or the path is not absolute.
pub(super) async fn execute(context: &Context, args: &ExplainArgs) -> Result<(), CommandError> {
    let path = RequestedPath::new(args.path.as_bytes())?;
    let engine = Engine::connect(context.host.as_deref()).await?;
    let (capture, choices) = subject(&engine, args).await?;
    let image = side::image_of(&engine, &capture, Path::new(&args.subject)).await?;
    let files = source::open(&engine, &image, None, &context.output).await?;
    let packages = Packages::read(files.tree(), &files)?;
    let subject = Subject { image: &image, files: &files, packages: &packages, capture: &capture };
    let Choices { rules, package_data } = choices;
    let plan = |rules: &Rules| subject.plan(rules, package_data).map(|plan| plan.keep);
    let explanation = explain(&plan(&rules)?, files.tree(), &capture.accesses, &path);
    let explanation = match explanation.dropped() {
        Some(path) => {
            let mut higher = None;
            let levels = Level::ALL.into_iter().filter(|level| *level > rules.spec().level);
            for level in levels {
                let keep = plan(&rules.at(level))?;
                higher = Higher::new(level, &keep, &path);
                if higher.is_some() {
                    break;
                }
            }
            let owner = Owner::of(&packages, &path);
            Explanation::Unused { path, owner, higher }
        }
        None => explanation,
    };
    context.present("explain", &explanation, |explanation| Page::of_text(explanation))
}

/// What is asked about: a capture file, or the capture and the rules that a slim image was built from.
async fn subject(engine: &Engine, args: &ExplainArgs) -> Result<(Capture, Choices), CommandError> {
    let file = Path::new(&args.subject);
    if file.is_file() {
        let spec = RuleSpec { level: args.level, ..RuleSpec::default() };
        let choices = Choices { rules: Rules::compile(spec)?, package_data: PackageDataMode::default() };
        return Ok((capture::read(file)?, choices));
    }
    let name = args.subject.to_string_lossy();
    let image = match engine.image(&name).await {
        Err(EngineError::UnknownImage { .. }) => {
            return Err(CommandError::NoSubject(quote(name.as_bytes())));
        }
        found => found?,
    };
    let Some(digest) = label(&image, "capture.digest") else {
        return Err(CommandError::NotSlim(quote(name.as_bytes())));
    };
    let capture = state::find(digest)?.ok_or_else(|| CommandError::NoCapture(quote(name.as_bytes())))?;
    Ok((capture, choices_of(&image)?))
}

/// What a label of ours says; anybody may have written it.
pub(super) fn label<'i>(image: &'i SourceImage, key: &str) -> Option<&'i str> {
    let labels = image.config.json().pointer("/config/Labels")?;
    labels.get(format!("{LABEL_PREFIX}{key}"))?.as_str()
}

/// What a slim image was built by, as its labels say.
///
/// # Errors
/// When they hold rules that are none.
pub(super) fn choices_of(image: &SourceImage) -> Result<Choices, CommandError> {
    let patterns = |key| -> Vec<String> {
        // Labels can be changed by anybody; what is no list of patterns is none.
        label(image, key).and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default()
    };
    let more: RuleSpec =
        label(image, "rules.more").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let spec = RuleSpec {
        // Images of older versions have no such label: they were built from evidence alone.
        level: label(image, "rules.level").and_then(Level::from_name).unwrap_or(Level::Strict),
        include: patterns("rules.include"),
        exclude: patterns("rules.exclude"),
        ..more
    };
    let rules = Rules::compile(spec)?;
    // Images of a slim that did not know the word have none of it.
    let package_data =
        label(image, "package-data").and_then(|mode| mode.parse().ok()).unwrap_or(PackageDataMode::Drop);
    Ok(Choices { rules, package_data })
}
