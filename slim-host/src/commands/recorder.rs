//! Writes a capture file beside the trace: SQLite and its syncs on a thread of their own, so that a slow disk does not
//! hold up the draining of the ring.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use crate::capture::{AccessKey, AccessRecord, CaptureError, CaptureWriter, EventCounts, LossCounts, Status};

use super::CommandError;

/// Batches on their way to the file, beyond which [`Recorder::is_behind`]. Each is a copy, so there are never many: what is
/// new waits where it is.
const BATCHES: usize = 2;

enum Step {
    Record(Vec<(AccessKey, AccessRecord)>),
    Heartbeat { duration_ns: u64, loss: LossCounts },
    Finish { status: Status, duration_ns: u64, loss: LossCounts, counts: EventCounts },
}

/// A capture file being written.
pub(super) struct Recorder {
    steps: SyncSender<Step>,
    /// Steps that are not done.
    open: Arc<AtomicUsize>,
    thread: JoinHandle<Result<(), CaptureError>>,
}

impl Recorder {
    /// Takes over `writer`.
    #[must_use]
    pub(super) fn new(writer: CaptureWriter) -> Self {
        let (steps, receiver) = sync_channel(BATCHES);
        let open = Arc::new(AtomicUsize::new(0));
        let done = Arc::clone(&open);
        Self { steps, open, thread: std::thread::spawn(move || write(writer, &receiver, &done)) }
    }

    /// Whether the disk has enough to do: another step would wait for it.
    pub(super) fn is_behind(&self) -> bool {
        self.open.load(Ordering::Relaxed) >= BATCHES
    }

    /// Adds new and changed accesses.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn record(self, accesses: Vec<(AccessKey, AccessRecord)>) -> Result<Self, CommandError> {
        if accesses.is_empty() { Ok(self) } else { self.step(Step::Record(accesses)) }
    }

    /// Notes that the trace goes on.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn heartbeat(self, duration_ns: u64, loss: LossCounts) -> Result<Self, CommandError> {
        self.step(Step::Heartbeat { duration_ns, loss })
    }

    /// Closes the file in order.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn finish(
        self,
        status: Status,
        duration_ns: u64,
        loss: LossCounts,
        counts: EventCounts,
    ) -> Result<(), CommandError> {
        self.step(Step::Finish { status, duration_ns, loss, counts })?.join()
    }

    fn step(self, step: Step) -> Result<Self, CommandError> {
        self.open.fetch_add(1, Ordering::Relaxed);
        if self.steps.send(step).is_ok() {
            return Ok(self);
        }
        // The thread has ended, and knows why.
        self.join()?;
        Err(CommandError::Defect("wrote the capture"))
    }

    fn join(self) -> Result<(), CommandError> {
        drop(self.steps);
        self.thread.join().map_err(|_| CommandError::Defect("wrote the capture"))?.map_err(CommandError::from)
    }
}

fn write(mut writer: CaptureWriter, steps: &Receiver<Step>, open: &AtomicUsize) -> Result<(), CaptureError> {
    for step in steps {
        match step {
            Step::Record(accesses) => writer.record(&accesses)?,
            Step::Heartbeat { duration_ns, loss } => writer.heartbeat(duration_ns, &loss)?,
            Step::Finish { status, duration_ns, loss, counts } => {
                writer.count(&counts)?;
                return writer.finish(status, &loss, duration_ns);
            }
        }
        open.fetch_sub(1, Ordering::Relaxed);
    }
    Ok(())
}
