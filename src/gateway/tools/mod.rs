//! The tools of agents, wired to the gateway: what they need of its services, and nothing else.

mod exec;

use std::sync::Arc;

use super::runs::Wire;
use crate::agent::tools::Registry;
use crate::agent::tools::exec::process::Process;
use crate::agent::tools::exec::{Deps, Exec, Jobs};
use crate::agent::tools::sessions::{History, List, Status};
use crate::state;
use exec::{Operators, RemoteHosts};

/// The stores and services that tools work on.
pub struct Parts {
    pub sessions: Arc<state::sessions::Store>,
    pub exec_approvals: Arc<state::approvals::Store>,
    pub jobs: Arc<Jobs>,
}

/// All tools of this gateway. What they reach through `wire` is there once the gateway is.
pub fn registry(wire: &Wire, parts: &Parts) -> Registry {
    let mut tools = Registry::new();
    let exec = Arc::new(Deps {
        jobs: parts.jobs.clone(),
        listed: parts.exec_approvals.clone(),
        sessions: parts.sessions.clone(),
        approver: Arc::new(Operators(wire.clone())),
        nodes: Arc::new(RemoteHosts(wire.clone())),
        notify: exec::notify(wire),
    });
    tools.add(Arc::new(Exec::new(exec.clone())));
    tools.add(Arc::new(Process::new(exec)));
    let sessions = &parts.sessions;
    tools.add(Arc::new(List::new(sessions.clone())));
    tools.add(Arc::new(History::new(sessions.clone())));
    tools.add(Arc::new(Status::new(sessions.clone())));
    tools
}
