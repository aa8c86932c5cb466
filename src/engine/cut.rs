//! A cut: the whole state as it is between two inputs, in parts that can be saved while the engine goes on.
//!
//! What is large, the services with what was learned of them, is lent: a service that is changed before it is saved is
//! copied, and the cut keeps the old one. What is small is the engine itself, serialised; it is to be serialised at the
//! moment of the cut. Where the parts are written to, and in which form, is not known here.

use super::Engine;
use super::fleet::Fleet;
use super::lane::{Lane, lane_of};
use super::logs::journal::Journal;
use super::service::Service;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Which services a cut holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    All,
    /// Those that were changed since the cut before; the others are as they were in it.
    Changed,
}

/// One service as it was at the cut. Serialised, it is a [`Piece`].
#[derive(Serialize)]
pub struct Share {
    place: u32,
    name: u64,
    service: Arc<Service>,
    journal: Option<Arc<Journal>>,
}

impl Share {
    /// Fingerprint of environment and service, the same in every build.
    pub fn name(&self) -> u64 {
        self.name
    }
}

/// A service as it comes back.
#[derive(Deserialize)]
pub struct Piece {
    place: u32,
    name: u64,
    service: Service,
    journal: Option<Journal>,
}

/// The pieces are not those of one cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfit {
    pub place: usize,
    pub pieces: usize,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of {} services, none fits place {}", self.pieces, self.place)
    }
}

impl Engine {
    /// Lends the services of a cut, lane by lane. Together with the engine serialised before the next step, they are
    /// its state.
    pub fn shares(&mut self, extent: Extent) -> Vec<Share> {
        self.lanes.iter_mut().flat_map(|lane| lane.shares(extent)).collect()
    }

    /// How many services a whole cut has.
    pub fn services(&self) -> usize {
        self.lanes.iter().map(Lane::services).sum()
    }

    /// Takes back all services of a cut. The engine must be the one that was serialised at it.
    ///
    /// # Errors
    /// A service is missing, comes twice, or stands in another one's place.
    pub fn resume(&mut self, pieces: Vec<Piece>) -> Result<(), Misfit> {
        let lanes = self.lanes.len() as u32;
        let mut parts: Vec<Vec<Piece>> = self.lanes.iter().map(|_| Vec::new()).collect();
        for piece in pieces {
            let lane = lane_of(&piece.service.env, &piece.service.name, lanes) as usize;
            let pieces = parts.len();
            parts.get_mut(lane).ok_or(Misfit { place: lane, pieces })?.push(piece);
        }
        self.lanes.iter_mut().zip(parts).try_for_each(|(lane, pieces)| lane.resume(pieces))
    }
}

impl Lane {
    fn shares(&mut self, extent: Extent) -> Vec<Share> {
        let mut shares = Vec::new();
        for place in 0..self.fleet.services.len() {
            let due = extent == Extent::All || self.fleet.services.is_changed(place) || self.logs.is_changed(place);
            if due && let Some(service) = self.fleet.services.lend(place) {
                let name = Fleet::name(&service.env, &service.name);
                shares.push(Share { place: place as u32, name, service, journal: self.logs.lend(place) });
            }
        }
        shares
    }

    fn services(&self) -> usize {
        self.fleet.services.len()
    }

    fn resume(&mut self, mut pieces: Vec<Piece>) -> Result<(), Misfit> {
        pieces.sort_by_key(|piece| piece.place);
        let is_in_place = |(place, piece): (usize, &Piece)| {
            piece.place as usize == place && piece.name == Fleet::name(&piece.service.env, &piece.service.name)
        };
        if let Some(place) = pieces.iter().enumerate().position(|each| !is_in_place(each)) {
            return Err(Misfit { place, pieces: pieces.len() });
        }
        let (services, journals): (Vec<_>, Vec<_>) =
            pieces.into_iter().map(|piece| (piece.service, piece.journal)).unzip();
        self.fleet = Fleet::restored(services);
        self.logs.restore(journals);
        Ok(())
    }
}
