//! Effects, encoded for the output topics.
