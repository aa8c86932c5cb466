//! A share with its uncertainty, where the observations come in groups that have something in common.
//!
//! Watches over the same history share its baseline, so they tell less than as many over different ones. The groups'
//! own scatter says how much less (the design effect, Kish 1965); Wilson's interval is taken for that many.

/// Two-sided 95 %.
const Z: f64 = 1.96;

/// How many of how many, group by group.
#[derive(Clone, Debug, Default)]
pub struct Share {
    groups: Vec<(u64, u64)>,
}

impl Share {
    pub fn add(&mut self, hits: u64, of: u64) {
        self.groups.push((hits, of));
    }

    pub fn extend(&mut self, other: &Share) {
        self.groups.extend(&other.groups);
    }

    pub fn hits(&self) -> u64 {
        self.groups.iter().map(|group| group.0).sum()
    }

    pub fn of(&self) -> u64 {
        self.groups.iter().map(|group| group.1).sum()
    }

    pub fn value(&self) -> f64 {
        self.hits() as f64 / (self.of() as f64).max(1.0)
    }

    /// How many times wider than for independent observations the variance is; never less than once.
    pub fn design_effect(&self) -> f64 {
        let p = self.value();
        let expected: f64 = self.groups.iter().map(|group| group.1 as f64 * p * (1.0 - p)).sum();
        let seen: f64 = self.groups.iter().map(|group| (group.0 as f64 - group.1 as f64 * p).powi(2)).sum();
        if expected > 0.0 { (seen / expected).max(1.0) } else { 1.0 }
    }

    /// Wilson's interval for the observations that these are worth.
    pub fn interval(&self) -> (f64, f64) {
        let n = self.of() as f64 / self.design_effect();
        if n == 0.0 {
            return (0.0, 1.0);
        }
        let (p, z2) = (self.value(), Z * Z);
        let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
        ((centre - half).max(0.0), (centre + half).min(1.0))
    }
}
