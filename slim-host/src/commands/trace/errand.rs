//! What `slim trace --sweep-only` is sent for: containers that an engine tells of, or that were found by themselves.

use super::{NO_ENGINE, Wanted, Watched, located::Located, quoted, subject::Remedy, what};
use crate::{
    cli::TraceArgs,
    commands::{
        CommandError,
        session::{Machine, check_privileges, container_home},
    },
    engine::{ContainerView, Engine, SourceImage},
    exercise::Target,
    tracer::{Newcomers, sweep::Home},
};

/// Containers to sweep.
pub(super) struct Errand<'a> {
    /// Their images, each with its file.
    pub wanted: Vec<Wanted>,
    /// Themselves.
    pub containers: Vec<Swept>,
    /// Who runs them, for the captures.
    pub engine: String,
    /// What people named.
    pub what: String,
    /// Whose end may end it.
    pub watched: Watched<'a>,
    /// What a command on the host is told of.
    pub target: Option<Target>,
}

/// A container that is swept.
pub(super) struct Swept {
    /// Number of its image.
    pub target: u32,
    /// What people call it.
    pub name: String,
    /// What it was started with; empty when nobody knows.
    pub command: Vec<String>,
    /// Its first process.
    pub pid: i32,
    /// Where its names are.
    pub home: Home,
    /// How its start could be seen.
    pub remedy: Remedy,
}

impl<'a> Errand<'a> {
    /// For the running containers `named` of `engine`, which are of `images`.
    ///
    /// # Errors
    /// When slim may not look, one is not on this machine, or its root is not its own.
    pub(super) fn of_engine(
        args: &TraceArgs,
        engine: &'a Engine,
        named: &'a [ContainerView],
        images: &[SourceImage],
        wanted: Vec<Wanted>,
    ) -> Result<Self, CommandError> {
        let machine = Machine::of_engine(engine.info())?;
        let mut containers = Vec::with_capacity(named.len());
        for view in named {
            let number = images.iter().zip(0..).find(|(image, _)| image.id == view.image_id);
            let (pid, group, root) = container_home(view, &machine)?;
            containers.push(Swept {
                target: number.map(|(_, number)| number).unwrap_or_default(),
                name: view.name.clone(),
                command: view.command.clone(),
                pid,
                home: Home::new(group, &root)?,
                remedy: Remedy::of_engine(Newcomers::Ignore),
            });
        }
        Ok(Self {
            wanted,
            containers,
            engine: engine.info().title(),
            what: what(args, named),
            watched: Watched::Containers(engine, named),
            target: named.first().filter(|_| named.len() == 1).map(Target::from),
        })
    }

    /// For containers that no engine tells of, each of the image with its number in `targets`.
    ///
    /// # Errors
    /// When slim may not look, or a control group cannot be read.
    pub(super) fn of_groups(
        located: &'a [Located],
        targets: &[u32],
        wanted: Vec<Wanted>,
    ) -> Result<Self, CommandError> {
        check_privileges()?;
        let mut containers = Vec::with_capacity(located.len());
        for (located, target) in located.iter().zip(targets) {
            containers.push(Swept {
                target: *target,
                name: located.name.clone(),
                command: Vec::new(),
                pid: located.first_process()?,
                home: Home::new(located.found.group.clone(), &located.root)?,
                remedy: Remedy::of_group(located.found.container.as_deref()),
            });
        }
        Ok(Self {
            wanted,
            containers,
            engine: NO_ENGINE.to_owned(),
            what: quoted(located.iter().map(|located| &located.name)),
            watched: Watched::Located(located),
            target: None,
        })
    }
}
