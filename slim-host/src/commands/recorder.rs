//! Writes a capture file beside the trace: SQLite and its syncs on a thread of their own, so that a slow disk does not
//! hold up the draining of the ring.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::JoinHandle,
};

use crate::capture::{AccessKey, AccessRecord, CaptureError, CaptureWriter, EventCounts, LossCounts, Status};

use super::CommandError;

/// Batches on their way to the file. The trace makes one every quarter of a second; a disk that is so far behind holds
/// the trace up, and the ring takes over.
const BATCHES: usize = 64;

enum Step {
    Record(Vec<(AccessKey, AccessRecord)>),
    Heartbeat { duration_ns: u64, loss: LossCounts },
    Finish { status: Status, duration_ns: u64, loss: LossCounts, counts: EventCounts },
}

/// A capture file being written.
pub(super) struct Recorder {
    steps: SyncSender<Step>,
    thread: JoinHandle<Result<(), CaptureError>>,
}

impl Recorder {
    /// Takes over `writer`.
    #[must_use]
    pub(super) fn new(writer: CaptureWriter) -> Self {
        let (steps, receiver) = sync_channel(BATCHES);
        Self { steps, thread: std::thread::spawn(move || write(writer, &receiver)) }
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

fn write(mut writer: CaptureWriter, steps: &Receiver<Step>) -> Result<(), CaptureError> {
    for step in steps {
        match step {
            Step::Record(accesses) => writer.record(&accesses)?,
            Step::Heartbeat { duration_ns, loss } => writer.heartbeat(duration_ns, &loss)?,
            Step::Finish { status, duration_ns, loss, counts } => {
                writer.count(&counts)?;
                return writer.finish(status, &loss, duration_ns);
            }
        }
    }
    Ok(())
}
