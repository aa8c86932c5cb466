//! The envelope of recordings: one JSON object a line, as `kcat -J` prints it.
