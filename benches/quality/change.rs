//! What a deployment does to its service, known because we made it up: the labels of the histories.
//!
//! Sizes are told in noises: one is the standard deviation of a minute of the signal (`kinds`). All times are minutes
//! after the deployment. Knows nothing of signals, messages or verdicts.

/// Minutes after which everything is as it was: somebody rolled back.
pub const LASTS: i64 = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Nothing but a restart.
    Nothing,
    /// The two minutes of starting up are terrible.
    Blip,
    /// It began a quarter of an hour before the deployment.
    Before,
    /// The other services of the environment have it too.
    Shared,
    /// Things get better.
    Better,
    Step,
    /// Grows for half an hour.
    Ramp,
    /// Eight bad minutes.
    Spell,
    /// One of three pods.
    Pod,
    /// One of three pods falls silent.
    SilentPod,
}

/// What one deployment does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    pub what: What,
    pub size: f64,
    /// One pod carries it, and is told to.
    pub canary: bool,
}

const fn all(what: What, size: f64) -> Change {
    Change { what, size, canary: false }
}

const fn canary(what: What, size: f64) -> Change {
    Change { what, size, canary: true }
}

/// What does no harm, or is somebody else's fault. Mostly nothing: a service that is hit by something every few hours
/// teaches that this is how it is.
pub const HARMLESS: [Change; 12] = [
    all(What::Nothing, 0.0),
    canary(What::Nothing, 0.0),
    all(What::Blip, 24.0),
    all(What::Nothing, 0.0),
    canary(What::Nothing, 0.0),
    all(What::Before, 12.0),
    all(What::Nothing, 0.0),
    canary(What::Blip, 24.0),
    all(What::Nothing, 0.0),
    all(What::Shared, 12.0),
    canary(What::Nothing, 0.0),
    all(What::Better, 6.0),
];

/// Where a service has one instance, or tells none.
pub const HARM_TO_ALL: [Change; 8] = [
    all(What::Step, 3.0),
    all(What::Step, 6.0),
    all(What::Step, 12.0),
    all(What::Step, 24.0),
    all(What::Ramp, 6.0),
    all(What::Ramp, 12.0),
    all(What::Ramp, 24.0),
    all(What::Spell, 12.0),
];

/// Where it has three.
pub const HARM_TO_PODS: [Change; 16] = [
    all(What::Step, 3.0),
    canary(What::Step, 3.0),
    all(What::Pod, 6.0),
    all(What::Step, 6.0),
    canary(What::Step, 6.0),
    all(What::SilentPod, 0.0),
    all(What::Pod, 12.0),
    all(What::Step, 12.0),
    canary(What::Step, 12.0),
    canary(What::SilentPod, 0.0),
    all(What::Pod, 24.0),
    all(What::Step, 24.0),
    canary(What::Step, 24.0),
    all(What::Ramp, 12.0),
    canary(What::Ramp, 12.0),
    all(What::Spell, 12.0),
];

impl Change {
    pub fn is_harm(&self) -> bool {
        matches!(self.what, What::Step | What::Ramp | What::Spell | What::Pod | What::SilentPod)
    }

    /// The minute in which it begins.
    pub fn begins(&self) -> i64 {
        match self.what {
            What::Before => -15,
            What::Shared => 5,
            What::Spell | What::SilentPod => 4,
            _ => 0,
        }
    }

    /// How much worse, in noises, whom it hits is at `minute`.
    pub fn worse(&self, minute: i64) -> f64 {
        if minute < self.begins() || minute >= LASTS {
            return 0.0;
        }
        match self.what {
            What::Nothing | What::SilentPod => 0.0,
            What::Better => -self.size,
            What::Blip if minute >= 2 => 0.0,
            What::Spell if minute >= self.begins() + 8 => 0.0,
            // Over well before the next deployment of the environment.
            What::Shared if minute >= self.begins() + 20 => 0.0,
            What::Ramp => self.size * (minute as f64 / 30.0).min(1.0),
            _ => self.size,
        }
    }

    pub fn is_silent(&self, minute: i64) -> bool {
        self.what == What::SilentPod && (self.begins()..LASTS).contains(&minute)
    }

    /// Whether it hits one pod only.
    pub fn is_of_one(&self) -> bool {
        self.canary || matches!(self.what, What::Pod | What::SilentPod)
    }

    pub fn name(&self) -> String {
        let what = match self.what {
            What::Nothing => "nothing",
            What::Blip => "blip at start-up",
            What::Before => "began before",
            What::Shared => "shared by peers",
            What::Better => "gets better",
            What::Step => "step",
            What::Ramp => "ramp",
            What::Spell => "eight bad minutes",
            What::Pod => "one bad pod",
            What::SilentPod => "silent",
        };
        match (self.canary, self.what) {
            (true, _) => format!("canary, {what}"),
            (false, What::SilentPod) => "one silent pod".into(),
            _ => what.into(),
        }
    }
}
