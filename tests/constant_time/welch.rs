//! Welch's t between two kinds of samples, cropped at percentiles of both together.
//!
//! Must never crop the kinds apart: what one kind alone makes slow must stay. Used by the checks.

const CROPS: i32 = 10;

/// The t furthest from 0, of all samples and of those under each of ten percentiles, which lie closer towards the end as
/// dudect's do. A sample is its kind, 0 or 1, and its time.
pub fn t(samples: &[(usize, u32)]) -> f64 {
    let mut times: Vec<u32> = samples.iter().map(|(_, time)| *time).collect();
    times.sort_unstable();
    let mut furthest = welch(samples, u32::MAX);
    for crop in 1..=CROPS {
        // Its percentiles: 1 - 0.5^(10 x i / N).
        let under = 1.0 - 0.5_f64.powf(10.0 * f64::from(crop) / f64::from(CROPS));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the length")]
        let at = (under * (times.len() - 1) as f64) as usize;
        let t = welch(samples, times[at]);
        if t.abs() > furthest.abs() {
            furthest = t;
        }
    }
    furthest
}

fn welch(samples: &[(usize, u32)], at_most: u32) -> f64 {
    let (mut count, mut mean, mut squares) = ([0.0; 2], [0.0; 2], [0.0; 2]);
    for (kind, time) in samples.iter().filter(|(_, time)| *time <= at_most) {
        let (kind, time) = (*kind, f64::from(*time));
        count[kind] += 1.0;
        let off = time - mean[kind];
        mean[kind] += off / count[kind];
        squares[kind] += off * (time - mean[kind]);
    }
    if count[0] < 2.0 || count[1] < 2.0 {
        return 0.0;
    }
    let of_mean = |kind: usize| squares[kind] / (count[kind] - 1.0) / count[kind];
    let error = (of_mean(0) + of_mean(1)).sqrt();
    if error > 0.0 { (mean[0] - mean[1]) / error } else { 0.0 }
}
