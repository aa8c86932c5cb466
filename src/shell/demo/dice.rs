//! The demo's chance: a small seeded generator, so that every run shows the same day.
//!
//! SplitMix64 and the few distributions that traffic needs. Not for secrets, not for statistics that matter.

pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..n`; 0 where `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        (self.unit() * n as f64) as u64
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        // 1 - unit lies in (0, 1], so the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// How many of many rare things happen where `mean` are expected.
    pub fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 50.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        let (limit, mut product, mut count) = ((-mean).exp(), self.unit(), 0);
        while product > limit {
            product *= self.unit();
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_have_their_means() {
        let mut dice = Dice::new(7);
        let n = 20_000;
        for mean in [0.3, 5.0, 200.0] {
            let average = (0..n).map(|_| dice.poisson(mean) as f64).sum::<f64>() / f64::from(n);
            assert!((average / mean - 1.0).abs() < 0.05, "poisson({mean}) came to {average}");
        }
        let average = (0..n).map(|_| dice.normal()).sum::<f64>() / f64::from(n);
        assert!(average.abs() < 0.05, "normal came to {average}");
    }

    #[test]
    fn same_seed_same_throws() {
        let throws = |seed| (0..5).map(|_| seed).map(|s| Dice::new(s).below(1000)).collect::<Vec<_>>();
        assert_eq!(throws(3), throws(3));
        assert_ne!(throws(3), throws(4));
    }
}
