//! What `slim trace --sweep-only` shall sweep: containers that an engine tells of, or that were found by themselves.

use super::{
    NO_ENGINE, Wanted, Watched,
    located::{Located, Member},
    quoted,
    subject::Remedy,
    what,
};
use crate::{
    cli::TraceArgs,
    commands::{
        CommandError,
        session::{Machine, check_privileges, container_home, root_of},
    },
    engine::{ContainerView, Engine, SourceImage},
    exercise::Target,
    tracer::{
        Newcomers, TracerError, cgroup,
        snapshot::{self, Snapshot},
        sweep::{Home, Sweep, SweepError, Sweeper},
    },
};

/// Containers to sweep.
pub(super) struct SweepRequest<'a> {
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
    /// Where its names are: its root, by each of its control groups that was named.
    pub homes: Vec<Home>,
    /// How its start could be seen.
    pub remedy: Remedy,
}

impl Swept {
    /// Sweeps it, through the first of its groups that still has a process at its root.
    ///
    /// # Errors
    /// As [`Sweeper::sweep`].
    pub(super) fn sweep(&self, sweeper: &Sweeper) -> Result<(&Home, Sweep), SweepError> {
        for home in &self.homes {
            match sweeper.sweep(home) {
                Ok(sweep) => return Ok((home, sweep)),
                Err(SweepError::Gone) => {}
                Err(error) => return Err(error),
            }
        }
        Err(SweepError::Gone)
    }

    /// What its processes hold.
    ///
    /// # Errors
    /// When a group cannot be read.
    pub(super) fn held(&self) -> Result<Snapshot, TracerError> {
        let mut held = Snapshot::default();
        for home in &self.homes {
            let found = snapshot::take(home.group())?;
            held.holders.extend(found.holders);
            held.failed += found.failed;
        }
        Ok(held)
    }

    /// Looks for the root that it has since it was started again; whether it has one. Only of a container whose groups bear its
    /// id: others of the same name need not be it.
    pub(super) fn find_again(&mut self) -> bool {
        if self.remedy == Remedy::Nothing {
            return false;
        }
        let found = |home: &Home| {
            let group = home.group();
            let pid = *cgroup::processes(group).ok()?.first()?;
            // While it starts, its first process still has the root of the host.
            Home::new(group.clone(), &root_of(pid, group)?).ok()
        };
        let homes: Vec<Home> = self.homes.iter().filter_map(found).collect();
        let is_found = !homes.is_empty();
        if is_found {
            self.homes = homes;
        }
        is_found
    }
}

impl<'a> SweepRequest<'a> {
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
                homes: vec![Home::new(group, &root)?],
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

    /// For containers that were found by themselves, each with what is known of it.
    ///
    /// # Errors
    /// When slim may not look, or a control group cannot be read.
    pub(super) fn of_groups(
        located: &'a [Located],
        members: &[Member],
        wanted: Vec<Wanted>,
    ) -> Result<Self, CommandError> {
        check_privileges()?;
        let mut containers: Vec<(u32, Swept)> = Vec::with_capacity(located.len());
        for (located, Member { target, command }) in located.iter().zip(members) {
            let home = Home::new(located.found.group.clone(), &located.root)?;
            // Groups of one container: its names are the same by each.
            if let Some((_, known)) = containers.iter_mut().find(|(dev, _)| *dev == located.root.dev) {
                known.homes.push(home);
                continue;
            }
            let swept = Swept {
                target: *target,
                name: located.name.clone(),
                command: command.clone(),
                pid: located.first_process()?,
                homes: vec![home],
                remedy: Remedy::of_group(located.found.container.as_deref()),
            };
            containers.push((located.root.dev, swept));
        }
        let containers = containers.into_iter().map(|(_, swept)| swept).collect();
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
