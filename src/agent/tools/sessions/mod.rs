//! The tools that look at sessions: `sessions_list`, `sessions_history`, `session_status`, `agents_list`.
//!
//! `view` says which sessions a run may know of. A session that it may not see is answered like one that
//! does not exist, and it is looked for only among those that it may see (TX-27).

mod agents_list;
mod history;
mod list;
mod status;
pub mod view;

pub use agents_list::AgentsList;
pub use history::History;
pub use list::List;
pub use status::Status;
