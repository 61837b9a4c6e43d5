//! Welch's t between two kinds of samples, cropped at percentiles of both together.
//!
//! Must never crop the kinds apart: what one kind alone makes slow must stay. Used by the checks.

/// All samples, and those under each of ten percentiles.
pub const CROPS: usize = 11;

/// The t of each crop, that of all samples first. The percentiles lie closer towards the end, as dudect's do. A sample is
/// its kind, 0 or 1, and its time.
pub fn t(samples: &[(usize, u32)]) -> [f64; CROPS] {
    let mut times: Vec<u32> = samples.iter().map(|(_, time)| *time).collect();
    times.sort_unstable();
    std::array::from_fn(|crop| {
        if crop == 0 {
            return welch(samples, u32::MAX);
        }
        // Its percentiles: 1 - 0.5^(10 x i / N), of which there are N = 10.
        let under = 1.0 - 0.5_f64.powf(crop as f64);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the length")]
        let at = (under * (times.len() - 1) as f64) as usize;
        welch(samples, times[at])
    })
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
