//! A line of a table: steps, and what the kernel and the arena must have for them.

use anyhow::{Context as _, Result, ensure};
use slim_tests::kernel::{Child, ControlGroup, Plan, Session, capability, preempted, skipped};

/// Steps, separated by `; `, after any of these, which are no steps: `overlay OPTIONS` for the mount, `gift PATH` for a
/// descriptor on its way, `needs CAPABILITY` for what a kernel may lack (see [`capability`]), `lacks CAPABILITY` for what
/// holds only there.
pub(crate) struct Case {
    steps: Vec<&'static str>,
    overlay: Option<&'static str>,
    gift: Option<&'static str>,
}

impl Case {
    /// Reads `steps`; `None`, with a word why, when this kernel cannot perform them.
    pub(crate) fn read(name: &str, steps: &'static str) -> Result<Option<Self>> {
        let mut case = Self { steps: Vec::new(), overlay: None, gift: None };
        for step in steps.split("; ") {
            match step.split_once(' ') {
                Some(("overlay", options)) => case.overlay = Some(options),
                Some(("gift", path)) => case.gift = Some(path),
                Some(("needs", wanted)) => {
                    if let Some(reason) = capability::missing(wanted)? {
                        // Debian's kernels have all but what came with later versions.
                        ensure!(wanted.starts_with("Linux ") || !capability::emulated(), "{name}: {reason}");
                        skipped(&format!("{name}: {reason}"));
                        return Ok(None);
                    }
                }
                Some(("lacks", wanted)) => {
                    if capability::missing(wanted)?.is_none() {
                        return Ok(None);
                    }
                }
                _ => case.steps.push(step),
            }
        }
        Ok(Some(case))
    }

    /// Performs the steps by `plan` in `group`: all accesses and losses, separated by `, `, or what went wrong.
    ///
    /// Where a program may be preempted, the kernel skips it for whoever runs meanwhile, and says so. Such an attempt
    /// proves nothing and is made again, as a target of its own: to name the same path at the same container's root is a
    /// repetition, when the overlay gets the device number of the one before. `target` is a number of this case alone.
    pub(crate) fn run(
        &self,
        plan: impl Fn() -> Plan,
        session: &mut Session,
        group: &ControlGroup,
        target: u32,
    ) -> Result<String> {
        const ATTEMPTS: u32 = 5;
        let mut seen = String::new();
        for attempt in 1..=ATTEMPTS {
            let target = target * ATTEMPTS + attempt - 1;
            session.watch(group, target)?;
            seen = self.attempt(plan().in_group(group), session, target)?;
            if !seen.contains("lost recursion_misses") {
                break;
            }
            preempted(&format!("{}: attempt {attempt} of {ATTEMPTS}: {seen}", self.steps.join("; ")));
        }
        Ok(seen)
    }

    /// Performs the steps by `plan` to their end.
    pub(crate) fn perform(&self, plan: Plan) -> Result<()> {
        self.prepared(plan).run(&self.steps)
    }

    /// Performs the steps by `plan` and stops before the end.
    pub(crate) fn pause(&self, plan: Plan) -> Result<Child> {
        let mut child = self.prepared(plan).start(&[&self.steps[..], &["pause"]].concat())?;
        child.paused()?;
        Ok(child)
    }

    fn prepared(&self, mut plan: Plan) -> Plan {
        if let Some(options) = self.overlay {
            plan = plan.overlay_options(options);
        }
        if let Some(path) = self.gift {
            plan = plan.gift(path);
        }
        plan
    }

    fn attempt(&self, plan: Plan, session: &mut Session, target: u32) -> Result<String> {
        let seen = self.perform(plan).and_then(|()| session.accesses(target));
        let seen = seen.unwrap_or_else(|error| vec![format!("{error:#}")]);
        let losses = session.new_losses().context("losses")?;
        Ok(without_slot(&[seen, losses].concat().join(", ")))
    }
}

/// `seen` without what the TOMOYO security module adds, where a kernel has it: it looks each program up again by its name.
pub(crate) fn without_repeated_lookups(mut seen: Vec<String>) -> Vec<String> {
    let opened: Vec<String> =
        seen.iter().filter_map(|line| line.strip_prefix("open ")).map(str::to_owned).collect();
    seen.retain(|line| {
        line.strip_prefix("lookup /bin/").is_none_or(|name| !opened.contains(&format!("/bin/{name}")))
    });
    seen
}

/// The number of a descriptor depends on what the process inherited.
fn without_slot(accesses: &str) -> String {
    let mut parts = accesses.split("/fd/");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "/fd/SLOT" + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}
