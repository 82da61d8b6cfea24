//! The exercise that options ask for, as a plan.

use super::CommandError;
use crate::{
    cli::{ExecCommand, SchemeArg, StepArg, StepArgs},
    exercise::{
        Plan, PlanError,
        plan::{Action, Document, HttpRequest, Step, Walk, header, method},
    },
    path::quote,
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

/// What comes before commands: everything that waits until the application is ready.
///
/// # Errors
/// When a path, method or header is none.
pub(super) fn probes(steps: &StepArgs) -> Result<Plan, CommandError> {
    let ready = steps.step.iter().filter_map(|step| match step {
        StepArg::Tcp(port) => Some(Action::Tcp { port: *port }),
        StepArg::Healthcheck => Some(Action::Healthcheck),
        StepArg::Restart | StepArg::Stop => None,
    });
    let mut actions: Vec<Action> = ready.collect();
    let probe = steps.http_probe.map(|scheme| match scheme {
        SchemeArg::Http => "/",
        SchemeArg::Https => "https:///",
    });
    for path in probe.into_iter().chain(steps.http_path.iter().map(String::as_str)) {
        actions.push(Action::Http(request(steps, path)?));
    }
    let limits = steps.http_limits.unwrap_or_default();
    if let Some(path) = &steps.http_crawl {
        actions.push(Action::Walk(Walk::links(get(steps, path)?, limits)));
    }
    if let Some(path) = &steps.openapi {
        let document = match path.as_str() {
            "" => Document::Usual(get(steps, "/")?),
            path => Document::At(get(steps, path)?),
        };
        actions.push(Action::Walk(Walk::openapi(document, limits)));
    }
    Ok(Plan::new(actions.into_iter().map(Step::new).collect())?)
}

/// A GET with the headers of the command line.
fn get(steps: &StepArgs, path: &str) -> Result<HttpRequest, PlanError> {
    let pair = |text: &String| {
        let refused = || PlanError::Header { header: quote(text.as_bytes()) };
        let (name, value) = text.split_once(':').ok_or_else(refused)?;
        header(name.trim(), value.trim())
    };
    let headers = steps.http_header.iter().map(pair).collect::<Result<_, _>>()?;
    Ok(HttpRequest { headers, ..HttpRequest::get(path)? })
}

/// A request with the method, headers and body of the command line.
fn request(steps: &StepArgs, path: &str) -> Result<HttpRequest, PlanError> {
    let usual = if steps.http_body.is_some() { "POST" } else { "GET" };
    let method = method(steps.http_method.as_deref().unwrap_or(usual))?;
    let body = steps.http_body.clone().unwrap_or_default().into_bytes();
    Ok(HttpRequest { method, body, ..get(steps, path)? })
}

/// What comes after them: the steps of the file, then those that end the container.
///
/// # Errors
/// When the file is no exercise, or ends the container before a step that needs it.
pub(super) fn file(steps: &StepArgs) -> Result<Plan, CommandError> {
    let file = steps.exercise.as_deref().map_or(Ok(Plan::default()), Plan::read)?;
    let last = steps.step.iter().filter_map(|step| match step {
        StepArg::Restart => Some(Action::Restart),
        StepArg::Stop => Some(Action::Stop),
        StepArg::Tcp(_) | StepArg::Healthcheck => None,
    });
    Ok(file.then(Plan::new(last.map(Step::new).collect())?)?)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};

    fn of(line: &str) -> Result<Plan, CommandError> {
        let Command::Exercise(args) = Cli::parse_line(line.split('|')).unwrap().command else { panic!() };
        some_plan(&Options {
            steps: &args.steps,
            exec: &args.exec,
            host_exec: args.host_exec.as_deref(),
            end: End::Stopped,
        })
    }

    #[test]
    fn steps_come_in_the_order_in_which_they_can_be_taken() {
        let line = "slim|exercise|c|--step|stop|--exec|a b|--host-exec|c|--openapi|--http-crawl=/d|--http-path|/e\
                    |--http-probe=https|--step|tcp:1|--http-header|Host: x|--http-body|y|--step|healthcheck";
        let plan = of(line).unwrap();
        let names: Vec<&str> = plan.steps().iter().map(|step| step.name.as_str()).collect();
        let expected = [
            "connect to port 1",
            "healthcheck",
            "POST https:///",
            "POST /e",
            "crawl /d",
            "openapi",
            "exec a b",
            "host c",
            "stop",
        ];
        assert_eq!(names, expected);
        let Action::Http(request) = &plan.steps()[3].action else { panic!("{plan:?}") };
        assert_eq!((request.body.as_slice(), request.headers.len()), (&b"y"[..], 1));
        let Action::Walk(walk) = &plan.steps()[4].action else { panic!("{plan:?}") };
        assert_eq!((walk.starts[0].headers.len(), walk.starts[0].method.as_str()), (1, "GET"));
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        assert!(matches!(of("slim|exercise|c"), Err(CommandError::NoExercise)));
        for (line, why) in [
            ("slim|exercise|c|--http-path|x", "x is not the path of a URL"),
            ("slim|exercise|c|--http-crawl=http://a/", "http://a/ is not the path of a URL"),
            ("slim|exercise|c|--http-probe|--http-header|a", "a is not an HTTP header"),
            ("slim|exercise|c|--http-probe|--http-header|a b: c", "a b is not an HTTP header"),
            ("slim|exercise|c|--http-probe|--http-method|get", "get is not an HTTP method"),
            ("slim|exercise|c|--step|stop|--step|stop", "step stop cannot follow stop"),
        ] {
            let said = of(line).unwrap_err().to_string();
            assert!(said.starts_with(why), "{line}: {said}");
        }
    }
}
