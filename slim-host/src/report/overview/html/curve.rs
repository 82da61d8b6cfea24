//! The saturation curve as lines of a picture, drawn here so that the page shows it without its script.

use crate::{
    output::text::{count, duration, size},
    report::overview::{Point, Timeline},
};

/// The curve in the coordinates of the picture.
pub(super) struct Curve {
    /// What it shows, as a sentence.
    pub(super) summary: String,
    /// What the first line counts.
    pub(super) counts: &'static str,
    /// The first line, as an SVG path.
    pub(super) paths: String,
    /// The second line, likewise; empty where the image is not at hand.
    pub(super) bytes: String,
    /// Heights with what they mean on the left.
    pub(super) rows: Vec<(String, String)>,
    /// Heights with what they mean on the right.
    pub(super) sizes: Vec<(String, String)>,
    /// Moments.
    pub(super) columns: Vec<(String, String)>,
    /// Program starts.
    pub(super) starts: Vec<(String, String)>,
}

/// The corners of the plot: left, right, top, bottom.
const PLOT: (f64, f64, f64, f64) = (60.0, 800.0, 10.0, 205.0);

impl Curve {
    #[expect(clippy::cast_precision_loss, reason = "coordinates of a picture")]
    pub(super) fn new(timeline: &Timeline) -> Self {
        let (left, right, top, bottom) = PLOT;
        let last = timeline.points.last();
        let (paths, bytes) = last.map_or((0, 0), |last| (last.paths, last.bytes));
        let within = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        let x = |ns: u64| left + (right - left) * within(ns, timeline.duration_ns);
        let y = |part: u64, whole: u64| bottom - (bottom - top) * within(part, whole);
        let steps = |value: fn(&Point) -> u64, whole: u64| {
            let start = format!("M{left:.1} {bottom:.1}");
            let steps = timeline.points.iter().map(|p| format!("H{:.1}V{:.1}", x(p.ns), y(value(p), whole)));
            std::iter::once(start).chain(steps).chain([format!("H{right:.1}")]).collect::<String>()
        };
        let at = |ns: u64| duration(std::time::Duration::from_nanos(ns));
        let what = if timeline.of_image { "files of the image" } else { "paths" };
        let quiet = timeline.duration_ns.saturating_sub(timeline.last_ns);
        // A tenth of the time without anything new is little, and less is nothing.
        let settled = if quiet.saturating_mul(10) >= timeline.duration_ns {
            format!("then nothing new for {}.", at(quiet))
        } else {
            "new ones still came when it ended, so a longer trace may find more.".to_owned()
        };
        let summary = format!(
            "{} {what} were used. Half of them by {}, nine tenths by {}, the last new one at {}; {settled}",
            count(paths),
            at(timeline.half_ns),
            at(timeline.ninety_ns),
            at(timeline.last_ns),
        );
        let parts = [0_u64, 1, 2, 3, 4];
        let quarter = |whole: u64, part: u64| (u128::from(whole) * u128::from(part) / 4) as u64;
        Self {
            summary,
            counts: if timeline.of_image { "files of the image used so far" } else { "paths used so far" },
            paths: steps(|point| point.paths, paths),
            bytes: if bytes > 0 { steps(|point| point.bytes, bytes) } else { String::new() },
            rows: parts.map(|part| (format!("{:.1}", y(part, 4)), count(quarter(paths, part)))).into(),
            sizes: if bytes > 0 {
                parts.map(|part| (format!("{:.1}", y(part, 4)), size(quarter(bytes, part)))).into()
            } else {
                Vec::new()
            },
            columns: parts
                .map(|part| quarter(timeline.duration_ns, part))
                .map(|ns| (format!("{:.1}", x(ns)), at(ns)))
                .into(),
            starts: timeline
                .starts
                .rows
                .iter()
                .map(|start| (format!("{:.1}", x(start.ns)), start.path.clone()))
                .collect(),
        }
    }
}
