//! Small statistics without state: medians, trimmed means, tails of counts.
//!
//! Everything takes and gives finite numbers; an empty input gives `None`. No distribution is assumed of any signal
//! here; the two tails are exact ones of counting.

/// Standard errors to either side of what is so at 95 %, of a normal distribution.
pub const Z95: f64 = 1.959_963_984_540_054;

/// The median; sorts `values` partly.
pub fn median(values: &mut [f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The `q` quantile by the nearest rank, averaging the two middle ones for the median.
pub fn quantile(values: &mut [f64], q: f64) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let rank = (values.len() - 1) as f64 * q;
    let low = rank.floor() as usize;
    let (_, &mut at_low, above) = values.select_nth_unstable_by(low, f64::total_cmp);
    let part = rank - low as f64;
    if part == 0.0 {
        return Some(at_low);
    }
    let at_high = above.iter().copied().fold(f64::INFINITY, f64::min);
    Some(at_low + (at_high - at_low) * part)
}

pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The standard deviation as the median absolute deviation has it (Rousseeuw and Croux 1993, eq. 1.3).
pub fn spread(values: &[f64]) -> Option<f64> {
    let centre = median(&mut values.to_vec())?;
    let mut away: Vec<f64> = values.iter().map(|value| (value - centre).abs()).collect();
    median(&mut away).map(|mad| 1.4826 * mad)
}

/// ln Γ(x) for x > 0 (Lanczos, g = 7, n = 9; error below 1e-13).
pub fn ln_gamma(x: f64) -> f64 {
    const C: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let mut sum = C[0];
    for (i, c) in C.iter().enumerate().skip(1) {
        sum += c / (x + i as f64);
    }
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// log10 of P(K >= k) for K binomial(n, p); exact sum of the tail.
pub fn log10_binomial_tail(k: u64, n: u64, p: f64) -> f64 {
    if k == 0 {
        return 0.0;
    }
    if k > n || p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if p >= 1.0 {
        return 0.0;
    }
    let (kf, nf) = (k as f64, n as f64);
    if kf <= nf * p {
        return 0.0; // Not surprising; the exact value above a half is nobody's concern.
    }
    let first =
        ln_gamma(nf + 1.0) - ln_gamma(kf + 1.0) - ln_gamma(nf - kf + 1.0) + kf * p.ln() + (nf - kf) * (-p).ln_1p();
    let (mut term, mut sum) = (1.0, 1.0);
    let odds = p / (1.0 - p);
    for i in k..n.min(k + 10_000) {
        term *= (nf - i as f64) / (i as f64 + 1.0) * odds;
        sum += term;
        if term < 1e-12 * sum {
            break;
        }
    }
    ((first + sum.ln()) / std::f64::consts::LN_10).min(0.0)
}

/// log10 of the chance of so many events among so many trials where `rate` of them are expected; fractions of events,
/// as rates a minute give them, are rounded down.
pub fn log10_count_tail(events: f64, trials: f64, rate: f64) -> f64 {
    log10_binomial_tail(events.max(0.0) as u64, trials.max(events).max(0.0).ceil() as u64, rate.clamp(0.0, 1.0))
}

/// The interval at 95 % of the mean of a Poisson distribution of which so many events were seen (Garwood 1936, by the
/// Wilson-Hilferty approximation of chi-square: Breslow and Day 1987, eq. 2.13).
pub fn poisson_interval(events: f64) -> (f64, f64) {
    let cube = |n: f64, z: f64| n * (1.0 - 1.0 / (9.0 * n) + z / (3.0 * n.sqrt())).powi(3);
    let lower = if events > 0.0 { cube(events, -Z95).max(0.0) } else { 0.0 };
    (lower, cube(events.max(0.0) + 1.0, Z95))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_spreads() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(quantile(&mut [0.0, 10.0], 0.9), Some(9.0));
        assert_eq!(spread(&[1.0, 1.0, 1.0, 9.0]), Some(0.0));
    }

    #[test]
    fn tails_of_counts() {
        // P(K >= 3) for n = 5, p = 0.1: 0.00856.
        assert!((log10_binomial_tail(3, 5, 0.1) - 0.00856f64.log10()).abs() < 1e-3);
        assert_eq!(log10_binomial_tail(0, 5, 0.1), 0.0);
        assert!(log10_binomial_tail(1_000_000, 1_000_001, 1e-6).is_finite());
        assert!((ln_gamma(10.0) - 362_880f64.ln()).abs() < 1e-10);
    }

    #[test]
    fn intervals_of_counts() {
        // Garwood's exact ones: 0 to 3.69, 1.62 to 11.67 (5 events), 81.4 to 121.6 (100 events).
        for (events, lower, upper) in [(0.0, 0.0, 3.69), (5.0, 1.62, 11.67), (100.0, 81.4, 121.6)] {
            let said = poisson_interval(events);
            assert!((said.0 - lower).abs() < 0.1 && (said.1 - upper).abs() < 0.1, "{said:?}");
        }
    }
}
