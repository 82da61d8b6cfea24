//! `slim report`: a page about a capture or an image.

use std::{collections::BTreeSet, io::IsTerminal as _, path::Path};

use super::{
    CommandError, Context,
    build::{Choices, Subject},
    explain::{choices_of, label},
    side, source, state,
};
use crate::{
    capture::{self, Capture},
    cli::{Format, ReportArgs},
    engine::{Engine, EngineError, SourceImage},
    image::{Existing, target},
    keep::{KeepSet, Level, RuleSpec, Rules},
    output::{Look, json_line, json_text, text::size},
    package_data::PackageDataMode,
    packages::Packages,
    path::{ImagePath, quote},
    report::{
        ImageName,
        json::Document,
        loss,
        overview::{Image, Overview, OverviewFacts, SlimSide, html, markdown},
    },
    rootfs::SourceFiles,
};

/// Runs the command.
///
/// # Errors
/// When the subject is neither, cannot be read, or the report has nowhere to go.
pub(super) async fn execute(context: &Context, args: &ReportArgs) -> Result<(), CommandError> {
    let existing = if args.force { Existing::Replace } else { Existing::Refuse };
    // Said before any work.
    match &args.output {
        Some(file) => target::check_file(file, existing).map_err(CommandError::ReportFile)?,
        None if is_page(context.format) && std::io::stdout().is_terminal() => {
            return Err(CommandError::PageToTerminal);
        }
        None => {}
    }
    let report = Gathered::of(context, args).await?.overview(&quote(args.subject.as_encoded_bytes()));
    let text = match context.format {
        Format::Text | Format::Html => html(&report)?,
        Format::Markdown => markdown(&report).render(Look::Plain),
        Format::Json => json_text(&Document::new("report", &report))?,
        Format::Jsonl => json_line(&Document::new("report", &report))?,
    };
    match &args.output {
        None => Ok(context.output.bytes(text.as_bytes())?),
        Some(file) => {
            target::write_file(file, text.as_bytes(), existing).map_err(CommandError::ReportFile)?;
            let name = quote(file.as_os_str().as_encoded_bytes());
            context.output.note(format!("wrote {name}, {}", size(text.len() as u64)));
            Ok(())
        }
    }
}

fn is_page(format: Format) -> bool {
    match format {
        Format::Text | Format::Html => true,
        Format::Json | Format::Jsonl | Format::Markdown => false,
    }
}

/// Everything that a report is a function of.
#[derive(Default)]
struct Gathered {
    /// The source image, or the only one.
    image: Option<Opened>,
    /// The slim image, when it is one of the engine.
    slim: Option<Opened>,
    /// What stays, when it is planned from a capture.
    plan: Option<Planned>,
    capture: Option<Capture>,
    warnings: Vec<String>,
}

/// An image with its files.
struct Opened {
    image: SourceImage,
    files: SourceFiles,
    packages: Packages,
}

struct Planned {
    level: Level,
    keep: KeepSet,
    higher: Vec<(Level, BTreeSet<ImagePath>)>,
}

impl Gathered {
    async fn of(context: &Context, args: &ReportArgs) -> Result<Self, CommandError> {
        let file = Path::new(&args.subject);
        if file.is_file() {
            let spec = RuleSpec { level: args.level, ..RuleSpec::default() };
            let choices = Choices { rules: Rules::compile(spec)?, package_data: PackageDataMode::default() };
            return Self::of_capture(context, file, &choices).await;
        }
        let engine = Engine::connect(context.host.as_deref()).await?;
        let image = match engine.image(&args.subject.to_string_lossy()).await {
            Err(EngineError::UnknownImage { .. }) => {
                return Err(CommandError::NoSubject(quote(args.subject.as_encoded_bytes())));
            }
            found => found?,
        };
        match label(&image, "capture.digest").map(str::to_owned) {
            None => {
                let image = Some(Opened::of(context, &engine, image).await?);
                Ok(Self { image, ..Self::default() })
            }
            Some(digest) => Self::of_slim(context, &engine, image, &digest).await,
        }
    }

    /// A capture, and what a build from it keeps, when its image is at hand.
    async fn of_capture(context: &Context, file: &Path, choices: &Choices) -> Result<Self, CommandError> {
        let capture = capture::read(file)?;
        let mut gathered = Self { warnings: losses(&capture), ..Self::default() };
        let identity = &capture.header.image;
        let found = if identity.fingerprint().is_some() || identity.is_unknown() {
            Err(CommandError::NamesNoImage(file.to_owned()))
        } else {
            let engine = Engine::connect(context.host.as_deref()).await?;
            side::image_of(&engine, &capture, file).await.map(|image| (engine, image))
        };
        match found {
            Ok((engine, image)) => {
                let opened = Opened::of(context, &engine, image).await?;
                gathered.plan(&opened, &capture, choices)?;
                gathered.image = Some(opened);
            }
            // The capture still tells who used what and when.
            Err(
                error @ (CommandError::NamesNoImage(_)
                | CommandError::OtherImage { .. }
                | CommandError::Engine(EngineError::UnknownImage { .. })),
            ) => {
                let warning = format!("the report has no sizes, packages and reasons: {error}");
                context.output.warning(&warning);
                gathered.warnings.push(warning);
            }
            Err(error) => return Err(error),
        }
        gathered.capture = Some(capture);
        Ok(gathered)
    }

    /// A slim image, with its source and the capture as far as they are at hand.
    async fn of_slim(
        context: &Context,
        engine: &Engine,
        slim: SourceImage,
        digest: &str,
    ) -> Result<Self, CommandError> {
        let mut gathered = Self { capture: state::find(digest)?, ..Self::default() };
        if let Some(capture) = &gathered.capture {
            gathered.warnings = losses(capture);
        }
        if gathered.capture.is_none() {
            let warning = "the report has no reasons and no times: the capture that the image was built from \
                is not on this machine; ask about the capture file for them";
            context.output.warning(warning);
            gathered.warnings.push(warning.to_owned());
        }
        let source = source_of(engine, &slim).await?;
        let choices = choices_of(&slim)?;
        let slim = Opened::of(context, engine, slim).await?;
        let Some(source) = source else {
            let name = label(&slim.image, "source.reference").unwrap_or_default();
            let warning = format!(
                "the source image {} is not in the engine, so nothing is compared",
                quote(name.as_bytes())
            );
            context.output.warning(&warning);
            gathered.warnings.push(warning);
            gathered.image = Some(slim);
            return Ok(gathered);
        };
        let source = Opened::of(context, engine, source).await?;
        if let Some(capture) = gathered.capture.take() {
            if capture.header.image.diff_ids == source.image.diff_ids {
                gathered.plan(&source, &capture, &choices)?;
            }
            gathered.capture = Some(capture);
        }
        (gathered.image, gathered.slim) = (Some(source), Some(slim));
        Ok(gathered)
    }

    fn plan(&mut self, opened: &Opened, capture: &Capture, choices: &Choices) -> Result<(), CommandError> {
        let Opened { image, files, packages } = opened;
        let subject = Subject { image, files, packages, capture };
        let plan = subject.plan(&choices.rules, choices.package_data)?;
        let level = choices.rules.spec().level;
        let mut higher = Vec::new();
        for above in Level::ALL.into_iter().filter(|above| *above > level) {
            let keep = subject.plan(&choices.rules.at(above), choices.package_data)?.keep;
            higher.push((above, paths(&keep)));
        }
        self.warnings.extend(plan.notes());
        self.plan = Some(Planned { level, keep: plan.keep, higher });
        Ok(())
    }

    fn overview(&self, subject: &str) -> Overview {
        let kept: Option<BTreeSet<ImagePath>> = match (&self.image, &self.slim, &self.plan) {
            (Some(source), Some(slim), _) => {
                let names = source.files.tree().iter().map(|(path, ..)| path);
                Some(names.filter(|path| slim.files.tree().get(path).is_some()).cloned().collect())
            }
            (Some(_), None, Some(plan)) => Some(paths(&plan.keep)),
            (_, _, _) => None,
        };
        let wanted = self.capture.as_ref().map(|capture| capture.header.image.reference.as_str());
        let wanted = wanted.or_else(|| label(&self.slim.as_ref()?.image, "source.reference"));
        let names = self.image.as_ref().map(|opened| opened.name(wanted));
        let image = self.image.as_ref().zip(names.as_ref()).map(|(opened, name)| {
            let image = Image { tree: opened.files.tree(), packages: &opened.packages, kept: kept.as_ref() };
            (name, image)
        });
        let slim_name = self.slim.as_ref().map(|slim| slim.name(None)).unwrap_or_default();
        let plan = self.plan.as_ref();
        let slim = kept.is_some().then(|| SlimSide {
            name: &slim_name,
            tree: self.slim.as_ref().map(|slim| slim.files.tree()),
            level: plan.map(|plan| plan.level),
            keep: plan.map(|plan| &plan.keep),
            higher: plan.map(|plan| plan.higher.as_slice()).unwrap_or_default(),
        });
        Overview::new(&OverviewFacts {
            subject,
            image,
            slim,
            capture: self.capture.as_ref(),
            warnings: &self.warnings,
        })
    }
}

impl Opened {
    async fn of(context: &Context, engine: &Engine, image: SourceImage) -> Result<Self, CommandError> {
        let files = source::open(engine, &image, None, &context.output).await?;
        let packages = Packages::read(files.tree(), &files)?;
        Ok(Self { image, files, packages })
    }

    /// Its name, harmless. An id by which it was asked for is no name; then it is the tag that the capture or the slim image
    /// calls it by, if it still has that.
    fn name(&self, wanted: Option<&str>) -> ImageName {
        let SourceImage { id, reference, repo_tags, .. } = &self.image;
        let tag = || wanted.and_then(|wanted| self.image.tag_of(wanted));
        let named = if id.contains(reference.as_str()) {
            tag().or_else(|| repo_tags.first().map(String::as_str))
        } else {
            Some(reference.as_str())
        };
        ImageName { reference: named.map(|name| quote(name.as_bytes())), id: Some(id.clone()) }
    }
}

fn paths(keep: &KeepSet) -> BTreeSet<ImagePath> {
    keep.iter().map(|(path, _)| path.clone()).collect()
}

/// The image of which this is the slim one, by the digest of its configuration; `None` when it is not in the engine.
async fn source_of(engine: &Engine, slim: &SourceImage) -> Result<Option<SourceImage>, CommandError> {
    let Some(digest) = label(slim, "source.digest") else { return Ok(None) };
    let names = [Some(digest), label(slim, "source.reference")];
    for name in names.into_iter().flatten() {
        match engine.image(name).await {
            Ok(image) if image.config_digest == digest => return Ok(Some(image)),
            // Labels are anybody's: a name that is none leads nowhere.
            Ok(_) | Err(EngineError::UnknownImage { .. } | EngineError::BadName { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// What a capture lacks, as remarks.
fn losses(capture: &Capture) -> Vec<String> {
    let mut texts = Vec::new();
    if !capture.is_complete() {
        let status = capture.header.status.name();
        texts.push(format!("the capture is {status}: what is told of as unused may have been used"));
    }
    let lines = loss::explain(&capture.header.loss).into_iter();
    texts.extend(lines.map(|line| {
        format!("{} times {}; {}", crate::output::text::count(line.count), line.meaning, line.remedy)
    }));
    let fallback = &capture.header.fallback;
    if !fallback.is_empty() {
        texts.push(format!(
            "listened to {}: {}",
            quote(capture.header.sources.as_bytes()),
            quote(fallback.as_bytes())
        ));
    }
    texts
}
