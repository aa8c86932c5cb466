//! How surprising it is how far a signal wandered, at any distance, from yardsticks learned at a few of them.
//!
//! It grows with time, so between two learned distances sizes of equal rarity are interpolated, geometrically over
//! the logarithm of the distance, as they would be for any random walk, whatever its exponent. Below the shortest
//! distance and beyond the longest the nearest one speaks alone.

use crate::engine::yardstick::Tail;

/// Two tails and how far from the first to the second.
#[derive(Clone, Copy, Debug)]
pub struct Wander {
    near: Tail,
    far: Option<(Tail, f64)>,
}

/// Nothing that is as common as this (log10) needs to be told exactly.
const COMMON: f64 = -1.0;
/// Halvings of the interval between what the two tails say: to a hundredth of it and less.
const HALVINGS: usize = 7;

impl Wander {
    pub fn of(near: Tail) -> Wander {
        Wander { near, far: None }
    }

    /// Between two tails learned at two distances, at one that lies between.
    pub fn between((near, from): (Tail, usize), (far, to): (Tail, usize), lag: usize) -> Wander {
        let part = (lag as f64 / from as f64).ln() / (to as f64 / from as f64).ln();
        Wander { near, far: Some((far, part.clamp(0.0, 1.0))) }
    }

    /// The largest wander that was seen, over the longer of the two distances.
    pub fn largest(&self) -> f64 {
        self.near.largest().max(self.far.as_ref().map_or(0.0, |far| far.0.largest()))
    }

    /// How far off on one side a level must be expected to be.
    pub fn often(&self) -> f64 {
        self.near.often().max(self.far.as_ref().map_or(0.0, |far| far.0.often()))
    }

    /// log10 of the probability that one look shows a wander of at least `size`.
    pub fn log10_p(&self, size: f64) -> f64 {
        let near = self.near.log10_p(size);
        let Some((far, _)) = &self.far else { return near };
        let far = far.log10_p(size);
        let (mut rare, mut common) = (near.min(far), near.max(far));
        if rare > COMMON {
            return common;
        }
        for _ in 0..HALVINGS {
            let middle = 0.5 * (rare + common);
            if self.size_at(middle) > size {
                rare = middle;
            } else {
                common = middle;
            }
        }
        common
    }

    /// The size whose `log10_p` is `target`.
    pub fn size_at(&self, target: f64) -> f64 {
        let near = self.near.size_at(target);
        match &self.far {
            Some((far, part)) => near.max(1e-12).powf(1.0 - part) * far.size_at(target).max(1e-12).powf(*part),
            None => near,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::yardstick::Yardstick;

    fn exponential(scale: f64) -> Tail {
        let mut yardstick = Yardstick::default();
        for i in 0..4_000 {
            yardstick.learn(-scale * (1.0 - (f64::from(i) + 0.5) / 4_000.0).ln());
        }
        yardstick.tail(0.0, 0.0, 1.0, 1.0)
    }

    #[test]
    fn halfway_lies_between_and_agrees_with_itself() {
        let (near, far) = (exponential(0.01), exponential(0.1));
        let wander = Wander::between((near, 15), (far, 90), 37);
        let size = wander.size_at(-5.0);
        assert!(near.size_at(-5.0) < size && size < far.size_at(-5.0));
        assert!((wander.log10_p(size) + 5.0).abs() < 0.2, "{}", wander.log10_p(size));
    }

    #[test]
    fn at_the_ends_one_speaks_alone() {
        let (near, far) = (exponential(0.01), exponential(0.1));
        for (lag, tail) in [(15, near), (90, far)] {
            let wander = Wander::between((near, 15), (far, 90), lag);
            assert!((wander.log10_p(0.3) - tail.log10_p(0.3)).abs() < 0.5);
        }
        assert_eq!(Wander::of(near).log10_p(0.3), near.log10_p(0.3));
    }
}
