//! What was measured in turns, and the ratios of neighbours.
//!
//! A machine that others share is slower now and then, for milliseconds up to some seconds, and never faster. So work is
//! measured in parts, and each part counts at the fastest of a few successive turns: the sum is what the work takes undisturbed.
//! What a watcher's programs add on the way of each call is in each turn, so in the sum. What its own process does beside, now
//! in this part and now in that, is not: its processor time has to be told beside.

/// What one turn measured: the times of the parts of the work, always of the same.
pub(super) type Turn = Vec<f64>;

/// How many successive turns make one ratio.
pub(super) const TOGETHER: usize = 3;

/// Ratios of what was measured side by side, in ascending order.
pub(super) struct Pairs(Vec<f64>);

impl From<Vec<f64>> for Pairs {
    fn from(mut ratios: Vec<f64>) -> Self {
        ratios.sort_by(f64::total_cmp);
        Self(ratios)
    }
}

impl Pairs {
    /// Those of `values` to `bases`, of `together` successive turns each; what is left over does not count.
    pub(super) fn of(values: &[Turn], bases: &[Turn], together: usize) -> Self {
        let (values, bases) = (values.chunks_exact(together), bases.chunks_exact(together));
        values.zip(bases).map(|(values, bases)| fastest(values) / fastest(bases)).collect::<Vec<_>>().into()
    }

    /// The ratios of rates, where these are the ratios of times.
    pub(super) fn inverted(self) -> Self {
        self.0.into_iter().map(f64::recip).collect::<Vec<_>>().into()
    }

    pub(super) fn median(&self) -> f64 {
        median(&self.0)
    }

    /// The interval that holds the true median in at least 19 of 20 cases, whatever the distribution: each ratio is as
    /// likely to be below it as above, so how many are below is a matter of tossing coins.
    pub(super) fn band(&self) -> [f64; 2] {
        let tosses = self.0.len();
        let mut below = 0.5_f64.powf(tosses as f64);
        let (mut sum, mut cut) = (below, 0);
        while sum <= 0.025 && cut < tosses / 2 {
            cut += 1;
            below *= (tosses - cut + 1) as f64 / cut as f64;
            sum += below;
        }
        // Not even all of them hold it that often.
        let Some(first) = cut.checked_sub(1) else { return [f64::NEG_INFINITY, f64::INFINITY] };
        let at = |index: usize| self.0.get(index).copied().unwrap_or(f64::NAN);
        [at(first), at((tosses - first).saturating_sub(1))]
    }
}

/// The sum of the parts, each at the fastest of these turns. Not a number where turns differ in their parts.
fn fastest(turns: &[Turn]) -> f64 {
    let Some(first) = turns.first().filter(|first| turns.iter().all(|turn| turn.len() == first.len())) else {
        return f64::NAN;
    };
    (0..first.len()).map(|part| turns.iter().map(|turn| turn[part]).fold(f64::INFINITY, f64::min)).sum()
}

/// What such a row of turns took in the middle of all.
pub(super) fn typical(turns: &[Turn], together: usize) -> f64 {
    median(&turns.chunks_exact(together).map(fastest).collect::<Vec<_>>())
}

/// Of rounds that all do the same, the time of one that was hardly disturbed: nine of ten took longer. Of fewer than ten, the
/// fastest.
pub(super) fn undisturbed(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds.get(rounds.len() / 10).copied().unwrap_or(f64::NAN)
}

/// The middle of `values`; not a number where there are none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_count_at_their_fastest() {
        let turns = |turns: &[[f64; 2]]| turns.iter().map(|turn| turn.to_vec()).collect::<Vec<_>>();
        let bases =
            turns(&[[1.0, 9.0], [5.0, 1.0], [3.0, 3.0], [2.0, 2.0], [2.0, 2.0], [2.0, 2.0], [0.1, 0.1]]);
        let values =
            turns(&[[2.0, 8.0], [6.0, 4.0], [9.0, 9.0], [4.0, 4.0], [4.0, 4.0], [5.0, 3.0], [9.0, 9.0]]);
        assert_eq!(Pairs::of(&values, &bases, 3).0, [7.0 / 4.0, 3.0]);
        assert_eq!(Pairs::of(&values, &bases, 1).0.len(), 7);
        assert_eq!(typical(&bases, 3), 4.0);
        assert!(Pairs::of(&[vec![1.0], vec![1.0, 2.0]], &bases, 2).median().is_nan(), "not the same parts");
        assert_eq!(undisturbed((0..20).rev().map(f64::from).collect()), 2.0);
        assert_eq!(undisturbed(vec![4.0, 3.0]), 3.0);
    }

    #[test]
    fn the_band_of_a_median() {
        let ratios = |count: u32| Pairs::from((1..=count).map(f64::from).collect::<Vec<_>>());
        // Ranks of the sign test's 95 % intervals, as in tables of it.
        for (count, low, high) in
            [(6, 1.0, 6.0), (7, 1.0, 7.0), (9, 2.0, 8.0), (21, 6.0, 16.0), (25, 8.0, 18.0)]
        {
            assert_eq!(ratios(count).band(), [low, high], "{count}");
        }
        for count in [0, 1, 5] {
            assert_eq!(ratios(count).band(), [f64::NEG_INFINITY, f64::INFINITY], "{count}");
        }
    }
}
