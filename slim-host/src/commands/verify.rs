//! `slim verify`: the same exercise on the source image and on the slim one.

use super::{
    CommandError, Context,
    excuses::Excuses,
    source,
    steps::{self, End, Options},
    workbench::Workbench,
};
use crate::{
    cli::VerifyArgs,
    engine::SourceImage,
    exercise::Asking,
    report::{self, VerifyReport},
    verify::{Trees, Trial, Verdict, doubt, judge},
};

mod trial;

pub(super) use trial::{Stage, Tried};

/// Runs the command.
///
/// # Errors
/// When the slim image fails, when nothing can be said of it, or when this machine cannot run and trace.
pub(super) async fn execute(context: &Context, args: &VerifyArgs) -> Result<(), CommandError> {
    let bench = Workbench::open(context).await?;
    bench.tidy(context, verify(context, args, &bench)).await
}

async fn verify(context: &Context, args: &VerifyArgs, bench: &Workbench) -> Result<(), CommandError> {
    let end = if args.until_exit { End::ByItself } else { End::Stopped };
    let (exec, host_exec) = (args.exec.as_slice(), args.host_exec.as_deref());
    let mut plan = steps::some_plan(&Options { steps: &args.steps, exec, host_exec, end })?;
    let excuses = Excuses::new(&args.ignore, &[], &mut plan)?;
    let Workbench { engine, cleanup, .. } = bench;
    let (source, slim) = (engine.image(&args.source).await?, engine.image(&args.slim).await?);
    let stage =
        Stage { engine, cleanup, output: &context.output, run: &args.run, cmd: &args.cmd, plan: &plan };
    let told = |original: &Trial, subject: Option<&Trial>, verdict: &Verdict| {
        let report = VerifyReport::new(&args.source, &args.slim, original, subject, verdict);
        context.present("verify", &report, report::terminal::verify)
    };

    let original = stage.trials(&source, args.starts).await?;
    if let Some(why) = doubt(&original.trial) {
        told(&original.trial, None, &Verdict::Inconclusive { why: why.clone() })?;
        return Err(CommandError::Inconclusive(why));
    }
    let after = plan.after(&original.trial.outcomes);
    let mut subject = Stage { plan: &after, ..stage }.trials(&slim, args.starts).await?;
    excuses.apply(&mut subject.trial);
    let source_files = source::open(engine, &source, original.mountinfo, &context.output).await?;
    let slim_files = source::open(engine, &slim, subject.mountinfo, &context.output).await?;
    let trees = Trees { source: source_files.tree(), slim: slim_files.tree(), contents: Some(&source_files) };
    let verdict = judge(&plan, &original.trial, &subject.trial, trees, &excuses.names);
    told(&original.trial, Some(&subject.trial), &verdict)?;
    outcome(verdict)
}

impl Stage<'_> {
    /// [`Self::trial`] so often, each in a container of its own.
    ///
    /// # Errors
    /// As [`Self::trial`].
    async fn trials(&self, image: &SourceImage, starts: u32) -> Result<Tried, CommandError> {
        let (mut trials, mut mountinfo) = (Vec::new(), None);
        for start in 1..=starts {
            if starts > 1 {
                self.output.note(format!("start {start} of {starts}"));
            }
            let tried = self.trial(image, Asking::Twice).await?;
            mountinfo = mountinfo.or(tried.mountinfo);
            trials.push(tried.trial);
        }
        Ok(Tried { trial: Trial::united(trials), mountinfo })
    }
}

/// What a verdict means for the command.
pub(super) fn outcome(verdict: Verdict) -> Result<(), CommandError> {
    match verdict {
        Verdict::Pass => Ok(()),
        Verdict::Fail { findings } => Err(CommandError::NotVerified { findings: findings.len() }),
        Verdict::Inconclusive { why } => Err(CommandError::Inconclusive(why)),
    }
}
