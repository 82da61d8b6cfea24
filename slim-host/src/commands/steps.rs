//! The exercise that options ask for, as a plan.

use super::CommandError;
use crate::{
    cli::{ExecCommand, StepArgs},
    exercise::{
        Plan,
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

/// HTTP first, which waits until the application is ready; then commands, the container's end, and the file.
///
/// # Errors
/// When a path is none, the file is no exercise, or steps cannot follow one another.
pub(super) fn plan(options: &Options<'_>) -> Result<Plan, CommandError> {
    let probe = options.steps.http_probe.then_some("/");
    let paths = probe.into_iter().chain(options.steps.http_path.iter().map(String::as_str));
    let mut steps = Vec::new();
    for path in paths {
        steps.push(Step::new(Action::Http(HttpRequest::get(path)?)));
    }
    let exec =
        options.exec.iter().map(|command| Action::Exec { command: command.words.clone(), exit_code: 0 });
    let host = options.host_exec.map(|line| Action::Host { line: line.to_owned(), exit_code: 0 });
    let wait = (options.end == End::ByItself).then_some(Action::Wait { exit_code: 0 });
    steps.extend(exec.chain(host).chain(wait).map(Step::new));
    let plan = Plan::new(steps)?;
    Ok(match &options.steps.exercise {
        Some(file) => plan.then(Plan::read(file)?)?,
        None => plan,
    })
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
