//! How the work grows: counted, not timed.

use super::kept;
use crate::keep::{Level, testing::Image};

#[test]
fn probe_depth() {
    for depth in [475usize, 950, 1900] {
        let path = "/dd".repeat(depth);
        let image = Image::new().file(&format!("{path}/x"), b"");
        for level in Level::ALL {
            let begin = std::time::Instant::now();
            let kept = kept(&image, level, &[]);
            eprintln!("PROBE {depth} {level:?} {} {:?}", kept.len(), begin.elapsed());
        }
    }
}
