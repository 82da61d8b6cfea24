//! An image, or what a capture leads to, as files and packages.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    path::Path,
};

use super::{
    CommandError, Context,
    build::{Choices, Subject},
    source,
};
use crate::{
    capture::{self, Capture},
    engine::{Engine, EngineError, SourceImage},
    keep::{KeepSet, Level, RuleSpec, Rules},
    package_data::PackageDataMode,
    packages::Packages,
    path::{ImagePath, quote},
    rootfs::{Inode, InodeId, SourceFiles},
};

/// Files and packages of one subject.
pub(super) struct Side {
    /// How it was named (harmless text).
    pub name: String,
    /// The source image's files.
    pub files: SourceFiles,
    /// Its packages.
    pub packages: Packages,
    /// The paths that count, with their reasons; `None`: all.
    pub kept: Option<KeepSet>,
    /// The layers of the source image.
    pub diff_ids: Vec<String>,
}

impl Side {
    /// Opens a capture file or, when there is none of the name, an image.
    ///
    /// # Errors
    /// When neither exists, or its files cannot be read.
    pub(super) async fn open(context: &Context, subject: &OsStr, level: Level) -> Result<Self, CommandError> {
        let engine = Engine::connect(context.host.as_deref()).await?;
        let name = quote(subject.as_encoded_bytes());
        let file = Path::new(subject);
        let (image, capture) = if file.is_file() {
            let capture = capture::read(file)?;
            (image_of(&engine, &capture, file).await?, Some(capture))
        } else {
            match engine.image(&subject.to_string_lossy()).await {
                Err(EngineError::UnknownImage { .. }) => return Err(CommandError::NoSubject(name)),
                found => (found?, None),
            }
        };
        let files = source::open(&engine, &image, None, &context.output).await?;
        let packages = Packages::read(files.tree(), &files)?;
        let kept = match capture {
            None => None,
            Some(capture) => {
                let spec = RuleSpec { level, ..RuleSpec::default() };
                let choices =
                    Choices { rules: Rules::compile(spec)?, package_data: PackageDataMode::default() };
                let subject =
                    Subject { image: &image, files: &files, packages: &packages, capture: &capture };
                let plan = subject.plan(&choices.rules, choices.package_data)?;
                Some(plan.keep)
            }
        };
        Ok(Self { name, files, packages, kept, diff_ids: image.diff_ids })
    }

    /// Whether a path counts.
    pub(super) fn has(&self, path: &ImagePath) -> bool {
        self.kept.as_ref().is_none_or(|kept| kept.contains(path))
    }

    /// The paths that count, with what they are.
    pub(super) fn entries(&self) -> BTreeMap<&ImagePath, (InodeId, &Inode)> {
        let all = self.files.tree().iter().filter(|(path, ..)| self.has(path));
        all.map(|(path, id, inode)| (path, (id, inode))).collect()
    }

    /// Bytes of content of `paths`, each file once however many names it has.
    pub(super) fn bytes<'p>(&self, paths: impl IntoIterator<Item = &'p ImagePath>) -> u64 {
        let ids: BTreeSet<InodeId> =
            paths.into_iter().filter_map(|path| self.files.tree().id(path)).collect();
        ids.into_iter().fold(0, |sum: u64, id| sum.saturating_add(self.files.tree().inode(id).size))
    }
}

/// The image of which `capture` is, in the engine.
pub(super) async fn image_of(
    engine: &Engine,
    capture: &Capture,
    file: &Path,
) -> Result<SourceImage, CommandError> {
    let identity = &capture.header.image;
    if identity.fingerprint().is_some() || identity.is_unknown() {
        return Err(CommandError::NamesNoImage(file.to_owned()));
    }
    let image = match engine.image(&identity.id).await {
        // The id differs between image stores; the name may lead to the same layers.
        Err(EngineError::UnknownImage { .. }) => engine.image(&identity.reference).await?,
        found => found?,
    };
    if image.diff_ids != identity.diff_ids {
        return Err(CommandError::OtherImage {
            file: file.to_owned(),
            captured: quote(identity.reference.as_bytes()),
            image: quote(image.id.as_bytes()),
        });
    }
    Ok(image)
}
