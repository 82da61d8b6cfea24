//! What ends a trace, and waiting for it.

use std::{pin::pin, sync::Arc, time::Duration};

use crate::{
    cli::{TraceArgs, Until},
    commands::{CommandError, run, session::Progress, signals::Signals},
    engine::{ContainerState, ContainerView, Engine, EngineError},
    exercise::{self, HostCommand, Target},
    output::text,
};

use super::located::Located;

/// How long a container that has ended may take to start again before it counts as gone.
const RESTART: Duration = Duration::from_secs(2);
/// Between two looks at a control group that nobody tells us about.
const LOOK: Duration = Duration::from_millis(250);

/// Why a trace ended.
pub(in crate::commands) enum End {
    /// The command on the host is over, well or not.
    Command(Result<(), CommandError>),
    /// The time is over.
    Time,
    /// Nothing new came for this long.
    Idle(Duration),
    /// Ctrl-C or Enter.
    Asked,
    /// Nothing is left to trace.
    AllEnded,
}

impl End {
    /// What people did not ask for is explained.
    pub(in crate::commands) fn reason(&self) -> String {
        match self {
            Self::Command(_) | Self::Time | Self::Asked => String::new(),
            Self::Idle(time) => format!("; nothing new for {}", text::duration(*time)),
            Self::AllEnded => "; all containers have ended".to_owned(),
        }
    }
}

/// What is watched for its end.
pub(in crate::commands) enum Watched<'a> {
    /// Containers that the engine tells us about; none with `--image`.
    Containers(&'a Engine, &'a [ContainerView]),
    /// Containers without an engine.
    Located(&'a [Located]),
}

/// What the line says about the end of the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    time: Option<Duration>,
    idle: Option<Duration>,
    /// Whether the end of all containers ends a trace that would go on otherwise.
    pub(super) exit: bool,
}

impl Ends {
    /// The earliest of each kind.
    pub(super) fn of(args: &TraceArgs) -> Self {
        let ends = Self { time: args.duration, idle: None, exit: args.until_exit };
        let earlier = |known: Option<Duration>, time| Some(known.map_or(time, |known| known.min(time)));
        args.until.iter().copied().fold(ends, |ends, until| match until {
            Until::Exit => Self { exit: true, ..ends },
            Until::Idle(time) => Self { idle: earlier(ends.idle, time), ..ends },
            Until::Time(time) => Self { time: earlier(ends.time, time), ..ends },
        })
    }

    /// Whether the trace ends by anything else than being asked to.
    pub(super) fn is_some(self, args: &TraceArgs) -> bool {
        self.time.is_some() || self.idle.is_some() || self.exit || !args.command.is_empty()
    }

    /// What ends the trace, in words.
    pub(super) fn in_words(self, args: &TraceArgs) -> String {
        let mut ends = Vec::new();
        if !args.command.is_empty() {
            ends.push("the command ends".to_owned());
        }
        if self.exit {
            ends.push("all have ended".to_owned());
        }
        ends.extend(self.idle.map(|time| format!("nothing new for {}", text::duration(time))));
        ends.extend(self.time.map(|time| format!("after {}", text::duration(time))));
        ends.push("Ctrl-C".to_owned());
        format!("until {}", ends.join(", or "))
    }
}

/// Ends when the trace shall end.
pub(super) async fn end(
    args: &TraceArgs,
    watched: Watched<'_>,
    target: Option<&Target>,
    progress: Arc<Progress>,
    signals: &Signals,
) -> Result<End, CommandError> {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut command = pin!(command(args, target, stopped));
    let has_command = !args.command.is_empty();
    let ends = Ends::of(args);
    // Named containers that have ended leave nothing to trace; a command goes on all the same, it may start them again.
    let watches_exit = ends.exit || !has_command;
    let end = tokio::select! {
        ran = &mut command, if has_command => return Ok(End::Command(ran)),
        () = run::elapsed(ends.time) => End::Time,
        time = idle(ends.idle, &progress) => End::Idle(time),
        () = signals.end_of_trace() => End::Asked,
        () = run::enter(), if !has_command && !ends.exit => End::Asked,
        all = all_ended(watched), if watches_exit => all.map(|()| End::AllEnded)?,
    };
    if has_command {
        drop(stop);
        command.await?;
    }
    Ok(end)
}

/// Ends when something was found, and nothing new for `time` after that; never without one.
async fn idle(time: Option<Duration>, progress: &Progress) -> Duration {
    let Some(time) = time else { return std::future::pending().await };
    loop {
        match progress.since_new() {
            Some(since) if since >= time => return time,
            Some(since) => tokio::time::sleep(time.saturating_sub(since)).await,
            None => tokio::time::sleep(LOOK).await,
        }
    }
}

async fn command(
    args: &TraceArgs,
    target: Option<&Target>,
    stopped: tokio::sync::oneshot::Receiver<()>,
) -> Result<(), CommandError> {
    let Some((program, arguments)) = args.command.split_first() else { return Ok(()) };
    let command = HostCommand::Program { program: program.clone(), arguments: arguments.to_vec() };
    let cancel = async { drop(stopped.await) };
    exercise::run_on_host(&command, target, cancel).await?.success(&command)?;
    Ok(())
}

/// Ends when every container has ended and none comes back: one that restarts is away for a moment.
pub(in crate::commands) async fn all_ended(watched: Watched<'_>) -> Result<(), CommandError> {
    match watched {
        // Those of an image are counted by whoever listens for them.
        Watched::Containers(_, []) => std::future::pending().await,
        Watched::Containers(engine, containers) => {
            for container in containers {
                ended(engine, container).await?;
            }
            Ok(())
        }
        Watched::Located(located) => {
            let mut since = None;
            loop {
                tokio::time::sleep(LOOK).await;
                if located.iter().any(Located::is_alive) {
                    since = None;
                } else if since.get_or_insert_with(tokio::time::Instant::now).elapsed() >= RESTART {
                    return Ok(());
                }
            }
        }
    }
}

async fn ended(engine: &Engine, container: &ContainerView) -> Result<(), CommandError> {
    loop {
        engine.wait(&container.id).await?;
        tokio::time::sleep(RESTART).await;
        match engine.container(&container.id).await {
            Ok(view) if view.pid.is_some() || view.state == ContainerState::Restarting => {}
            Ok(_) | Err(EngineError::UnknownContainer { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
