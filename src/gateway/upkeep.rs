//! What the gateway does for its state once in a while: sessions within their bounds, journals folded.

use std::sync::Arc;
use std::time::Duration;

use super::Gateway;
use crate::state::sessions::Bounds;
use crate::sys::clock as wall;

/// Time from the start to the first round: nobody waits for it, and a start is busy enough.
const FIRST: Duration = Duration::from_secs(10 * 60);
/// Time between two rounds.
const EVERY: Duration = Duration::from_secs(60 * 60);

/// Arms the first round.
pub(super) fn start(gateway: &Arc<Gateway>) {
    arm(gateway, FIRST);
}

fn arm(gateway: &Arc<Gateway>, after: Duration) {
    let weak = Arc::downgrade(gateway);
    gateway.clock.after(after, move || {
        let Some(gateway) = weak.upgrade() else {
            return;
        };
        arm(&gateway, EVERY);
        // Files take their time, and the clock has none.
        let round = std::thread::Builder::new().name("upkeep".into());
        if let Err(e) = round.spawn(move || run(&gateway)) {
            log::warn!(target: "gateway", "no thread for upkeep: {e}");
        }
    });
}

fn run(gateway: &Gateway) {
    let config = gateway.config.current();
    let bounds = Bounds::from_config(config.get("session"));
    for agent in gateway.sessions.agents_on_disk() {
        let now = wall::now_ms();
        let found = match bounds.enforce {
            true => gateway.sessions.enforce(&agent, &bounds, now),
            false => gateway.sessions.out_of_bounds(&agent, &bounds, now),
        };
        match found {
            Ok(found) if found.is_empty() => {}
            Ok(found) => log::info!(
                target: "gateway",
                "sessions of agent {agent}: {} not used for too long, {} too many, {} archives too old: {}",
                found.stale.len(),
                found.excess.len(),
                found.archives.len(),
                match bounds.enforce {
                    true => "removed",
                    false => "kept; session.maintenance.mode \"enforce\" removes them",
                }
            ),
            Err(e) => log::warn!(target: "gateway", "upkeep of the sessions of agent {agent}: {e}"),
        }
    }
    gateway.sessions.settle();
}
