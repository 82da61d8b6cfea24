//! Ownership of the containers that slim creates: whatever happens, they are removed.
//!
//! A container is noted *before* the engine is asked to create it, under a name and a label that only this run
//! uses, and the request runs to its end even when nobody waits for it any more, so that cancelling half-way leaves
//! nothing behind either. [`Cleanup::finish`] removes all and
//! reports; callers run it on every way out (success, error, Ctrl-C). Should a panic skip it, dropping the value
//! makes one last attempt on a thread of its own.
//!
//! Removal first asks the engine whether the container carries this run's label. A container of somebody else is
//! never removed, even if it took the name.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::{Engine, EngineError, RunSpec};

/// Label of every container that slim creates; the value names the run.
const RUN_LABEL: &str = "slim.run";
/// How long the last attempt of a dropped [`Cleanup`] may hold up the process.
const LAST_ATTEMPT: Duration = Duration::from_secs(20);

/// The containers of this run; removes them in the end.
#[derive(Debug)]
pub struct Cleanup {
    engine: Engine,
    run: String,
    names: Mutex<BTreeSet<String>>,
    next: AtomicU64,
    /// What must run to its end holds it for reading; having it for writing means that nothing is under way.
    in_flight: Arc<tokio::sync::RwLock<()>>,
}

/// A container that this run created and will remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedContainer {
    /// Full id.
    pub id: String,
    /// Name.
    pub name: String,
}

impl Cleanup {
    /// Owns nothing yet.
    #[must_use]
    pub fn new(engine: Engine) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let run = format!("{:x}-{:x}", std::process::id(), now.as_nanos());
        Self { engine, run, names: Mutex::default(), next: AtomicU64::new(0), in_flight: Arc::default() }
    }

    /// The engine in which it cleans up.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Creates a container and owns it. Without a name in `spec` it gets a unique one.
    ///
    /// # Errors
    /// When the image is unknown, the name is taken, or the engine refuses.
    pub async fn create(&self, spec: &RunSpec) -> Result<OwnedContainer, EngineError> {
        let mut spec = spec.clone();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = spec.name.get_or_insert_with(|| format!("slim-{}-{number}", self.run)).clone();
        spec.labels.insert(RUN_LABEL.to_owned(), self.run.clone());
        self.names().insert(name.clone());
        // An engine goes on creating when the client hangs up, and would be done after we looked for what to remove.
        let engine = self.engine.clone();
        let request = async move { engine.create_container(&spec).await };
        Ok(OwnedContainer { id: self.to_the_end("create a container", request).await?, name })
    }

    /// Runs `work` to its end even when nobody waits for it any more; [`Cleanup::finish`] waits for it. For what must
    /// not be left half done, and cleans up after itself.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn to_the_end<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> Result<T, EngineError> {
        let guard = Arc::clone(&self.in_flight).read_owned().await;
        let request = tokio::spawn(async move {
            let done = work.await;
            drop(guard);
            done
        });
        let joined = request.await;
        joined.map_err(|error| EngineError::Io { operation, source: std::io::Error::other(error) })?
    }

    /// Removes one container now.
    ///
    /// # Errors
    /// When the engine fails; the container stays owned, and [`Cleanup::finish`] tries again.
    pub async fn remove(&self, container: &OwnedContainer) -> Result<(), EngineError> {
        remove_own(&self.engine, &container.name, &self.run).await?;
        self.names().remove(&container.name);
        Ok(())
    }

    /// Removes everything that is left and returns what could not be removed. Waits for containers that are being
    /// created at the moment.
    pub async fn finish(&self) -> Vec<EngineError> {
        let _none_in_flight = self.in_flight.write().await;
        let names: Vec<String> = self.names().iter().cloned().collect();
        let mut failures = Vec::new();
        for name in names {
            match remove_own(&self.engine, &name, &self.run).await {
                Ok(()) => {
                    self.names().remove(&name);
                }
                Err(error) => failures.push(error),
            }
        }
        failures
    }

    /// A panic elsewhere does not make the set of names wrong, so a poisoned lock is taken all the same.
    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        let names = std::mem::take(&mut *self.names());
        if names.is_empty() {
            return;
        }
        log::warn!("removing containers that were left behind: {names:?}");
        let (socket, run) = (self.engine.socket().to_owned(), self.run.clone());
        // The connection belongs to a runtime that may be gone, and a runtime cannot be entered twice on one
        // thread: a thread with a runtime and a connection of its own depends on neither.
        let attempt = std::thread::spawn(move || last_attempt(socket, &names, &run));
        if attempt.join().is_err() {
            log::error!("containers were left behind; look for label {RUN_LABEL}={}", self.run);
        }
    }
}

fn last_attempt(socket: PathBuf, names: &BTreeSet<String>, run: &str) {
    let removal = async {
        let engine = Engine::at_socket(socket).await?;
        for name in names {
            remove_own(&engine, name, run).await?;
        }
        Ok::<(), EngineError>(())
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return log::error!("cannot start a runtime to remove {names:?}: {error}"),
    };
    match runtime.block_on(async { tokio::time::timeout(LAST_ATTEMPT, removal).await }) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::error!("cannot remove {names:?}: {error}"),
        Err(_) => log::error!("cannot remove {names:?}: the engine does not answer"),
    }
}

/// Removes the container of this name when it carries this run's label; nothing to remove is success.
async fn remove_own(engine: &Engine, name: &str, run: &str) -> Result<(), EngineError> {
    match engine.container(name).await {
        // By id: the name could be another's by now.
        Ok(view) if view.labels.get(RUN_LABEL).map(String::as_str) == Some(run) => {
            engine.remove_container(&view.id).await
        }
        Ok(_) | Err(EngineError::UnknownContainer { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
