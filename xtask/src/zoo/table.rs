//! The result: one row for an image and level, as a table in Markdown.

use std::fmt::{Display, Formatter, Result};
use std::time::Duration;

use super::recipe::Part;

/// One slim image and how it did.
pub(super) struct Row {
    pub(super) image: String,
    pub(super) level: String,
    pub(super) source_bytes: u64,
    pub(super) bytes: u64,
    pub(super) files: u64,
    /// The time of the traced training; absent where an old capture was used.
    pub(super) traced: Option<Duration>,
    /// The time from the capture to the image.
    pub(super) took: Duration,
    /// In the order of [`Part::ALL`].
    pub(super) scores: [Score; 3],
    pub(super) defects: usize,
}

/// How a part of the steps went.
#[derive(Clone, Copy, Default)]
pub(super) struct Score {
    pub(super) steps: usize,
    pub(super) failed: usize,
}

/// Everything that one run found out.
#[derive(Default)]
pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    /// Images whose own steps fail on the source.
    pub(super) bad_checks: Vec<String>,
    /// Images that slim could not trace or build.
    pub(super) stranded: Vec<String>,
}

impl Table {
    /// Every check was sound, and every slim image passed all of it.
    pub(super) fn is_perfect(&self) -> bool {
        let passed = |row: &Row| row.passes(Part::Train) && row.passes(Part::Deep) && row.defects == 0;
        self.bad_checks.is_empty() && self.stranded.is_empty() && self.rows.iter().all(passed)
    }

    /// The levels, in the order of their first rows.
    fn levels(&self) -> Vec<&str> {
        let mut levels: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !levels.contains(&row.level.as_str()) {
                levels.push(&row.level);
            }
        }
        levels
    }

    fn summary(&self, level: &str, f: &mut Formatter<'_>) -> Result {
        let rows: Vec<&Row> = self.rows.iter().filter(|row| row.level == level).collect();
        let whole = |part: Part| rows.iter().filter(|row| row.passes(part)).count();
        let defects: usize = rows.iter().map(|row| row.defects).sum();
        let mut sizes: Vec<u64> = rows.iter().map(|row| row.bytes).collect();
        sizes.sort_unstable();
        writeln!(
            f,
            "{level}: {} images, train passes on {}, deep on {}, {defects} metadata defects, median {:.1} MB",
            rows.len(),
            whole(Part::Train),
            whole(Part::Deep),
            megabytes(sizes.get(sizes.len() / 2).copied().unwrap_or(0)),
        )
    }
}

impl Row {
    fn passes(&self, part: Part) -> bool {
        self.scores[part as usize].failed == 0
    }
}

impl Display for Score {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.steps {
            0 => write!(f, "-"),
            steps => write!(f, "{}/{steps}", steps.saturating_sub(self.failed)),
        }
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(
            f,
            "| image | level | source MB | slim MB | files | trace s | build s | train | deep | tools | defects |"
        )?;
        writeln!(f, "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        writeln!(f)?;
        for level in self.levels() {
            self.summary(level, f)?;
        }
        for (what, images) in [("bad checks", &self.bad_checks), ("slim failed", &self.stranded)] {
            if !images.is_empty() {
                writeln!(f, "{what}: {}", images.join(", "))?;
            }
        }
        Ok(())
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Row { image, level, files, defects, scores: [train, deep, tools], .. } = self;
        let traced = self.traced.map_or("-".to_owned(), |took| format!("{:.1}", took.as_secs_f64()));
        write!(
            f,
            "| {image} | {level} | {:.1} | {:.1} | {files} | {traced} | {:.1} | {train} | {deep} | {tools} | {defects} |",
            megabytes(self.source_bytes),
            megabytes(self.bytes),
            self.took.as_secs_f64(),
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "a size for people, to one decimal")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
