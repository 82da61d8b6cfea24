//! What was measured, as tables of Markdown: the same on the terminal and in docs/bench.md.

use std::fmt::Write as _;

/// A table with the goals that it has to show.
pub(super) struct Table {
    title: String,
    /// What was done, in a sentence or two.
    note: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    goals: Vec<Goal>,
}

/// A number that must stay on its side of a limit.
pub(super) struct Goal {
    what: String,
    value: f64,
    limit: Limit,
    /// How much the measurements of what it is compared to differ among themselves, as a part of their median.
    spread: f64,
}

/// A side of a number.
#[derive(Clone, Copy)]
pub(super) enum Limit {
    /// The value may be at most this.
    Most(f64),
    /// The value must be at least this.
    Least(f64),
}

impl Goal {
    pub(super) fn most(what: &str, value: f64, limit: f64) -> Self {
        Self { what: what.to_owned(), value, limit: Limit::Most(limit), spread: 0.0 }
    }

    pub(super) fn least(what: &str, value: f64, limit: f64) -> Self {
        Self { what: what.to_owned(), value, limit: Limit::Least(limit), spread: 0.0 }
    }

    /// The goal of a ratio to `values`: where those differ by more than the goal allows, there is no verdict.
    pub(super) fn against(self, values: &[f64]) -> Self {
        Self { spread: spread(values), ..self }
    }

    fn line(&self) -> String {
        let (side, limit, met) = match self.limit {
            Limit::Most(limit) => ("at most", limit, self.value <= limit),
            Limit::Least(limit) => ("at least", limit, self.value >= limit),
        };
        // A value that is not a number meets nothing.
        let undecided = self.spread > (limit - 1.0).abs();
        let verdict = match met {
            _ if undecided => {
                format!("undecided, the untraced alone differs by {:.0} %", 100.0 * self.spread)
            }
            true => "met".to_owned(),
            false => "**missed**".to_owned(),
        };
        format!("- {}: {}, goal {side} {}: {verdict}", self.what, digits(self.value), digits(limit))
    }
}

/// As many digits as say something.
fn digits(value: f64) -> String {
    if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

impl Table {
    pub(super) fn new(title: &str, note: &str, head: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            note: note.to_owned(),
            head: head.iter().map(|&word| word.to_owned()).collect(),
            rows: Vec::new(),
            goals: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(super) fn goal(&mut self, goal: Goal) {
        self.goals.push(goal);
    }

    /// The table as Markdown, its columns aligned.
    pub(super) fn markdown(&self) -> String {
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.chain([&self.head[column]]).map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let line = |cells: &[String]| {
            let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let mut text = format!("## {}\n{}\n\n", self.title, self.note);
        text.push_str(&line(&self.head));
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        text.push_str(&line(&rule));
        self.rows.iter().for_each(|row| text.push_str(&line(row)));
        text.push('\n');
        for goal in &self.goals {
            let _infallible = writeln!(text, "{}", goal.line());
        }
        text
    }
}

/// The middle of `values`; not a number where there are none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The distance of the quartiles as a part of the median.
fn spread(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |quarters: usize| sorted.get((sorted.len().saturating_sub(1) * quarters + 2) / 4).copied();
    match (at(1), at(3)) {
        (Some(first), Some(third)) => (third - first) / median(values),
        (None, _) | (_, None) => 0.0,
    }
}

/// A ratio as a cell; a dash where it was not measured.
pub(super) fn ratio(value: f64) -> String {
    if value.is_nan() { "-".to_owned() } else { format!("{value:.2}") }
}
