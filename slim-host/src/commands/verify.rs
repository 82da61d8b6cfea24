//! `slim verify`: the same exercise on the source image and on the slim one.

use super::{
    CommandError, Context,
    signals::Signals,
    source,
    steps::{self, End, Options},
};
use crate::{
    cli::VerifyArgs,
    engine::{Cleanup, Engine},
    exercise::Asking,
    keep::{RuleSpec, Rules},
    report::{self, VerifyReport},
    verify::{Trees, Verdict, doubt, judge},
};

mod trial;

pub(super) use trial::Stage;

/// Runs the command.
///
/// # Errors
/// When the slim image fails, when nothing can be said of it, or when this machine cannot run and trace.
pub(super) async fn execute(context: &Context, args: &VerifyArgs) -> Result<(), CommandError> {
    let engine = Engine::connect(context.host.as_deref()).await?;
    let cleanup = Cleanup::new(engine.clone());
    let signals = Signals::listen().map_err(|source| CommandError::Io {
        operation: "listen for",
        path: "signals".into(),
        source,
    })?;
    let result = tokio::select! {
        verified = verify(context, args, &engine, &cleanup) => verified,
        () = signals.fatal() => Err(CommandError::Interrupted),
    };
    for failure in cleanup.finish().await {
        context.output.warning(format!("a container of ours is left: {failure}"));
    }
    result
}

async fn verify(
    context: &Context,
    args: &VerifyArgs,
    engine: &Engine,
    cleanup: &Cleanup,
) -> Result<(), CommandError> {
    let end = if args.until_exit { End::ByItself } else { End::Stopped };
    let (exec, host_exec) = (args.exec.as_slice(), args.host_exec.as_deref());
    let plan = steps::some_plan(&Options { steps: &args.steps, exec, host_exec, end })?;
    let ignore = Rules::compile(RuleSpec { include: args.ignore.clone(), ..RuleSpec::default() })?;
    let (source, slim) = (engine.image(&args.source).await?, engine.image(&args.slim).await?);
    let stage =
        Stage { engine, cleanup, output: &context.output, run: &args.run, cmd: &args.cmd, plan: &plan };

    let original = stage.trial(&source, Asking::Twice).await?;
    if let Some(why) = doubt(&original.trial) {
        let report = VerifyReport::new(
            &args.source,
            &args.slim,
            &original.trial,
            None,
            &Verdict::Inconclusive { why: why.clone() },
        );
        context.present("verify", &report, report::terminal::verify)?;
        return Err(CommandError::Inconclusive(why));
    }
    let paced = plan.paced(original.trial.outcomes.iter().map(|outcome| outcome.took));
    let stage = Stage { plan: &paced, ..stage };
    let subject = stage.trial(&slim, Asking::Twice).await?;
    let source_files = source::open(engine, &source, original.mountinfo, &context.output).await?;
    let slim_files = source::open(engine, &slim, subject.mountinfo, &context.output).await?;
    let trees = Trees { source: source_files.tree(), slim: slim_files.tree(), contents: Some(&source_files) };
    let verdict = judge(&plan, &original.trial, &subject.trial, trees, &ignore);
    let report = VerifyReport::new(&args.source, &args.slim, &original.trial, Some(&subject.trial), &verdict);
    context.present("verify", &report, report::terminal::verify)?;
    outcome(verdict)
}

/// What a verdict means for the command.
pub(super) fn outcome(verdict: Verdict) -> Result<(), CommandError> {
    match verdict {
        Verdict::Pass => Ok(()),
        Verdict::Fail { findings } => Err(CommandError::NotVerified { findings: findings.len() }),
        Verdict::Inconclusive { why } => Err(CommandError::Inconclusive(why)),
    }
}
