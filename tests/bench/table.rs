//! The table that is printed: what was measured, its median, least and most, and the bound.
//!
//! Must never round a number across its bound. Called by the measurements.

/// Prints what stands above the rows.
pub fn head() {
    println!("{:<46}{:>10}{:>10}{:>10}  {:<6}{:>7}", "", "median", "least", "most", "", "bound");
}

/// Prints one row. `decimals` are shown.
pub fn row(what: &str, values: &[f64], unit: &str, decimals: usize, bound: Option<f64>) {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    let (Some(least), Some(most)) = (values.first(), values.last()) else { return };
    let median = median(&values);
    let bound = bound
        .map_or_else(String::new, |bound| format!("{bound:>7}{}", if median <= bound { "" } else { "  EXCEEDED" }));
    println!("{what:<46}{median:>10.decimals$}{least:>10.decimals$}{most:>10.decimals$}  {unit:<6}{bound}");
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.get(middle.wrapping_sub(1))) {
        (Some(upper), Some(lower)) if sorted.len().is_multiple_of(2) => (lower + upper) / 2.0,
        (Some(middle), _) => *middle,
        (None, _) => f64::NAN,
    }
}

/// Prints what stands above rows of [`latencies`].
pub fn head_of_latencies() {
    println!("{:<46}{:>10}{:>10}{:>10}{:>10}  {:<6}{:>7}", "", "half", "99 %", "most", "calls", "", "bound");
}

/// Prints what calls took, in milliseconds; the bound is on 99 % of them.
pub fn latencies(what: &str, ms: &mut [f64], bound: Option<f64>) {
    ms.sort_unstable_by(f64::total_cmp);
    let at =
        |percent: usize| ms.get((ms.len() * percent / 100).min(ms.len().saturating_sub(1))).copied().unwrap_or(0.0);
    let (half, most_of_them, most) = (at(50), at(99), at(100));
    let bound = bound.map_or_else(String::new, |bound| {
        format!("{bound:>7}{}", if most_of_them <= bound { "" } else { "  EXCEEDED" })
    });
    println!("{what:<46}{half:>10.2}{most_of_them:>10.2}{most:>10.2}{:>10}  {:<6}{bound}", ms.len(), "ms");
}
