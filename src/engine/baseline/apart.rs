//! How far one instance of a service stands apart from the rest while nothing is deployed.
//!
//! For gauges on the track's scale. For shares of what was counted in units of what there must be between two arms: the
//! luck of counting at that moment, which is another one by night than by day, and what instances have of their own
//! beyond it, which is learned. So a night with few requests does not hide what stands apart by day.

use super::{Baseline, HORIZONS, POWER_APART, Sides, young};
use crate::engine::policy::Worse;
use crate::engine::yardstick::{Tail, Yardsticks};

/// Distances from which the part beyond luck is taken as it comes, and the weight of one of them later on.
const FIRST: u32 = 20;
const LATELY: f64 = 0.01;
/// One that is so many units off is not how instances usually stand.
const FAR: f64 = 3.0;

impl Baseline {
    /// How surprising it is that an instance stands apart, as it is or against its own past.
    pub fn apart_tail(&self, horizon: usize, own_past: bool, up: bool, instances: usize) -> Tail {
        let (width, looks) = (HORIZONS[horizon].0, self.apart(up).looks(place(horizon, own_past)));
        // The service's noise is that of a mean over instances: one of them is noisier.
        let single = (instances.max(2) as f64).sqrt().min(3.0);
        self.tail_apart(horizon, own_past, up, self.floor(width, looks) * single, self.usual(width) * single)
    }

    /// The same of shares of what was counted, in units of `apart_unit`.
    pub fn apart_tail_of_shares(&self, horizon: usize, own_past: bool, up: bool) -> Tail {
        self.tail_apart(horizon, own_past, up, young(self.apart(up).looks(place(horizon, own_past))), 1.0)
    }

    fn tail_apart(&self, horizon: usize, own_past: bool, up: bool, floor: f64, noise: f64) -> Tail {
        // Windows overlap by about two thirds (see `learn::apart`).
        let overlap = (HORIZONS[horizon].0 as f64).min(2.5);
        self.apart(up).get(place(horizon, own_past)).tail(floor, noise, overlap, POWER_APART)
    }

    fn apart(&self, up: bool) -> &Yardsticks<{ 2 * HORIZONS.len() }> {
        if up { &self.apart_up } else { &self.apart_down }
    }

    /// Distances learned at the shortest horizon.
    pub fn apart_looks(&self) -> u32 {
        self.apart_up.looks(0).max(self.apart_down.looks(0))
    }

    /// The unit in which distances are measured of which luck alone has this variance.
    pub fn apart_unit(&self, horizon: usize, luck: f64) -> f64 {
        (luck + f64::from(self.apart_beyond[horizon])).sqrt().max(1e-6)
    }

    /// Learns how much farther than by luck one instance stood apart: what all do not have in common.
    fn learn_beyond(&mut self, horizon: usize, away: f64, luck: f64) {
        let as_it_is = place(horizon, false);
        let looks = self.apart_up.looks(as_it_is).max(self.apart_down.looks(as_it_is));
        let beyond = f64::from(self.apart_beyond[horizon]);
        let most = if looks < FIRST { f64::MAX } else { FAR * FAR * (luck + beyond) };
        let squared = (away * away).min(most);
        let weight = (1.0 / (f64::from(looks) + 1.0)).max(LATELY);
        self.apart_beyond[horizon] = (beyond + weight * (squared - luck - beyond)).max(0.0) as f32;
    }

    /// Learns how far one instance stood apart when nothing was deployed, as it is and against its own past; of shares
    /// with the variances that luck gives to these distances.
    pub fn learn_apart(&mut self, horizon: usize, away: [f64; 2], lucks: Option<[f64; 2]>, worse: Worse) {
        let mut units = [1.0; 2];
        if let Some(lucks) = lucks {
            if away[1].is_finite() {
                self.learn_beyond(horizon, away[1], lucks[1]);
            }
            units = lucks.map(|luck| self.apart_unit(horizon, luck));
        }
        let sides = Sides::of(worse, self.scale.as_ref());
        let away = [away[0] / units[0], away[1] / units[1]];
        for (way, away) in away.into_iter().enumerate().filter(|(_, away)| away.is_finite()) {
            if sides.up {
                self.apart_up.learn(place(horizon, way == 1), away.max(0.0));
            }
            if sides.down {
                self.apart_down.learn(place(horizon, way == 1), (-away).max(0.0));
            }
        }
    }
}

/// Which of the yardsticks is asked.
fn place(horizon: usize, own_past: bool) -> usize {
    2 * horizon + usize::from(own_past)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::baseline::Baseline;

    #[test]
    fn what_is_luck_by_night_does_not_hide_what_is_none_by_day() {
        let mut baseline = Baseline::default();
        // Distances of about one standard deviation of luck, which is ten times as large by night.
        for look in 0..4_000 {
            let luck: f64 = if look % 1_000 < 300 { 0.25 } else { 0.0025 };
            let away = luck.sqrt() * (f64::from(look % 7) - 3.0) / 2.0;
            baseline.learn_apart(1, [away; 2], Some([luck; 2]), Worse::Either);
        }
        let chance = |luck: f64| {
            let unit = baseline.apart_unit(1, luck);
            baseline.apart_tail_of_shares(1, true, true).log10_p(0.5 / unit)
        };
        assert!(chance(0.0025) < -6.0 && chance(0.25) > -1.5, "{} {}", chance(0.0025), chance(0.25));
    }

    #[test]
    fn what_instances_have_of_their_own_is_added_to_luck() {
        let mut baseline = Baseline::default();
        for look in 0..2_000 {
            baseline.learn_beyond(0, if look % 2 == 0 { 0.3 } else { -0.3 }, 0.01);
            baseline.apart_up.learn(0, 1.0);
        }
        assert!((baseline.apart_unit(0, 0.01) - 0.3).abs() < 0.02, "{}", baseline.apart_unit(0, 0.01));
    }
}
