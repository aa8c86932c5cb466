//! The pump of a relay: each message goes to the lanes of the services that it is about, as it is.
//!
//! It is decoded to know whose it is; what can't be read goes to one lane by its partition, whose dead letter it is,
//! once. Only what is too large to be passed on is a dead letter here. It holds no state: what was passed on is known
//! by where it came from. Which partitions there are, and how far they are, is not known here.

use super::{Cause, Contents, Outgoing, Pump, Taken};
use crate::engine::event::Fact;
use crate::engine::lane_of;
use crate::engine::time::Time;
use crate::wire::inbound::{RejectReason, Rejected};
use crate::wire::letters::{GAP, ORIGIN, Origin, UPTO, stretch};
use crate::wire::outbound::Message;

/// What is larger can't be passed on to a broker with the usual limit of 1 MiB.
const BYTES_MAX: usize = 900_000;

impl Pump {
    /// A pump that passes on to so many lanes.
    pub fn relaying(self, lanes: u32) -> Pump {
        Pump { relays_to: Some(lanes), ..self }
    }

    /// Passes on that all inputs named were passed on so far, to every lane.
    pub fn pass_on_progress(&mut self, progress: &[Origin], out: &mut Vec<Outgoing>) {
        let headers: Vec<_> = progress.iter().map(|each| (UPTO, each.to_string())).collect();
        for lane in 0..self.relays_to.unwrap_or(0) {
            self.pass_on(lane, None, &[], headers.clone(), out);
        }
    }

    pub(super) fn relay(&mut self, taken: &Taken, lanes: u32, out: &mut Vec<Outgoing>) -> Contents {
        self.now = self.now.max(taken.now);
        let size = taken.payload.len() + taken.key.map_or(0, <[u8]>::len);
        if size > BYTES_MAX {
            let detail = format!("{size} bytes with its key, at most {BYTES_MAX} can be passed on");
            return self.dead_letter(taken, &Rejected::new(RejectReason::TooLarge, detail), out);
        }
        let mut facts = super::recycle(std::mem::take(&mut self.facts));
        let is_refused = self.decode(taken, &mut facts).is_err();
        let mut concerned: Vec<u32> = match is_refused {
            true => vec![taken.partition.unsigned_abs() % lanes],
            false => facts.iter().filter_map(|fact| lane(fact, lanes)).collect(),
        };
        concerned.sort_unstable();
        concerned.dedup();
        let count = if is_refused { 0 } else { facts.len() };
        self.facts = super::recycle(facts);
        let Taken { topic, partition, offset, stamped, key, payload, .. } = *taken;
        let origin = Origin { topic, partition, offset, at: stamped, lanes }.to_string();
        for lane in concerned {
            self.pass_on(lane, key, payload, vec![(ORIGIN, origin.clone())], out);
        }
        Contents { facts: count, filtered: count, is_refused }
    }

    /// What is gone for good is gone for every lane.
    pub(super) fn relay_gap(&mut self, from: Time, to: Time, out: &mut Vec<Outgoing>) {
        for lane in 0..self.relays_to.unwrap_or(0) {
            self.pass_on(lane, None, &[], vec![(GAP, stretch(from, to))], out);
        }
    }

    fn pass_on(
        &mut self,
        lane: u32,
        key: Option<&[u8]>,
        payload: &[u8],
        headers: Vec<(&'static str, String)>,
        out: &mut Vec<Outgoing>,
    ) {
        let message = Message { key: key.map(<[u8]>::to_vec), payload: payload.to_vec(), headers };
        let (topic, partition) = (self.topics.lanes.clone(), i32::try_from(lane).ok());
        out.push(Outgoing { topic, partition, at: self.now, cause: Cause::Letter, message });
    }
}

/// The lane that a fact is for.
fn lane(fact: &Fact, lanes: u32) -> Option<u32> {
    let origin = match fact {
        Fact::Sample(sample) => &sample.origin,
        Fact::Log(line) => &line.origin,
        _ => return None,
    };
    Some(lane_of(&origin.env, &origin.service, lanes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::shell::config::Config;
    use crate::shell::topics::Topics;
    use crate::wire::inbound::Kind;
    use std::sync::Arc;

    #[test]
    fn a_message_goes_to_the_lanes_of_its_services_as_it_is() {
        let config = Arc::new(Config::from_toml_str("").expect("settings"));
        let topics = Arc::new(Topics::new(&config.kafka.topics));
        let mut pump = Pump::new(Engine::default(), Time::MIN, config, topics).relaying(3);
        let now = Time(1_790_000_000_000);
        let sample = |service: &str| {
            format!(r#"{{"ts":1790000000000,"service":"{service}","env":"prod","metric":"m","value":1}}"#)
        };
        let services: Vec<String> = (0..20).map(|n| format!("service-{n}")).collect();
        let mut out = Vec::new();
        for (payload, concerned) in [
            (sample("service-1"), vec![lane_of("prod", "service-1", 3)]),
            (format!("[{}]", services.iter().map(|each| sample(each)).collect::<Vec<_>>().join(",")), vec![0, 1, 2]),
            ("[]".into(), Vec::new()),
        ] {
            let payload = payload.as_bytes();
            let (topic, kind, key) = ("metrics", Kind::Metrics, Some(&b"key"[..]));
            let (partition, offset, stamped) = (2, 7, Some(now));
            let taken = Taken { topic, partition, offset, kind, now, stamped, key, payload, signature: None };
            pump.take(&taken, &mut out);
            let lanes: Vec<u32> = out.iter().filter_map(|each| each.partition?.try_into().ok()).collect();
            assert_eq!(lanes, concerned);
            for passed_on in out.drain(..) {
                assert_eq!((passed_on.message.payload.as_slice(), passed_on.message.key.as_deref()), (payload, key));
                assert_eq!(passed_on.message.headers, [(ORIGIN, "metrics/2/7/1790000000000/3".to_owned())]);
            }
        }
    }
    #[test]
    fn what_cannot_be_read_is_one_lanes_to_refuse() {
        let config = Arc::new(Config::from_toml_str("").expect("settings"));
        let topics = Arc::new(Topics::new(&config.kafka.topics));
        let mut pump = Pump::new(Engine::default(), Time::MIN, config, topics).relaying(3);
        let now = Time(1_790_000_000_000);
        let mut take = |payload: &[u8], key: &[u8]| {
            let (topic, kind, key, stamped) = ("metrics", Kind::Metrics, Some(key), Some(now));
            let (partition, offset) = (5, 7);
            let taken = Taken { topic, partition, offset, kind, now, stamped, key, payload, signature: None };
            let mut out = Vec::new();
            assert!(pump.take(&taken, &mut out).is_refused, "for the circuit to know");
            assert_eq!(out.len(), 1);
            out.remove(0)
        };
        let bad = take(b"bad", b"key");
        assert_eq!((bad.partition, bad.is_letter(), &*bad.message.payload), (Some(2), true, &b"bad"[..]));
        assert!(bad.message.headers.contains(&(ORIGIN, "metrics/5/7/1790000000000/3".to_owned())));
        for (payload, key) in [(vec![b' '; BYTES_MAX + 1], vec![]), (b"bad".to_vec(), vec![b'k'; BYTES_MAX])] {
            assert!(matches!(take(&payload, &key).cause, Cause::DeadLetter(RejectReason::TooLarge)));
        }
    }
}
