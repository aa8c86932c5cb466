//! `regressd demo`.
pub mod card;
pub mod dice;
pub mod fleet;
pub mod picture;
pub mod record;
pub mod script;
