//! The command of `--on-finding`: run on the host for each finding, one at a time.
//!
//! Invariants: no shell runs it that the user did not name; what a container chose is only ever the value of a variable;
//! one that does not end is ended after [`PATIENCE`], and a backlog is cut to [`BACKLOG`] and counted.

use std::{cell::RefCell, ffi::OsString, os::unix::ffi::OsStringExt as _, time::Duration};

use tokio::sync::watch;

use super::sieve::{Notebook, Noted};
use crate::{
    cli::ExecCommand,
    exercise::{HostCommand, HostOutcome, run_with},
    output::Output,
    path::quote,
    verify::Finding,
};

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Findings that wait for it; the oldest of more are left out.
const BACKLOG: usize = 64;

/// Runs `command` for each finding until nobody can find any more, and all are done.
pub(super) async fn run(
    command: &ExecCommand,
    images: &[String],
    notebook: &RefCell<Notebook>,
    mut heard: watch::Receiver<usize>,
    output: &Output,
) {
    let (mut next, mut left_out, mut is_open) = (0_usize, 0_usize, true);
    loop {
        let found = notebook.borrow().findings.len();
        let surplus = found.saturating_sub(next).saturating_sub(BACKLOG);
        next += surplus;
        left_out += surplus;
        let noted = notebook.borrow().findings.get(next).cloned();
        if let Some(noted) = noted {
            next += 1;
            run_for(command, &noted, images, output).await;
        } else if is_open {
            is_open = heard.changed().await.is_ok();
        } else {
            break;
        }
    }
    if left_out > 0 {
        output.warning(format!(
            "the command of --on-finding is too slow: it was not run for {left_out} findings"
        ));
    }
}

async fn run_for(command: &ExecCommand, noted: &Noted, images: &[String], output: &Output) {
    let Some((program, arguments)) = command.words.split_first() else { return };
    let command = HostCommand::Program {
        program: program.into(),
        arguments: arguments.iter().map(OsString::from).collect(),
    };
    let ended = run_with(&command, variables(noted, images), tokio::time::sleep(PATIENCE)).await;
    let failed = match ended {
        Ok(HostOutcome::Cancelled) => format!("did not end within {} s", PATIENCE.as_secs()),
        Ok(outcome) => match outcome.success(&command) {
            Ok(()) => return,
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    output.warning(format!("--on-finding: {failed}"));
}

/// What the command is told. The path has the exact bytes; a name of a process or a container is harmless text.
fn variables(noted: &Noted, images: &[String]) -> Vec<(&'static str, OsString)> {
    let text = |text: &str| OsString::from(quote(text.as_bytes()));
    let kind = match &noted.finding {
        Finding::Missing(_) => "missing",
        Finding::Unrunnable { .. } => "unrunnable",
        // Those that only a comparison of two runs gives.
        Finding::NotStarted { .. }
        | Finding::Step { .. }
        | Finding::Unlisted { .. }
        | Finding::Suspect(_)
        | Finding::Shorter { .. }
        | Finding::Loader { .. }
        | Finding::Log { .. } => "",
    };
    let mut variables = vec![
        ("SLIM_FINDING", kind.into()),
        ("SLIM_IMAGE", images.get(noted.image).map(|image| text(image)).unwrap_or_default()),
        ("SLIM_CONTAINER", noted.container.as_deref().map(text).unwrap_or_default()),
    ];
    if let Some(missing) = noted.finding.missing() {
        variables.extend([
            ("SLIM_PATH", OsString::from_vec(missing.path.as_bytes().to_vec())),
            ("SLIM_OPERATION", missing.operation.name().into()),
            ("SLIM_PROCESS", missing.process.clone().into()),
            ("SLIM_EXECUTABLE", missing.executable.clone().into()),
            ("SLIM_PID", missing.pid.to_string().into()),
        ]);
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::watch::sieve::fixture::noted;

    #[test]
    fn what_a_container_chose_is_only_a_value() {
        let variables = variables(&noted(b"/a\n$(x)\xff"), &["web:slim".to_owned()]);
        let value =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
        assert_eq!(value("SLIM_PATH"), Some(OsString::from_vec(b"/a\n$(x)\xff".to_vec())));
        assert_eq!(value("SLIM_FINDING"), Some("missing".into()));
        assert_eq!(value("SLIM_IMAGE"), Some("web:slim".into()));
        let names: Vec<_> = variables.iter().map(|(name, _)| *name).collect();
        let expected = ["FINDING", "IMAGE", "CONTAINER", "PATH", "OPERATION", "PROCESS", "EXECUTABLE", "PID"];
        assert_eq!(names, expected.map(|name| format!("SLIM_{name}")));
    }
}
