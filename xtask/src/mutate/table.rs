//! What was found out, as Markdown: the same on the terminal and in docs/mutation.md.

use std::fmt::{Display, Formatter, Result, Write as _};
use std::time::Duration;

use super::{Mutant, Named, machine};

/// The least part of the files that matter that has to be named.
const GOAL: f64 = 0.95;

/// One image.
pub(super) struct Row {
    pub(super) name: String,
    files: usize,
    accessed: usize,
    pub(super) mutants: Vec<Mutant>,
    pub(super) took: Duration,
}

/// All of them.
pub(super) struct Table {
    pub(super) rows: Vec<Row>,
}

impl Row {
    pub(super) fn new(name: &str, files: usize, accessed: usize) -> Self {
        Self { name: name.to_owned(), files, accessed, mutants: Vec::new(), took: Duration::ZERO }
    }

    /// Mutants for which the exercise gives something else.
    fn matter(&self) -> impl Iterator<Item = &Mutant> {
        self.mutants.iter().filter(|mutant| mutant.difference.is_some())
    }

    /// Mutants that fail `slim verify` by a finding that leads to the file.
    fn named(&self) -> usize {
        self.matter().filter(|mutant| is_named(mutant)).count()
    }

    /// Mutants that pass, although the exercise gives something else.
    fn passed(&self) -> usize {
        self.matter().filter(|mutant| mutant.verdict == "pass").count()
    }

    fn is_good(&self) -> bool {
        self.passed() == 0 && self.named() as f64 >= GOAL * self.matter().count() as f64
    }

    fn cells(&self) -> String {
        let matter = self.matter().count();
        let file = self.matter().filter(|mutant| is_named(mutant) && mutant.named == Named::File).count();
        let rest = self.mutants.iter().filter(|mutant| mutant.difference.is_none());
        let told = rest.filter(|mutant| is_named(mutant)).count();
        let named = self.named();
        let part = if matter == 0 { 100.0 } else { 100.0 * named as f64 / matter as f64 };
        format!(
            "| {} | {} | {} | {} | {matter} | {named} ({part:.0} %) | {file} | {} | {told} of {} | {:.1} |",
            self.name,
            self.files,
            self.accessed,
            self.mutants.len(),
            self.passed(),
            self.mutants.len() - matter,
            self.took.as_secs_f64() / 60.0,
        )
    }
}

fn is_named(mutant: &Mutant) -> bool {
    mutant.verdict == "fail" && mutant.named != Named::No
}

/// A mutant on the terminal.
pub(super) fn line(mutant: &Mutant) -> String {
    let matters = if mutant.difference.is_some() { "matters" } else { "-" };
    let named = match mutant.named {
        Named::File => "named",
        Named::Way => "led to",
        Named::Words => "in words",
        Named::No => "not named",
    };
    let mut text = format!("  {matters:8} {:13} {named:10} {}", mutant.verdict, mutant.path);
    if mutant.difference.is_some() && !is_named(mutant) {
        let _infallible = write!(text, "\n    {}", mutant.difference.as_deref().unwrap_or_default());
        for finding in &mutant.findings {
            let _infallible = write!(text, "\n    {finding}");
        }
    }
    text
}

impl Table {
    pub(super) fn is_good(&self) -> bool {
        self.rows.iter().all(Row::is_good)
    }

    /// The page of the documentation.
    pub(super) fn page(&self) -> String {
        let machine = machine().unwrap_or_default();
        format!(
            "{}\nThe last run, on {machine}, by a development build of slim:\n\n{self}",
            include_str!("page.md")
        )
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(
            f,
            "| image | files | accessed | removed | matter | named | by its path | passes all the same | of the rest, named | minutes |"
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{}", row.cells()))?;
        let (matter, named) = self
            .rows
            .iter()
            .fold((0, 0), |(matter, named), row| (matter + row.matter().count(), named + row.named()));
        writeln!(f, "\n{named} of {matter} that matter are named.")?;
        let missed = |row: &Row| -> Vec<String> {
            let missed = row.matter().filter(|mutant| !is_named(mutant));
            missed.map(|mutant| format!("- {}: `{}`: {}", row.name, mutant.path, mutant.verdict)).collect()
        };
        let missed: Vec<String> = self.rows.iter().flat_map(missed).collect();
        if !missed.is_empty() {
            writeln!(f, "\nNot named:\n{}", missed.join("\n"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(difference: Option<&str>, verdict: &str, named: Named) -> Mutant {
        let difference = difference.map(str::to_owned);
        Mutant { path: "/a".into(), difference, verdict: verdict.into(), named, findings: Vec::new() }
    }

    #[test]
    fn what_is_good_enough() {
        let row = |mutants| Row { mutants, ..Row::new("x", 9, 3) };
        let good = || mutant(Some("other"), "fail", Named::Way);
        let mut mutants: Vec<Mutant> = (0..19).map(|_| good()).collect();
        mutants.push(mutant(Some("other"), "fail", Named::No));
        assert!(row(mutants).is_good(), "19 of 20");
        assert!(!row(vec![good(), mutant(Some("other"), "fail", Named::No)]).is_good());
        // Named, but not failed.
        assert!(!row(vec![mutant(Some("other"), "pass", Named::File)]).is_good());
        assert!(row(vec![mutant(None, "pass", Named::No)]).is_good());
        let row = row(vec![good(), mutant(None, "fail", Named::File), mutant(None, "pass", Named::No)]);
        assert_eq!(row.cells(), "| x | 9 | 3 | 3 | 1 | 1 (100 %) | 0 | 0 | 1 of 2 | 0.0 |");
    }
}
