//! When it began: the split of a short window that best separates before from after.
//!
//! augurs' Bayesian online change-point detector (Adams and MacKay 2007) proposes moments on the standardised window;
//! the likelihood ratio of a shift in the mean decides among them, or among all moments where nothing was proposed.

use crate::engine::baseline::scale::Scale;
use crate::engine::stats::{median, spread};
use crate::engine::window::{Minute, Ring};
use augurs::changepoint::{Detector, NormalGammaDetector, dist::NormalGamma};

/// Bins before the change that are looked at.
const BEFORE: Minute = 45;
/// The detector's cost grows with the square of the window.
const LONGEST: usize = 120;
/// A change as early as this is put down to rounding, not to an earlier cause.
const ROUNDING: Minute = 3;

/// The minute in which the level moved, not before the change.
pub fn onset(ring: &Ring, scale: &Scale, start: Minute, upto: Minute, up: bool) -> Minute {
    let window = window_of(ring, scale, start, upto);
    let proposed = proposals(&window);
    let after = |place: &usize| window[*place].0 >= start - 1;
    let chosen = proposed
        .into_iter()
        .filter(after)
        .chain((1..window.len()).filter(after))
        .max_by(|a, b| gain(&window, *a, up).total_cmp(&gain(&window, *b, up)).then(b.cmp(a)));
    chosen.map_or(start, |place| window[place].0)
}

/// Whether the move is explained better by a moment before the change.
pub fn began_before(ring: &Ring, scale: &Scale, start: Minute, upto: Minute, up: bool) -> bool {
    let window = window_of(ring, scale, start, upto);
    let best = |early: bool| {
        (1..window.len())
            .filter(|&place| (window[place].0 < start - ROUNDING) == early)
            .map(|place| gain(&window, place, up))
            .fold(0.0, f64::max)
    };
    best(true) > 1.15 * best(false)
}

fn window_of(ring: &Ring, scale: &Scale, start: Minute, upto: Minute) -> Vec<(Minute, f64)> {
    let mut window: Vec<(Minute, f64)> =
        ring.between(start - BEFORE, upto + 1).filter_map(|bin| Some((bin.minute, scale.of(bin.value()?)))).collect();
    if window.len() > LONGEST {
        window.drain(..window.len() - LONGEST);
    }
    window
}

fn proposals(window: &[(Minute, f64)]) -> Vec<usize> {
    let mut values: Vec<f64> = window.iter().map(|each| each.1).collect();
    let (Some(spread), Some(centre)) = (spread(&values), median(&mut values.clone())) else { return Vec::new() };
    // The detector knows no scale: it is given standardised, finite and varied values or none.
    if values.len() < 8 || spread <= 0.0 || !spread.is_finite() {
        return Vec::new();
    }
    values.iter_mut().for_each(|value| *value = ((*value - centre) / spread).clamp(-50.0, 50.0));
    let prior = NormalGamma::new_unchecked(0.0, 1.0, 1.0, 1.0);
    let mut detector = NormalGammaDetector::normal_gamma(60.0, prior);
    detector.detect_changepoints(&values).into_iter().filter(|&place| place > 0 && place < values.len()).collect()
}

/// How much better two levels explain the window than one, the second being worse.
fn gain(window: &[(Minute, f64)], place: usize, up: bool) -> f64 {
    let mean = |part: &[(Minute, f64)]| part.iter().map(|each| each.1).sum::<f64>() / part.len().max(1) as f64;
    let (before, after) = window.split_at(place);
    if before.is_empty() || after.is_empty() {
        return 0.0;
    }
    let step = mean(after) - mean(before);
    let weight = before.len() as f64 * after.len() as f64 / window.len() as f64;
    if (step > 0.0) == up { weight * step * step } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::window::Bin;

    fn ring(level: impl Fn(Minute) -> f32, upto: Minute) -> Ring {
        let mut ring = Ring::default();
        for minute in 0..=upto {
            ring.set(Bin { minute, num: level(minute) + (minute % 3) as f32, den: 1.0 }, 1_000);
        }
        ring
    }

    const SCALE: Scale = Scale::Difference { unit: 1.0 };

    #[test]
    fn finds_the_minute() {
        let ring = ring(|minute| if minute >= 105 { 20.0 } else { 10.0 }, 120);
        assert_eq!(onset(&ring, &SCALE, 100, 120, true), 105);
        assert!(!began_before(&ring, &SCALE, 100, 120, true));
    }

    #[test]
    fn knows_an_earlier_cause() {
        let ring = ring(|minute| if minute >= 90 { 20.0 } else { 10.0 }, 120);
        assert!(began_before(&ring, &SCALE, 100, 120, true));
    }

    #[test]
    fn constant_and_short_windows_are_no_trouble() {
        let flat = ring(|_| 1.0, 3);
        assert!((1..=3).contains(&onset(&flat, &SCALE, 2, 3, true)));
    }
}
