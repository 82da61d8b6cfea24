//! What an exercise consists of: steps in order, each with what it expects.
//!
//! Invariants: a plan is a pure value, the same whether it comes from options or from a file ([`file`]); it names ports
//! and paths of the container and never an address, so it cannot lead anywhere else; after a step that ends the
//! container only a restart may follow.
//!
//! Non-goals: certificates and HTTP/2 (`host` steps run any client), and redirects (to a probe, the answer that leads
//! elsewhere is the answer).

use std::{fmt, path::Path, time::Duration};

use super::outcome::{Observed, StepOutcome, StepVerdict};
use crate::path::quote;

mod file;
mod request;
mod walk;

pub use file::PlanError;
pub(super) use request::is_path;
pub use request::{HttpRequest, Scheme, header, method};
pub use walk::{Document, Guide, KnownPage, Walk, WalkLimits};

/// How long a step waits for the application to answer at all, when nothing else is said: a database on a busy machine
/// takes tens of seconds to make its first files.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a probe whose answer is not the expected one is asked again.
const RETRIES: u32 = 2;
/// How often one is that was not the expected one at first on the image that it is compared with: ten answers of an
/// endpoint that fails every other time are all wrong once in a thousand.
const RETRIES_WHERE_FLAKY: u32 = 9;
/// What a step of the slim image has beyond a multiple of the time that the source image took.
const HEADROOM: Duration = Duration::from_secs(5);
/// Most steps of one plan.
const MAX_STEPS: usize = 1_000;

/// An exercise: steps in the order in which they are taken.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What reports call it.
    pub name: String,
    /// What is done.
    pub action: Action,
    /// How long it may take, with waiting for the application.
    pub patience: Duration,
    /// How often it is tried again when the outcome is not the expected one.
    pub retries: u32,
    /// Whether a slim image has to give the same body as its source.
    pub body: BodyRule,
}

/// Whether bodies are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyRule {
    /// When the source image answers twice with the same one.
    #[default]
    Stable,
    /// Never.
    Ignored,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Asks over HTTP.
    Http(HttpRequest),
    /// Asks for many pages over HTTP.
    Walk(Walk),
    /// Connects, and hangs up.
    Tcp {
        /// The container's port; the only exposed one when there is none.
        port: Option<u16>,
    },
    /// Runs a command in the container.
    Exec {
        /// Its words; never empty.
        command: Vec<String>,
        /// How it has to end.
        exit_code: i64,
    },
    /// Runs a command line on the host.
    Host {
        /// For `sh -c`.
        line: String,
        /// How it has to end.
        exit_code: i32,
    },
    /// Runs the image's HEALTHCHECK in the container until it passes.
    Healthcheck,
    /// Waits until the container ends by itself.
    Wait {
        /// How it has to end.
        exit_code: i64,
    },
    /// Stops the container by its own stop signal.
    Stop,
    /// Stops the container, if it runs, and starts it again.
    Restart,
}

impl Step {
    /// A step with the usual patience, retries and name of its action.
    #[must_use]
    pub fn new(action: Action) -> Self {
        let (retries, patience) = match &action {
            Action::Http(_) => (RETRIES, PATIENCE),
            // The limit of its time counts from the first answer.
            Action::Walk(walk) => (RETRIES, PATIENCE.saturating_add(walk.limits.time)),
            // Whether a command may be run twice, only its author knows.
            Action::Tcp { .. }
            | Action::Exec { .. }
            | Action::Host { .. }
            | Action::Healthcheck
            | Action::Wait { .. }
            | Action::Stop
            | Action::Restart => (0, PATIENCE),
        };
        let name = quote(action.to_string().as_bytes());
        Self { name, action, patience, retries, body: BodyRule::default() }
    }
}

/// The name of a step that its author gave none.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(request) => write!(f, "{} {}", request.method, request.address()),
            Self::Walk(walk) => walk.fmt(f),
            Self::Tcp { port: Some(port) } => write!(f, "connect to port {port}"),
            Self::Tcp { port: None } => f.write_str("connect"),
            Self::Exec { command, .. } => write!(f, "exec {}", command.join(" ")),
            Self::Host { line, .. } => write!(f, "host {line}"),
            Self::Healthcheck => f.write_str("healthcheck"),
            Self::Wait { .. } => f.write_str("wait for the end"),
            Self::Stop => f.write_str("stop"),
            Self::Restart => f.write_str("restart"),
        }
    }
}

impl Action {
    /// Whether the step can do nothing once the container has ended. A command on the host may outlive it.
    pub(super) fn needs_container(&self) -> bool {
        match self {
            Self::Http(_) | Self::Walk(_) | Self::Tcp { .. } | Self::Exec { .. } | Self::Healthcheck => true,
            Self::Host { .. } | Self::Wait { .. } | Self::Stop | Self::Restart => false,
        }
    }

    /// Whether the container does not run afterwards.
    fn ends_container(&self) -> bool {
        match self {
            Self::Stop | Self::Wait { .. } => true,
            Self::Http(_)
            | Self::Walk(_)
            | Self::Tcp { .. }
            | Self::Exec { .. }
            | Self::Host { .. }
            | Self::Healthcheck
            | Self::Restart => false,
        }
    }
}

impl Plan {
    /// A plan of these steps.
    ///
    /// # Errors
    /// When a step could not be taken because the one before ended the container, or there are too many.
    pub fn new(steps: Vec<Step>) -> Result<Self, PlanError> {
        if steps.len() > MAX_STEPS {
            return Err(PlanError::TooMany { count: steps.len(), most: MAX_STEPS });
        }
        for (before, after) in steps.iter().zip(steps.iter().skip(1)) {
            if before.action.ends_container() && after.action != Action::Restart {
                return Err(PlanError::AfterEnd { step: after.name.clone(), end: before.name.clone() });
            }
        }
        Ok(Self { steps })
    }

    /// The plan in a TOML file.
    ///
    /// # Errors
    /// When the file cannot be read, or is no plan.
    pub fn read(path: &Path) -> Result<Self, PlanError> {
        file::read(path)
    }

    /// The steps in order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether the container has ended when the plan is over.
    #[must_use]
    pub fn ends_container(&self) -> bool {
        self.steps.last().is_some_and(|step| step.action.ends_container())
    }

    /// This plan for an image that shall do what another did: each step has ten times as long as it took there, and some
    /// seconds, if that is less than its patience. An application that will never answer is not waited for.
    #[must_use]
    pub fn paced(&self, took: impl IntoIterator<Item = Duration>) -> Self {
        let mut plan = self.clone();
        for (step, took) in plan.steps.iter_mut().zip(took) {
            step.patience = step.patience.min(took.saturating_mul(10).saturating_add(HEADROOM));
        }
        plan
    }

    /// This plan for an image that shall do what another did with these outcomes: [`Self::paced`]; what was flaky there
    /// is given more attempts, and of a walk the pages are asked for that it gave.
    #[must_use]
    pub fn after(&self, outcomes: &[StepOutcome]) -> Self {
        let mut plan = self.paced(outcomes.iter().map(|outcome| outcome.took));
        for (step, outcome) in plan.steps.iter_mut().zip(outcomes) {
            match outcome.verdict {
                StepVerdict::Flaky { .. } | StepVerdict::Sometimes { .. } => {
                    step.retries = step.retries.max(RETRIES_WHERE_FLAKY);
                }
                StepVerdict::Passed | StepVerdict::Failed(_) => {}
            }
            if let (Action::Walk(walk), Observed::Pages(pages)) = (&mut step.action, &outcome.observed) {
                walk.known = pages.known();
            }
        }
        plan
    }

    /// Takes the bodies of the step of this name out of the comparison.
    ///
    /// # Errors
    /// When no step has it.
    pub fn ignore_body(&mut self, name: &str) -> Result<(), PlanError> {
        let step = self.steps.iter_mut().find(|step| step.name == name);
        let step = step.ok_or_else(|| PlanError::NoStep { step: quote(name.as_bytes()) })?;
        step.body = BodyRule::Ignored;
        Ok(())
    }

    /// This plan, then `other`.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn then(mut self, other: Self) -> Result<Self, PlanError> {
        self.steps.extend(other.steps);
        Self::new(self.steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slim_image_is_waited_for_as_its_source_was() {
        let plan = Plan::new(vec![Step::new(Action::Tcp { port: None }); 3]).unwrap();
        let patience: Vec<_> =
            plan.paced([1, 59].map(Duration::from_secs)).steps.iter().map(|step| step.patience).collect();
        assert_eq!(patience, [15, 60, 60].map(Duration::from_secs));
    }

    #[test]
    fn only_a_restart_follows_an_end() {
        let steps = |actions: &[Action]| Plan::new(actions.iter().cloned().map(Step::new).collect());
        let (wait, tcp) = (Action::Wait { exit_code: 0 }, Action::Tcp { port: Some(1) });
        let plan = steps(&[tcp.clone(), Action::Stop, Action::Restart, tcp.clone(), wait.clone()]).unwrap();
        assert!(plan.ends_container() && !plan.is_empty());
        assert!(!steps(&[Action::Stop, Action::Restart]).unwrap().ends_container());
        for end in [Action::Stop, wait] {
            let error = steps(&[end, tcp.clone()]).unwrap_err();
            assert!(matches!(&error, PlanError::AfterEnd { step, .. } if step == "connect to port 1"));
        }
        let stop = steps(&[Action::Stop]).unwrap();
        assert!(matches!(stop.then(steps(&[tcp]).unwrap()), Err(PlanError::AfterEnd { .. })));
    }
}
