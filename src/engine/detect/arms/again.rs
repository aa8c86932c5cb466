//! Bursts of the new arm that come again and that the old one does not have. Of what is counted alone: any instance's
//! gauges have spikes of their own.

use super::bins::{Both, ours, theirs};
use super::{Pair, SPARED};
use crate::engine::baseline::HORIZONS;
use crate::engine::baseline::scale::Scale;
use crate::engine::detect::Finding;
use crate::engine::detect::bursts::{BURST, HORIZON, Side, Window, count};
use crate::engine::stats::median;

impl Pair<'_> {
    /// By windows whose distance surprises, and the number of events in them as well.
    pub(super) fn bursts(&self, scale: &Scale, up: bool, offset: Option<f64>) -> Option<Finding> {
        let (width, away) = (HORIZONS[HORIZON].0, offset.unwrap_or(0.0));
        if !self.is_share() || self.bins.len() < width {
            return None;
        }
        let window = |end: usize| -> &[Both] { &self.bins[end - width..end] };
        let unit = |end: usize| self.unit_of_shares(scale, HORIZON, window(end), offset.is_some());
        let tail = self.baseline.apart_tail_of_shares(HORIZON, offset.is_some(), up);
        let sizes = (width..=self.bins.len()).map(|end| {
            let size = self.distance(scale, window(end), SPARED[HORIZON], up, away).map_or(0.0, |each| each.size);
            size / unit(end)
        });
        let mut sizes: Vec<f64> = sizes.collect();
        // A burst stands out from the arm's own calm: two arms may well lie apart all the time.
        let calm = median(&mut sizes.clone()).unwrap_or(0.0).max(0.0);
        sizes.iter_mut().for_each(|size| *size -= calm);
        let counts = |end: usize| !up || self.by_counting(window(end), away) <= BURST;
        let windows = (width..).zip(sizes).map(|(end, size)| {
            let size = if size > 0.0 && counts(end) { size } else { 0.0 };
            Window { end, size }
        });
        let bursts = count(self.look, windows, |log10_p| tail.size_at(log10_p), |size| tail.log10_p(size))?;
        let side = Side { look: self.look, signal: self.name.0, track: self.name.1, scale, up };
        let off = tail.often() * unit(bursts.windows[0].end);
        let finding = side.finding(&bursts, off, |each| {
            let against = scale.value(scale.of(theirs(window(each.end))?) + away);
            Some((against, ours(window(each.end))?))
        })?;
        Some(Finding {
            method: self.method,
            samples_baseline: finding.samples_baseline * self.old.len() as u64,
            samples_current: finding.samples_current * self.new.len() as u64,
            instances: self.new.to_vec(),
            onset: self.bins[bursts.began - 1].minute,
            ..finding
        })
    }
}
