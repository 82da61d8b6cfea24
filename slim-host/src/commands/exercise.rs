//! `slim exercise`: the steps of an exercise against a running container.

use super::{
    CommandError, Context,
    steps::{self, End, Options},
};
use crate::{
    cli::ExerciseArgs,
    engine::Engine,
    exercise::{self, Asking, ExerciseError, Ground},
    path::quote,
    report::{self, ExerciseReport},
};

/// Runs the command.
///
/// # Errors
/// When the container does not run, or a step fails.
pub(super) async fn execute(context: &Context, args: &ExerciseArgs) -> Result<(), CommandError> {
    let options = Options {
        steps: &args.steps,
        exec: &args.exec,
        host_exec: args.host_exec.as_deref(),
        end: End::Stopped,
    };
    let plan = steps::some_plan(&options)?;
    let engine = Engine::connect(context.host.as_deref()).await?;
    let view = engine.container(&args.container).await?;
    if view.pid.is_none() {
        return Err(CommandError::NotRunning(quote(args.container.as_bytes())));
    }
    let image = engine.image(&view.image_id).await?;
    let ground = Ground::new(&engine, &view.id, &image.config, Asking::Once);
    let outcomes = exercise::run(&plan, &ground, |_| {}).await?;
    let report = ExerciseReport::new(&view.name, &outcomes);
    context.present("exercise", &report, report::terminal::exercise)?;
    match outcomes.last().and_then(|last| Some((last.name.clone(), last.failure()?))) {
        Some((step, why)) => Err(ExerciseError::StepFailed { step, why }.into()),
        None => Ok(()),
    }
}
