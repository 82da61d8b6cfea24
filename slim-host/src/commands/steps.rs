//! The exercise that options ask for, as a plan.

use super::CommandError;
use crate::{
    cli::{ExecCommand, StepArgs},
    exercise::{
        Plan, PlanError,
        plan::{Action, HttpRequest, Step},
    },
    report::StepLine,
};

/// Options that name steps.
pub(super) struct Options<'a> {
    /// HTTP and the file.
    pub steps: &'a StepArgs,
    /// Commands in the container.
    pub exec: &'a [ExecCommand],
    /// A command line on the host.
    pub host_exec: Option<&'a str>,
    /// Whether the container ends by itself.
    pub end: End,
}

/// How the container ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By itself: that is waited for.
    ByItself,
    /// When the exercise is over.
    Stopped,
}

/// What comes before commands: HTTP, which waits until the application is ready.
///
/// # Errors
/// When a path is none.
pub(super) fn probes(steps: &StepArgs) -> Result<Plan, CommandError> {
    let probe = steps.http_probe.then_some("/");
    let paths = probe.into_iter().chain(steps.http_path.iter().map(String::as_str));
    let request = |path| Ok(Step::new(Action::Http(HttpRequest::get(path)?)));
    Ok(Plan::new(paths.map(request).collect::<Result<_, PlanError>>()?)?)
}

/// What comes after them: the steps of the file, which may end the container.
///
/// # Errors
/// When the file is no exercise.
pub(super) fn file(steps: &StepArgs) -> Result<Plan, CommandError> {
    Ok(steps.exercise.as_deref().map_or(Ok(Plan::default()), Plan::read)?)
}

/// Probes, commands, the container's end, the file.
///
/// # Errors
/// When a path is none, the file is no exercise, or steps cannot follow one another.
pub(super) fn plan(options: &Options<'_>) -> Result<Plan, CommandError> {
    let exec =
        options.exec.iter().map(|command| Action::Exec { command: command.words.clone(), exit_code: 0 });
    let host = options.host_exec.map(|line| Action::Host { line: line.to_owned(), exit_code: 0 });
    let wait = (options.end == End::ByItself).then_some(Action::Wait { exit_code: 0 });
    let commands = Plan::new(exec.chain(host).chain(wait).map(Step::new).collect())?;
    Ok(probes(options.steps)?.then(commands)?.then(file(options.steps)?)?)
}

/// As [`plan`], and there has to be a step.
///
/// # Errors
/// As [`plan`], and without a step.
pub(super) fn some_plan(options: &Options<'_>) -> Result<Plan, CommandError> {
    let plan = plan(options)?;
    if plan.is_empty() { Err(CommandError::NoExercise) } else { Ok(plan) }
}

/// Tells people how a step ended.
pub(super) fn tell(output: &crate::output::Output, outcome: &crate::exercise::StepOutcome) {
    output.note(StepLine::new(outcome));
}
