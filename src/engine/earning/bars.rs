//! Bars: whether a run of labelled calls earns a level, or loses it.
//!
//! A level is lost at the first moment at which its bar was missed, whatever came after: labels are looked at in the
//! order in which they were given, over the stretch of time that counts, so the order in which they arrived makes no
//! difference. Pure arithmetic over labels.

use super::Demotion;
use crate::engine::effect::{Automation, wilson};
use crate::engine::policy::{Bar, Policy};
use crate::engine::time::Time;
use serde::{Deserialize, Serialize};

/// Before there are as many labels as the bar asks for, this many at least must speak against a level.
const FEWEST: u64 = 3;

/// Labelled calls, and how many of them were right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    pub labelled: u64,
    pub right: u64,
}

impl Score {
    pub fn of(labels: &[(Time, bool)]) -> Score {
        let right = labels.iter().filter(|(_, right)| *right).count() as u64;
        Score { labelled: labels.len() as u64, right }
    }

    pub fn in_words(self) -> String {
        let Score { labelled, right } = self;
        let sure = wilson(right, labelled).map_or(String::new(), |share| {
            format!(" ({:.0} to {:.0} % are, at 95 %)", 100.0 * share.lower, 100.0 * share.upper)
        });
        format!("{right} of {labelled} calls were right{sure}")
    }
}

pub fn is_earned(bar: Bar, score: Score) -> bool {
    score.labelled >= bar.sample
        && wilson(score.right, score.labelled).is_some_and(|share| share.lower >= bar.precision)
}

/// Below the bar: enough labels and too low a bound; or so few right that even the upper bound is too low.
fn is_missed(bar: Bar, score: Score) -> bool {
    wilson(score.right, score.labelled).is_some_and(|share| {
        let enough = score.labelled >= bar.sample && share.lower < bar.precision;
        let surely = score.labelled >= FEWEST && share.upper < bar.precision;
        enough || surely
    })
}

/// How far down a level has been lost; none if it holds.
pub fn lost(policy: &Policy, level: Automation, labels: &[(Time, bool)]) -> Option<Demotion> {
    let bar = policy.earning.bar(level)?;
    let (at, score) = first_miss(policy, bar, labels)?;
    let to = Automation::ALL.iter().rev().copied().find(|each| *each < level)?;
    let further = lost(policy, to, labels);
    Some(further.map_or(Demotion { to, at, score }, |further| Demotion { at: further.at.max(at), ..further }))
}

fn first_miss(policy: &Policy, bar: Bar, labels: &[(Time, bool)]) -> Option<(Time, Score)> {
    let (mut score, mut oldest) = (Score::default(), 0);
    labels.iter().find_map(|(at, right)| {
        score.labelled += 1;
        score.right += u64::from(*right);
        while labels[oldest].0 <= *at - policy.accuracy.over {
            score.labelled -= 1;
            score.right -= u64::from(labels[oldest].1);
            oldest += 1;
        }
        is_missed(bar, score).then_some((*at, score))
    })
}
