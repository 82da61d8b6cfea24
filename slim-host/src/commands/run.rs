//! Running an image under trace: container, exercise, end.

use std::{future::Future, pin::pin, time::Duration};

use super::{
    CommandError,
    recorder::Recorder,
    session::{Machine, Manner, Session},
    signals::Signals,
    steps,
    sweeps::Sweeping,
};
use crate::{
    capture::{Capture, CaptureWriter, Existing},
    cli::{BuildArgs, DockerRunArgs},
    engine::{Cleanup, Engine, OwnedContainer, RunSpec, SourceImage, environment},
    exercise::{self, Asking, ExerciseError, Ground, HostCommand, Plan, Target},
    output::{Live, Output},
    tracer::Newcomers,
};

/// How long the container has after its stop signal, as `docker stop` has it.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// The one thing that is traced.
const TARGET: u32 = 0;

/// What a run gave.
pub(super) struct Observed {
    /// What was accessed.
    pub capture: Capture,
    /// `/proc/PID/mountinfo` of the container, if it ran long enough to be asked.
    pub mountinfo: Option<Vec<u8>>,
    /// How long the container ran.
    pub took: Duration,
    /// Whether all of the exercise was taken.
    pub exercised: Exercised,
    /// What people should know.
    pub warnings: Vec<String>,
}

/// How much of the exercise was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exercised {
    /// All of it.
    Whole,
    /// The time was over, or the user ended it.
    Cut,
}

/// Why the trace ended.
enum End {
    /// The exercise is over.
    Done,
    /// The time is over.
    Time,
    /// Ctrl-C or Enter.
    Asked,
    /// The container ended by itself, with this exit code.
    Exited(i64),
}

/// Runs `image` as `args` say, until the exercise is over. The container is removed by `cleanup`, whatever happens.
///
/// # Errors
/// When the container cannot run, the exercise fails, or this machine cannot trace.
pub(super) async fn observe(
    engine: &Engine,
    image: &SourceImage,
    args: &BuildArgs,
    cleanup: &Cleanup,
    signals: &Signals,
    output: &Output,
) -> Result<Observed, CommandError> {
    let manner = Manner { newcomers: Newcomers::Ignore, sources: args.source.into(), sweeping: Sweeping::On };
    let (probes, file) = (steps::probes(&args.steps)?, steps::file(&args.steps)?);
    let (session, container) =
        tokio::join!(Session::start(Machine::of_engine(engine.info())?, manner), async {
            Ok(cleanup.create(&spec(image, &args.run, &args.cmd)?).await?)
        });
    let (mut session, container): (_, Result<OwnedContainer, CommandError>) = (session?, container);
    let container = container?;
    let header = session.header(image.identity(), engine.info().title())?;
    if let Some(file) = &args.capture {
        let existing = if args.force { Existing::Replace } else { Existing::Refuse };
        session.record(TARGET, Recorder::new(CaptureWriter::create(file, &header, existing)?));
    }
    session.announce(&container.id, TARGET)?;
    let began = std::time::Instant::now();
    signals.trace_begins();
    let live = output.live(format!("tracing {}: {}", container.name, until(args)));
    beside(&mut session, &live, pin!(engine.start(&container.id))).await??;

    let view = engine.container(&container.id).await?;
    session.settle(&view, TARGET)?;
    let mountinfo = view.pid.and_then(|pid| std::fs::read(format!("/proc/{pid}/mountinfo")).ok());
    let drive = Drive {
        engine,
        container: &container,
        target: Target::from(&view),
        ground: Ground::new(engine, &container.id, &image.config, Asking::Once),
        probes: &probes,
        file: &file,
        args,
        output,
    };
    let end = {
        let end = pin!(end_of_trace(&drive, signals));
        beside(&mut session, &live, end).await?
    };
    signals.trace_is_over();
    let end = end?;
    let mut warnings = shut_down(engine, &container, &end, &mut session, &live).await?;
    if matches!(end, End::Done) && file.ends_container() {
        warnings.clear();
    }
    live.finish(match end {
        End::Done => "the exercise is over".to_owned(),
        End::Time => "the time is over".to_owned(),
        End::Asked => "ended as you asked".to_owned(),
        End::Exited(code) => format!("the container ended with exit code {code}"),
    });
    let took = began.elapsed();
    let capture =
        session.finish(vec![(TARGET, header)])?.pop().ok_or(CommandError::Defect("closed the trace"))?;
    let exercised = match end {
        End::Done | End::Exited(_) => Exercised::Whole,
        End::Time | End::Asked => Exercised::Cut,
    };
    Ok(Observed { capture, mountinfo, took, exercised, warnings })
}

/// Lets the trace go on beside `work` until that ends.
pub(super) async fn beside<T>(
    session: &mut Session,
    live: &Live,
    mut work: impl Future<Output = T> + Unpin,
) -> Result<T, CommandError> {
    loop {
        tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            ticked = session.tick(live) => ticked?,
        }
    }
}

/// Takes in what the container holds, and traces how it stops: what it reads then is needed as well. What people should
/// know of an end that came by itself.
async fn shut_down(
    engine: &Engine,
    container: &OwnedContainer,
    end: &End,
    session: &mut Session,
    live: &Live,
) -> Result<Vec<String>, CommandError> {
    let view = engine.container(&container.id).await?;
    if view.pid.is_none() {
        let code = match end {
            End::Exited(code) => *code,
            End::Done | End::Time | End::Asked => view.exit_code,
        };
        return Ok(match end {
            End::Exited(0) => Vec::new(),
            End::Exited(_) => {
                vec![format!("the container ended with exit code {code}: was that the exercise?")]
            }
            End::Done | End::Time | End::Asked => {
                vec![format!("the container had ended with exit code {code} before the exercise was over")]
            }
        });
    }
    if let Err(error) = session.snapshot(&view, TARGET) {
        // It may end at any moment; what it held was traced when it was opened.
        log::info!("no snapshot at the end: {error}");
    }
    session.sweep_again()?;
    let stop = pin!(engine.stop(&container.id, STOP_GRACE));
    beside(session, live, stop).await??;
    Ok(Vec::new())
}

/// What drives the application, and where.
struct Drive<'a> {
    engine: &'a Engine,
    container: &'a OwnedContainer,
    target: Target,
    ground: Ground<'a>,
    /// Steps before the commands: they wait until the application is ready.
    probes: &'a Plan,
    /// Steps after them: they may end the container.
    file: &'a Plan,
    args: &'a BuildArgs,
    output: &'a Output,
}

/// Waits for the first end of the trace.
async fn end_of_trace(drive: &Drive<'_>, signals: &Signals) -> Result<End, CommandError> {
    let Drive { engine, container, args, .. } = drive;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut exercise = pin!(exercise(drive, stopped));
    let has_exercise = !args.steps.is_empty() || args.until.host_exec.is_some() || !args.exec.is_empty();
    let end = tokio::select! {
        done = &mut exercise, if has_exercise => return done.map(|()| End::Done),
        // A command on the host may well outlive the container that it talks to.
        code = engine.wait(&container.id), if !has_exercise => return Ok(End::Exited(code?)),
        () = elapsed(args.until.duration) => End::Time,
        () = signals.end_of_trace() => End::Asked,
        () = enter(), if !has_exercise && !args.until.until_exit => End::Asked,
    };
    if has_exercise {
        // Ends the command on the host and all that it started.
        drop(stop);
        exercise.await?;
    }
    Ok(end)
}

/// Probes, commands in the container, the command on the host, the steps of the file.
async fn exercise(
    drive: &Drive<'_>,
    stopped: tokio::sync::oneshot::Receiver<()>,
) -> Result<(), CommandError> {
    let Drive { engine, container, target, args, output, .. } = drive;
    let commands: Vec<_> = args.exec.iter().map(|command| command.words.clone()).collect();
    let mut stopped = pin!(async { drop(stopped.await) });
    tokio::select! {
        ran = take(drive, drive.probes) => ran?,
        () = &mut stopped => return Ok(()),
    }
    tokio::select! {
        ran = exercise::run_in_container(engine, &container.id, &commands, |chunk| {
            for line in chunk.bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
                output.note(crate::path::quote(line));
            }
        }) => ran?,
        () = &mut stopped => return Ok(()),
    }
    if let Some(line) = &args.until.host_exec {
        let command = HostCommand::Shell(line.clone());
        exercise::run_on_host(&command, Some(target), &mut stopped).await?.success(&command)?;
    }
    tokio::select! {
        ran = take(drive, drive.file) => ran,
        () = &mut stopped => Ok(()),
    }
}

/// Takes the steps of a plan; nothing is built from an exercise that fails.
async fn take(drive: &Drive<'_>, plan: &Plan) -> Result<(), CommandError> {
    let told = |outcome: &_| steps::tell(drive.output, outcome);
    let outcomes = exercise::run(plan, &drive.ground, told).await?;
    match outcomes.last().and_then(|last| Some((last.name.clone(), last.failure()?))) {
        Some((step, why)) => Err(ExerciseError::StepFailed { step, why }.into()),
        None => Ok(()),
    }
}

/// Ends after `duration`; never without one.
pub(super) async fn elapsed(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

/// Ends when a line is entered on a terminal.
pub(super) async fn enter() {
    use std::io::IsTerminal as _;
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    if !std::io::stdin().is_terminal() {
        return std::future::pending().await;
    }
    let mut line = String::new();
    match BufReader::new(tokio::io::stdin()).read_line(&mut line).await {
        // A terminal that was closed ends nothing.
        Ok(0) | Err(_) => std::future::pending().await,
        Ok(_) => {}
    }
}

/// What ends the trace, in words.
fn until(args: &BuildArgs) -> String {
    let mut ends = Vec::new();
    match (&args.until.host_exec, args.exec.as_slice()) {
        (Some(_), _) => ends.push("the host command ends".to_owned()),
        (None, [_, ..]) => ends.push("the commands in it end".to_owned()),
        (None, []) if !args.steps.is_empty() => ends.push("the exercise is over".to_owned()),
        (None, []) => ends.push("it ends by itself".to_owned()),
    }
    ends.extend(
        args.until.duration.map(|duration| format!("after {}", humantime::format_duration(duration))),
    );
    ends.push("Ctrl-C".to_owned());
    format!("until {}", ends.join(", or "))
}

/// The container to create: `image`, run as the options of `docker run` say.
///
/// # Errors
/// When an option is no such thing.
pub(super) fn spec(
    image: &SourceImage,
    run: &DockerRunArgs,
    cmd: &[String],
) -> Result<RunSpec, CommandError> {
    Ok(RunSpec {
        image: image.id.clone(),
        cmd: cmd.to_vec(),
        env: environment(&run.env, |name| std::env::var(name).ok())?,
        publish: run.publish.iter().flat_map(|publish| publish.0.clone()).collect(),
        volumes: run.volume.clone(),
        user: run.user.clone(),
        entrypoint: run.entrypoint.clone(),
        network: run.network.clone(),
        ..RunSpec::default()
    })
}
