//! The report as a summary for a CI step: short, in the Markdown that GitHub, GitLab and Forgejo show.
//!
//! Names are attacker-chosen: each stands in a code span, whose backticks, pipes and line breaks are replaced, so that
//! none becomes a link, a mention, an image or HTML.

use super::{Overview, Sizes};
use crate::{
    output::{
        Line, Page,
        text::{count, duration, elide, size},
    },
    report::{removed::Extent, terminal::reason_label},
};

/// Rows of each table.
const SHOWN: usize = 8;

/// The report as Markdown.
#[must_use]
pub fn markdown(report: &Overview) -> Page {
    let mut page = Page::default();
    let mut line = |text: String| page.push(Line::plain(text));
    line(format!("### slim: {}", code(&report.subject)));
    line(String::new());
    if let Some(source) = &report.source {
        line("| | source | slim | |".to_owned());
        line("|---|--:|--:|---|".to_owned());
        let slim = report.slim.as_ref();
        let of = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let ratio = report.ratio.map_or(String::new(), |ratio| format!("{ratio:.1} times smaller"));
        line(format!(
            "| size | {} | {} | {ratio} |",
            size(source.bytes),
            of(slim.map(|slim| size(slim.bytes)))
        ));
        let fewer = slim.map_or(String::new(), |_| format!("{} removed", count(report.removed_files())));
        line(format!(
            "| files | {} | {} | {fewer} |",
            count(source.files),
            of(slim.map(|slim| count(slim.files)))
        ));
        line(String::new());
    }
    if let Some(capture) = &report.capture {
        let state =
            if capture.complete { "complete".to_owned() } else { format!("**{}**", capture.status.name()) };
        line(format!(
            "Capture: {state}, {} paths, {} events, {} lost, in {}.",
            count(capture.paths),
            count(capture.events),
            count(capture.lost()),
            duration(std::time::Duration::from_nanos(capture.duration_ns))
        ));
        line(String::new());
    }
    if !report.kept.is_empty() {
        line("| kept because | files | size |".to_owned());
        line("|---|--:|--:|".to_owned());
        for group in &report.kept {
            line(format!(
                "| {} | {} | {} |",
                reason_label(group.reason),
                count(group.files),
                size(group.bytes)
            ));
        }
        line(String::new());
    }
    if !report.removed.rows.is_empty() {
        line("| removed, most of it from | files | size |".to_owned());
        line("|---|--:|--:|".to_owned());
        for row in report.removed.rows.iter().take(SHOWN) {
            let part = match row.extent {
                Extent::Whole => "",
                Extent::Part => " (part)",
            };
            let path = code(&row.path.to_string());
            line(format!("| {path}{part} | {} | {} |", count(row.files), size(row.bytes)));
        }
        rest(&mut line, report.removed.all, "directories");
    }
    if report.slim.is_some() && !report.packages.rows.is_empty() {
        let kept = report.packages.rows.iter().filter(|row| row.sizes.kept_files > 0).count() as u64;
        line(format!(
            "Packages: {} of {} are left, whole or in part.",
            count(kept),
            count(report.packages.all)
        ));
        line(String::new());
    } else if report.slim.is_none() && !report.packages.rows.is_empty() {
        line("| largest packages | files | size |".to_owned());
        line("|---|--:|--:|".to_owned());
        for row in report.packages.rows.iter().take(SHOWN) {
            let Sizes { bytes, files, .. } = row.sizes;
            line(format!("| {} | {} | {} |", code(&row.name), count(files), size(bytes)));
        }
        rest(&mut line, report.packages.all, "packages");
    }
    for warning in report.warnings.iter().take(SHOWN) {
        line(format!("- :warning: {}", code(warning)));
    }
    if report.warnings.len() > SHOWN {
        line(format!("- and {} more", report.warnings.len() - SHOWN));
    }
    page
}

fn rest(line: &mut impl FnMut(String), all: u64, what: &str) {
    line(String::new());
    if all > SHOWN as u64 {
        line(format!("and {} more {what}", count(all - SHOWN as u64)));
        line(String::new());
    }
}

/// Foreign text as a code span that nothing in it ends. A pipe would end a cell even there.
fn code(text: &str) -> String {
    let text: String = elide(text, 300)
        .chars()
        .map(|c| match c {
            '`' => '\'',
            '|' => '\u{a6}',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect();
    let text = text.trim();
    if text.is_empty() { "` `".to_owned() } else { format!("`{text}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_span_holds_what_it_is_given() {
        assert_eq!(code("/a`b|c\n"), "`/a'b\u{a6}c`");
        assert_eq!(code("![x](http://x) <img src=x>"), "`![x](http://x) <img src=x>`");
        assert_eq!(code(""), "` `");
    }
}
