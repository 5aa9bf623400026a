//! The switch: listeners and connections of the card network links.

pub mod framing;
