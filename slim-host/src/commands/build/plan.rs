//! Deciding what a slim image holds: which files stay, and what it says of packages.

use crate::{
    capture::Capture,
    commands::CommandError,
    engine::SourceImage,
    keep::{self, Inputs, KeepSet, Rules},
    package_data::{self, PackageData, PackageDataMode},
    packages::Packages,
    rootfs::SourceFiles,
};

/// What the user decides about files.
pub(in crate::commands) struct Choices {
    /// What stays beyond the evidence.
    pub(in crate::commands) rules: Rules,
    /// What becomes of package databases.
    pub(in crate::commands) package_data: PackageDataMode,
}

/// Everything that the decision is a function of, but for the choices.
#[derive(Clone, Copy)]
pub(in crate::commands) struct Subject<'a> {
    /// The source image.
    pub(in crate::commands) image: &'a SourceImage,
    /// Its files.
    pub(in crate::commands) files: &'a SourceFiles,
    /// Who owns them.
    pub(in crate::commands) packages: &'a Packages,
    /// What was used.
    pub(in crate::commands) capture: &'a Capture,
}

impl Subject<'_> {
    /// Which files stay, and what is said of packages.
    pub(in crate::commands) fn plan(
        &self,
        rules: &Rules,
        package_data: PackageDataMode,
    ) -> Result<Plan, CommandError> {
        let inputs = self.inputs(rules);
        let mut keep = keep::plan(&inputs)?;
        let advice = keep::advice(&inputs, &keep).iter().map(ToString::to_string).collect();
        let inputs = package_data::Inputs {
            tree: self.files.tree(),
            contents: self.files,
            packages: self.packages,
            keep: &keep,
            mode: package_data,
        };
        let data = package_data::plan(&inputs)?;
        data.keep_in(self.files.tree(), &mut keep);
        Ok(Plan { keep, data, advice })
    }

    fn inputs<'a>(&'a self, rules: &'a Rules) -> Inputs<'a> {
        Inputs {
            tree: self.files.tree(),
            contents: self.files,
            accesses: &self.capture.accesses,
            config: &self.image.config,
            packages: self.packages,
            rules,
        }
    }
}

/// What was decided.
pub(in crate::commands) struct Plan {
    /// The files that stay.
    pub(in crate::commands) keep: KeepSet,
    /// What is said of packages.
    pub(super) data: PackageData,
    advice: Vec<String>,
}

impl Plan {
    /// What people should know of it.
    pub(in crate::commands) fn notes(&self) -> Vec<String> {
        let files = self.keep.notes().map(|(path, note)| format!("{path}: {note}"));
        let data = self.data.notes.iter().map(ToString::to_string);
        files.chain(data).chain(self.advice.iter().cloned()).collect()
    }
}

/// Everything of which a slim image is a function, in one piece, so that it can move between threads.
pub(super) struct Planned {
    pub(super) image: SourceImage,
    pub(super) files: SourceFiles,
    pub(super) packages: Packages,
    pub(super) capture: Capture,
    pub(super) choices: Choices,
    pub(super) plan: Plan,
}

impl Planned {
    pub(super) fn new(
        image: SourceImage,
        files: SourceFiles,
        capture: Capture,
        choices: Choices,
    ) -> Result<Self, CommandError> {
        let packages = Packages::read(files.tree(), &files)?;
        let subject = Subject { image: &image, files: &files, packages: &packages, capture: &capture };
        let plan = subject.plan(&choices.rules, choices.package_data)?;
        Ok(Self { image, files, packages, capture, choices, plan })
    }
}
