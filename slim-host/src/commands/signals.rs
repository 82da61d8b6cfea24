//! Ctrl-C, SIGTERM and SIGHUP: the first while something is traced ends the trace in order; any other ends the command.

use std::cell::Cell;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// The signals that this process got, counted.
#[derive(Debug)]
pub(super) struct Signals {
    count: watch::Receiver<u32>,
    /// The count at which the trace ends.
    graceful: Cell<u32>,
    /// The count at which the command ends at once.
    fatal: Cell<u32>,
}

impl Signals {
    /// Starts to listen. From here on no signal ends the process by itself.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn listen() -> std::io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [mut interrupt, mut terminate, mut hangup] = {
            let [a, b, c] = kinds.map(signal);
            [a?, b?, c?]
        };
        let (sender, count) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                next(&mut interrupt, &mut terminate, &mut hangup).await;
                sender.send_modify(|count| *count += 1);
            }
        });
        Ok(Self { count, graceful: Cell::new(1), fatal: Cell::new(1) })
    }

    /// From now until [`Self::trace_is_over`] one signal ends the trace, and is no reason to end the command.
    pub(super) fn trace_begins(&self) {
        let before = *self.count.borrow();
        self.graceful.set(before + 1);
        self.fatal.set(before + 2);
    }

    /// Ends when the trace shall end.
    pub(super) async fn end_of_trace(&self) {
        let wanted = self.graceful.get();
        let mut count = self.count.clone();
        // The sender lives as long as the runtime.
        let _ = count.wait_for(|count| *count >= wanted).await;
    }

    /// The trace is over, however it ended: the next signal ends the command.
    pub(super) fn trace_is_over(&self) {
        self.fatal.set(*self.count.borrow() + 1);
    }

    /// Ends when the command shall end at once.
    pub(super) async fn fatal(&self) {
        let mut count = self.count.clone();
        // The sender lives as long as the runtime.
        while *count.borrow_and_update() < self.fatal.get() && count.changed().await.is_ok() {}
    }
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal, hangup: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}
