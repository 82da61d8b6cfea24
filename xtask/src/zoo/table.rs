//! The result: one row for an image and level, as a table in Markdown.

use std::fmt::{Display, Formatter, Result};
use std::time::Duration;

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
    /// Steps that passed, of how many.
    pub(super) train: (usize, usize),
    /// Steps that passed, of how many.
    pub(super) deep: (usize, usize),
    pub(super) defects: usize,
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
        let passed = |row: &Row| row.train.0 == row.train.1 && row.deep.0 == row.deep.1 && row.defects == 0;
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
        let whole =
            |part: fn(&Row) -> (usize, usize)| rows.iter().filter(|row| part(row).0 == part(row).1).count();
        let defects: usize = rows.iter().map(|row| row.defects).sum();
        let mut sizes: Vec<u64> = rows.iter().map(|row| row.bytes).collect();
        sizes.sort_unstable();
        writeln!(
            f,
            "{level}: {} images, train passes on {}, deep on {}, {defects} metadata defects, median {:.1} MB",
            rows.len(),
            whole(|row| row.train),
            whole(|row| row.deep),
            megabytes(sizes.get(sizes.len() / 2).copied().unwrap_or(0)),
        )
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(
            f,
            "| image | level | source MB | slim MB | files | trace s | build s | train | deep | defects |"
        )?;
        writeln!(f, "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|")?;
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
        let Row { image, level, files, defects, train, deep, .. } = self;
        let traced = self.traced.map_or("-".to_owned(), |took| format!("{:.1}", took.as_secs_f64()));
        write!(
            f,
            "| {image} | {level} | {:.1} | {:.1} | {files} | {traced} | {:.1} | {}/{} | {}/{} | {defects} |",
            megabytes(self.source_bytes),
            megabytes(self.bytes),
            self.took.as_secs_f64(),
            train.0,
            train.1,
            deep.0,
            deep.1,
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "a size for people, to one decimal")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
