//! Seeded randomness for tests: the same seed gives the same world, on every machine.
//!
//! SplitMix64, so that no crate's change of algorithm can rewrite every expectation at once. Not for production.

pub struct Noise(u64);

impl Noise {
    /// Seeds from words, so that each series has its own noise and adding one changes no other.
    pub fn of(words: &str) -> Noise {
        let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Noise(words.bytes().fold(0xcbf2_9ce4_8422_2325, fnv))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// In [0, n).
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// Near enough to a standard normal for a test's noise: twelve uniforms.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    /// How many of many independent events happened where `mean` were to be expected.
    pub fn events(&mut self, mean: f64) -> u64 {
        if mean > 30.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        let (mut count, mut product, floor) = (0, self.unit(), (-mean.max(0.0)).exp());
        while product > floor {
            count += 1;
            product *= self.unit();
        }
        count
    }
}
