//! Proving the slim image before it is written, and healing it: what was looked for in vain becomes evidence, and the
//! image is built again, until nothing is missing.
//!
//! Invariants: evidence is only added, so a round never removes a path; each round adds at least one, or it is the
//! last; images of rounds have no name, and the last of them stays only as long as it takes to write it.

use super::{Planned, off_thread, output::Destination, produce};
use crate::{
    capture::{self, AccessKey, AccessKind, AccessRecord, Capture, Existing, Outcome},
    cli::BuildArgs,
    commands::{
        CommandError, Context,
        excuses::Excuses,
        source,
        steps::{self, End, Options},
        verify::{Stage, outcome},
    },
    engine::{Cleanup, EngineError},
    exercise::{Asking, Plan},
    image::{DockerArchive, LABEL_PREFIX, SlimImage},
    keep::Rules,
    report::{self, HealRound, VerifyReport},
    rootfs::FileContents,
    verify::{Finding, Missing, Trees, Trial, Verdict, doubt, judge},
};

/// `ENOENT`.
const ENOENT: i32 = rustix::io::Errno::NOENT.raw_os_error();

/// What proves the image; `None` when no proof is wanted. An exercise is reason enough for one.
///
/// # Errors
/// When there is nothing to prove it with, or an exercise that nothing takes.
pub(super) fn exercise(args: &BuildArgs, rules: &Rules) -> Result<Option<(Plan, Excuses)>, CommandError> {
    let end = if args.until.until_exit { End::ByItself } else { End::Stopped };
    let (exec, host_exec) = (args.exec.as_slice(), args.until.host_exec.as_deref());
    let mut plan = steps::plan(&Options { steps: &args.steps, exec, host_exec, end })?;
    let has_exercise = !args.steps.is_empty() || !exec.is_empty() || host_exec.is_some();
    let is_asked = args.verify || args.heal.is_some();
    if is_asked && plan.is_empty() {
        return Err(CommandError::NoExercise);
    }
    if !is_asked && (args.no_verify || args.dry_run || !has_exercise) {
        let is_idle = has_exercise && !args.from.is_empty();
        return if is_idle { Err(CommandError::IdleExercise) } else { Ok(None) };
    }
    let excuses = Excuses::new(&args.ignore, &rules.spec().exclude, &mut plan)?;
    Ok(Some((plan, excuses)))
}

/// A proof under way.
pub(super) struct Proof<'a> {
    pub(super) context: &'a Context,
    pub(super) args: &'a BuildArgs,
    pub(super) cleanup: &'a Cleanup,
    pub(super) destination: &'a Destination,
    pub(super) plan: &'a Plan,
    pub(super) excuses: &'a Excuses,
}

/// What is to be written, and how it came to pass.
pub(super) struct Proven {
    pub(super) planned: Planned,
    /// The rounds that healed it; none when it passed at once.
    pub(super) rounds: Vec<HealRound>,
}

impl Proof<'_> {
    /// Tries the slim image of `planned`, and of what heals it, until it passes.
    ///
    /// # Errors
    /// When it does not pass: the report is on standard output then.
    pub(super) async fn of(&self, planned: Planned) -> Result<Proven, CommandError> {
        let args = self.args;
        let stage = Stage {
            engine: self.cleanup.engine(),
            cleanup: self.cleanup,
            output: &self.context.output,
            run: &args.run,
            cmd: &args.cmd,
            plan: self.plan,
        };
        let original = stage.trial(&planned.image, Asking::Twice).await?.trial;
        if let Some(why) = doubt(&original) {
            return Err(CommandError::Inconclusive(why));
        }
        let plan = self.plan.after(&original.outcomes);
        let stage = Stage { plan: &plan, ..stage };
        let most = args.heal.unwrap_or_default() as usize;
        let (mut planned, mut rounds) = (planned, Vec::new());
        loop {
            let (subject, verdict);
            (planned, subject, verdict) = self.round(stage, planned, &original).await?;
            let findings = match &verdict {
                Verdict::Pass => {
                    self.remember(&planned.capture, &rounds)?;
                    return Ok(Proven { planned, rounds });
                }
                Verdict::Inconclusive { .. } => {
                    return outcome(verdict).map(|()| Proven { planned, rounds });
                }
                Verdict::Fail { findings } => findings,
            };
            let healed = if rounds.len() < most { heal(&mut planned.capture, findings) } else { 0 };
            if healed == 0 {
                let report =
                    VerifyReport::new(&args.image, "the slim image", &original, Some(&subject), &verdict);
                self.context.present("verify", &report, report::terminal::verify)?;
                return outcome(verdict).map(|()| Proven { planned, rounds });
            }
            let round = HealRound::new(rounds.len() + 1, healed, findings.clone());
            self.context.output.note(&round);
            rounds.push(round);
            planned = off_thread("planned the slim image", move || {
                let Planned { image, files, capture, choices, .. } = planned;
                Planned::new(image, files, capture, choices)
            })
            .await?;
        }
    }

    /// Writes what healed the image into the capture file, if there is one.
    fn remember(&self, capture: &Capture, rounds: &[HealRound]) -> Result<(), CommandError> {
        match &self.args.capture {
            Some(file) if !rounds.is_empty() => Ok(capture::store::write(file, capture, Existing::Replace)?),
            Some(_) | None => Ok(()),
        }
    }

    /// Builds the image without a name, tries and judges it, and removes it.
    async fn round(
        &self,
        stage: Stage<'_>,
        planned: Planned,
        original: &Trial,
    ) -> Result<(Planned, Trial, Verdict), CommandError> {
        let (slim, planned) = produce(planned, self.destination, &self.context.output).await?;
        let id = self.load(&slim).await?;
        let tried = self.judged(stage, &planned, &id, original).await;
        if let Err(error) = stage.engine.remove_untagged(&id, &label()).await {
            log::info!("an image without a name is left: {error}");
        }
        let (subject, verdict) = tried?;
        Ok((planned, subject, verdict))
    }

    async fn judged(
        &self,
        stage: Stage<'_>,
        planned: &Planned,
        id: &str,
        original: &Trial,
    ) -> Result<(Trial, Verdict), CommandError> {
        let slim = stage.engine.image(id).await?;
        let mut tried = stage.trial(&slim, Asking::Twice).await?;
        self.excuses.apply(&mut tried.trial);
        let files = source::open(stage.engine, &slim, tried.mountinfo, stage.output).await?;
        let contents = Some(&planned.files as &dyn FileContents);
        let trees = Trees { source: planned.files.tree(), slim: files.tree(), contents };
        let verdict = judge(self.plan, original, &tried.trial, trees, &self.excuses.names);
        Ok((tried.trial, verdict))
    }

    /// Loads the image; interrupted, it is removed again.
    async fn load(&self, slim: &SlimImage) -> Result<String, CommandError> {
        let archive = DockerArchive::new(slim, &[])?;
        let engine = self.cleanup.engine().clone();
        // The receiver goes when this call is cancelled.
        let (waiting, _waiter) = tokio::sync::oneshot::channel::<()>();
        let work = async move {
            let id = engine.load(archive).await?;
            if waiting.is_closed() {
                engine.remove_untagged(&id, &label()).await?;
            }
            Ok::<_, EngineError>(id)
        };
        Ok(self.cleanup.to_the_end("load the image", work).await?)
    }
}

/// What only images of slim carry.
fn label() -> String {
    format!("{LABEL_PREFIX}capture.digest")
}

/// Adds what was missing to the evidence; how many names are new.
fn heal(capture: &mut Capture, findings: &[Finding]) -> usize {
    let mut healed = 0;
    for finding in findings {
        let Some(missing) = finding.missing() else { continue };
        let record = record(capture, missing);
        for path in finding.cures() {
            let key = AccessKey { path, kind: AccessKind::Healed, outcome: Outcome::Found };
            if !matches!(finding, Finding::Suspect(_)) {
                // What failed in the slim container stands behind the evidence. Like all that was absent, it proves
                // nothing by itself.
                let failed =
                    AccessKey { kind: missing.operation, outcome: Outcome::Failed(ENOENT), ..key.clone() };
                capture.accesses.entry(failed).or_insert_with(|| record.clone());
            }
            healed += usize::from(capture.accesses.insert(key, record.clone()).is_none());
        }
    }
    healed
}

/// Who missed it, after everything that was seen on the source image.
fn record(capture: &Capture, missing: &Missing) -> AccessRecord {
    AccessRecord {
        pid: missing.pid,
        comm: missing.process.clone().into_bytes(),
        exe: missing.executable.clone().into_bytes(),
        offset_ns: capture.header.duration_ns,
        count: missing.count,
    }
}
