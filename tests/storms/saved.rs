//! The engine's state as a store keeps it: cuts of all services or of the changed ones, and an engine made of them.

use regressd::engine::Engine;
use regressd::engine::cut::{Extent, Share};
use std::collections::BTreeMap;

/// Everything that was saved, as bytes.
#[derive(Clone, Default, PartialEq)]
pub struct Saved {
    rest: Vec<u8>,
    services: BTreeMap<u64, Vec<u8>>,
}

/// A cut whose services are still to be saved.
pub struct Cut {
    rest: Vec<u8>,
    shares: Vec<Share>,
}

impl Cut {
    pub fn of(engine: &mut Engine, extent: Extent) -> Cut {
        Cut { rest: bytes(&engine), shares: engine.shares(extent) }
    }
}

impl Saved {
    pub fn whole(engine: &mut Engine) -> Saved {
        let mut saved = Saved::default();
        saved.save(Cut::of(engine, Extent::All));
        saved
    }

    pub fn save(&mut self, cut: Cut) {
        self.rest = cut.rest;
        self.services.extend(cut.shares.iter().map(|share| (share.name(), bytes(share))));
    }

    pub fn engine(&self) -> Engine {
        let mut engine: Engine = postcard::from_bytes(&self.rest).expect("it comes back");
        let pieces = self.services.values().map(|bytes| postcard::from_bytes(bytes).expect("it comes back"));
        engine.resume(pieces.collect()).expect("all of one cut");
        engine
    }
}

fn bytes(part: &impl serde::Serialize) -> Vec<u8> {
    postcard::to_stdvec(part).expect("the state is plain")
}
