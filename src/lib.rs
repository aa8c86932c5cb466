//! regressd: finds the regressions a deployment caused and recommends rollbacks to people.
//!
//! Three rooms. [`engine`] believes and decides, knows no broker, no clock and no file. [`wire`] alone knows the field
//! names of the topics. [`shell`] does everything that touches the world. ARCHITECTURE.md is the map.

#[macro_use]
pub mod engine;
pub mod shell;
pub mod wire;
