//! How long a step may take, and how long it pauses between two attempts.

use std::time::{Duration, Instant};

/// Between two attempts, at first; it doubles up to [`LONGEST_PAUSE`].
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Between two attempts at most.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How long a step may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    began: Instant,
    patience: Duration,
}

impl Limit {
    /// From now on.
    pub(super) fn begin(patience: Duration) -> Self {
        Self { began: Instant::now(), patience }
    }

    /// What is left of it.
    pub(super) fn left(self) -> Duration {
        self.patience.saturating_sub(self.began.elapsed())
    }

    /// What has gone of it.
    pub(super) fn took(self) -> Duration {
        self.began.elapsed()
    }

    /// All of it, in seconds.
    pub(super) fn seconds(self) -> u64 {
        self.patience.as_secs()
    }
}

/// Pauses that grow.
#[derive(Debug)]
pub(super) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pause {
    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}
