//! The operating system, behind names that say what the rest of the house needs of it.

pub mod clock;
pub mod confine;
pub mod fetch;
pub mod file;
pub mod folder;
pub mod id;
pub mod lock;
pub mod log;
pub mod net;
pub mod os;
pub mod port;
pub mod process;
pub mod secret;
pub mod sync;
