//! What the hooks cost by instructions: the file system hooks need BPF trampolines, which this machine's kernel may refuse,
//! and an emulated processor has no time worth measuring. So a virtual machine whose clock counts instructions runs the
//! loops (`tests/tests/kernel/cost.rs`). What a cache miss or a locked instruction costs more than others, this does not
//! tell.
//!
//! Of several measurements the least counts, and no median: what else runs on the processor only adds.

use anyhow::{Context, Result, ensure};

use super::table::{Goal, Table, ratio};
use crate::vm::{self, Kernel};

/// The newest kernel with long support.
pub(super) const KERNEL: Kernel = Kernel::V6_12;

const TEST: &str = "cost::what_the_hooks_cost";

/// Begins a line: then come work, watcher and instructions of a call.
const MARK: &str = "COST ";

/// What is done, and whether goals are set on it: of a call that names no file, only what it costs servers is of interest.
const WORK: [(&str, &str, bool); 3] =
    [("open", "open+close", true), ("stat", "stat", true), ("read", "read", false)];

/// A source of events, as tables and the test's lines know it.
pub(super) struct Source {
    pub(super) title: &'static str,
    pub(super) watcher: &'static str,
    /// Empty programs on the same hooks.
    pub(super) floor: &'static str,
    /// The most of the untraced, and the most of what the floor adds.
    goals: Option<[f64; 2]>,
}

pub(super) const SOURCES: [Source; 2] = [
    Source { title: "slim (B)", watcher: "vfs", floor: "floor-vfs", goals: Some([1.10, 1.50]) },
    // Its goals are measured by the clock, among the programs.
    Source { title: "slim (A)", watcher: "calls", floor: "floor-calls", goals: None },
];

/// Runs the loops, and tells what each source adds.
pub(super) fn measure() -> Result<Table> {
    let (release, said) = vm::count_instructions(KERNEL, TEST, &[])?;
    let mut table = Table::new(
        "What a hook takes, in instructions",
        &format!(
            "Instructions of one call on Linux {release}, in a virtual machine whose clock counts them (`qemu -icount`), so \
             that nothing else that the host does is among them; 1,000 files of an overlay, each seen before; and reads of a \
             byte, of which servers make more. `floor` is empty programs on the same hooks: B on functions of the file \
             system layer, A on the return of system calls. Times the untraced, and times what the floor adds."
        ),
        &["loop", "watched by", "instructions", "added", "of untraced", "of the floor's addition"],
    );
    for (work, title, has_goals) in WORK {
        let counted = |watcher| counted(&said, work, watcher);
        let untraced = counted("untraced")?;
        table.row(cells(&[title, "nobody"], &[untraced, f64::NAN, 1.0, f64::NAN]));
        for Source { title: source, watcher, floor, goals } in &SOURCES {
            let (floor, watched) = (counted(floor)?, counted(watcher)?);
            let [below, added] = [floor, watched].map(|value| value - untraced);
            let title_of_floor = format!("floor of {source}");
            table.row(cells(&[title, &title_of_floor], &[floor, below, floor / untraced, 1.0]));
            // Less than an instruction: no program is on the way.
            let times_floor = if below < 1.0 { f64::NAN } else { added / below };
            table.row(cells(&[title, source], &[watched, added, watched / untraced, times_floor]));
            if let Some([of_untraced, of_floor]) = goals.filter(|_| has_goals) {
                table.goal(Goal::most(&format!("{title}, {source}"), watched / untraced, of_untraced));
                let what = format!("{title}, {source}, of the floor's addition");
                table.goal(Goal::most(&what, times_floor, of_floor));
            }
        }
    }
    Ok(table)
}

/// The least of what the console says of this work under this watcher.
pub(super) fn counted(said: &str, work: &str, watcher: &str) -> Result<f64> {
    let measured = said.lines().filter_map(|line| {
        let mut words = line.trim().split_once(MARK)?.1.split(' ');
        (words.next() == Some(work) && words.next() == Some(watcher)).then(|| words.next())?
    });
    let values: Vec<f64> = measured.map(str::parse).collect::<Result<_, _>>().context("no number")?;
    ensure!(!values.is_empty(), "{work} under {watcher} was not measured: this kernel refused the hooks");
    Ok(values.into_iter().fold(f64::INFINITY, f64::min))
}

fn cells(titles: &[&str], values: &[f64; 4]) -> Vec<String> {
    let [instructions, added, of_untraced, of_floor] = *values;
    let whole = |value: f64| if value.is_nan() { "-".to_owned() } else { format!("{value:.0}") };
    let numbers = [whole(instructions), whole(added), ratio(of_untraced), ratio(of_floor)];
    titles.iter().map(|&title| title.to_owned()).chain(numbers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_each_is_read_from_the_console() {
        let said =
            "noise\nCOST open vfs 3.0\r\nCOST open vfs 1.5\nCOST open vfs 2.0\nCOST open untraced 1.0\n";
        assert_eq!(counted(said, "open", "vfs").ok(), Some(1.5));
        assert!(counted(said, "stat", "vfs").is_err());
    }
}
