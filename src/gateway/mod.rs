//! The running process.

pub mod options;
