//! What was measured, as tables of Markdown: the same on the terminal and in docs/bench.md.

use std::fmt::Write as _;

use super::pairs::Pairs;

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
    /// The 95 % interval of a median; the value alone, where it is none.
    band: [f64; 2],
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
        Self { what: what.to_owned(), value, limit: Limit::Most(limit), band: [value; 2] }
    }

    pub(super) fn least(what: &str, value: f64, limit: f64) -> Self {
        Self { what: what.to_owned(), value, limit: Limit::Least(limit), band: [value; 2] }
    }

    /// The goal of the median of `pairs`: where not all of its band is on one side of the limit, there is no verdict.
    pub(super) fn of_pairs(what: &str, pairs: &Pairs, limit: Limit) -> Self {
        Self { what: what.to_owned(), value: pairs.median(), limit, band: pairs.band() }
    }

    fn line(&self) -> String {
        let (side, limit) = match self.limit {
            Limit::Most(limit) => ("at most", limit),
            Limit::Least(limit) => ("at least", limit),
        };
        // A value that is not a number meets nothing.
        let meets = |value: f64| match self.limit {
            Limit::Most(limit) => value <= limit,
            Limit::Least(limit) => value >= limit,
        };
        let [low, high] = self.band;
        let verdict = match (meets(low), meets(high)) {
            (true, true) => "met".to_owned(),
            (false, false) => "**missed**".to_owned(),
            (true, false) | (false, true) if low.is_infinite() => "undecided, too few rounds".to_owned(),
            (true, false) | (false, true) => {
                format!("undecided, it is between {} and {}", digits(low), digits(high))
            }
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

/// A ratio as a cell; a dash where it was not measured.
pub(super) fn ratio(value: f64) -> String {
    if value.is_nan() { "-".to_owned() } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let line = |pairs: &[f64]| {
            let pairs = Pairs::from(pairs.to_vec());
            Goal::of_pairs("x", &pairs, Limit::Least(0.97)).line()
        };
        assert_eq!(line(&[0.98, 0.99, 1.0, 1.0, 1.0, 1.0]), "- x: 1.00, goal at least 0.97: met");
        assert_eq!(line(&[0.99; 5]), "- x: 0.99, goal at least 0.97: undecided, too few rounds");
        assert_eq!(line(&[0.9; 6]), "- x: 0.90, goal at least 0.97: **missed**");
        let undecided = "- x: 1.00, goal at least 0.97: undecided, it is between 0.90 and 1.00";
        assert_eq!(line(&[0.9, 0.99, 1.0, 1.0, 1.0, 1.0]), undecided);
        assert_eq!(Goal::most("y", f64::NAN, 1.0).line(), "- y: NaN, goal at most 1.00: **missed**");
    }
}
