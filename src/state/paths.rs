//! Where each thing lives in the state directory: one method for each path, and no path elsewhere.
//!
//! Names that come from outside (agents, sessions, jobs, channels) are checked here, so that none of
//! them can lead out of its folder.

use std::path::{Path, PathBuf};

use super::session_key;
use crate::config::Locations;

/// Bytes of a name that may become part of a file name.
const MAX_NAME: usize = 128;

/// The state directory and what is in it.
#[derive(Clone, Debug)]
pub struct Paths {
    root: PathBuf,
    credentials: PathBuf,
    exec_approvals: PathBuf,
}

impl Paths {
    /// The paths of an installation.
    ///
    /// The reference keeps exec approvals in the home's default state directory, whatever the profile: a
    /// file that is there is used, so that what an operator has approved still counts.
    pub fn of(locations: &Locations) -> Paths {
        let mut paths = Paths::new(&locations.state_dir);
        paths.credentials = locations.oauth_dir.clone();
        let shared = locations.home.join(".openclaw/exec-approvals.json");
        if shared.is_file() {
            paths.exec_approvals = shared;
        }
        paths
    }

    /// Everything below `state_dir`.
    pub fn new(state_dir: impl Into<PathBuf>) -> Paths {
        let root = state_dir.into();
        Paths {
            credentials: root.join("credentials"),
            exec_approvals: root.join("exec-approvals.json"),
            root,
        }
    }

    /// The state directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Locked for as long as a gateway runs on this state directory.
    pub fn gateway_lock(&self) -> PathBuf {
        self.root.join("gateway.lock")
    }

    /// The credential that the gateway made for itself.
    pub fn gateway_token(&self) -> PathBuf {
        self.root.join("gateway-token")
    }

    /// Why the gateway last ended.
    pub fn exit_reason(&self) -> PathBuf {
        self.root.join("last-exit.json")
    }

    /// What a restart is to report once it is back.
    pub fn restart_sentinel(&self) -> PathBuf {
        self.root.join("restart-sentinel.json")
    }

    /// The variables that the gateway takes over from a file.
    pub fn env_file(&self) -> PathBuf {
        self.root.join(".env")
    }

    /// The folder of the service's own logs and the config audit.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// One line for each write of the config.
    pub fn config_audit(&self) -> PathBuf {
        self.root.join(crate::config::write::AUDIT_LOG)
    }

    /// The folder of all agents.
    pub fn agents(&self) -> PathBuf {
        self.root.join("agents")
    }

    /// The folder of one agent; the id is normalised first.
    pub fn agent(&self, id: &str) -> PathBuf {
        self.agents().join(session_key::agent_id(id))
    }

    /// The agent's own folder for credentials and models.
    pub fn agent_dir(&self, id: &str) -> PathBuf {
        self.agent(id).join("agent")
    }

    /// The agent's credentials for model providers.
    pub fn auth_profiles(&self, id: &str) -> PathBuf {
        self.agent_dir(id).join("auth-profiles.json")
    }

    /// The folder of the agent's sessions and transcripts.
    pub fn sessions(&self, id: &str) -> PathBuf {
        self.agent(id).join("sessions")
    }

    /// The agent's sessions: session key to entry.
    pub fn sessions_file(&self, id: &str) -> PathBuf {
        self.sessions(id).join("sessions.json")
    }

    /// Changes to the sessions that are not in [`Paths::sessions_file`] yet; missing after a clean stop.
    pub fn sessions_journal(&self, id: &str) -> PathBuf {
        self.sessions(id).join("sessions.journal")
    }

    /// Locked while the sessions are written. Not the reference's `sessions.json.lock`, whose mere
    /// presence would lock the reference out.
    pub fn sessions_lock(&self, id: &str) -> PathBuf {
        self.sessions(id).join(".sessions.flock")
    }

    /// The transcript of a session, or `None` for an id that is not a plain file name.
    pub fn transcript(&self, agent: &str, session_id: &str) -> Option<PathBuf> {
        let name = plain_name(session_id)?;
        Some(self.sessions(agent).join(format!("{name}.jsonl")))
    }

    /// Devices that wait for approval.
    pub fn devices_pending(&self) -> PathBuf {
        self.root.join("devices/pending.json")
    }

    /// Devices that were approved, with their tokens.
    pub fn devices_paired(&self) -> PathBuf {
        self.root.join("devices/paired.json")
    }

    /// Nodes that wait for approval.
    pub fn nodes_pending(&self) -> PathBuf {
        self.root.join("nodes/pending.json")
    }

    /// Nodes that were approved, with their tokens.
    pub fn nodes_paired(&self) -> PathBuf {
        self.root.join("nodes/paired.json")
    }

    /// The key pair of this host as a client.
    pub fn identity_device(&self) -> PathBuf {
        self.root.join("identity/device.json")
    }

    /// The tokens that this host got as a client.
    pub fn identity_tokens(&self) -> PathBuf {
        self.root.join("identity/device-auth.json")
    }

    /// The scheduled jobs.
    pub fn cron_jobs(&self) -> PathBuf {
        self.root.join("cron/jobs.json")
    }

    /// The folder of the jobs' run logs.
    pub fn cron_runs(&self) -> PathBuf {
        self.root.join("cron/runs")
    }

    /// The run log of one job, or `None` for an id that is not a plain file name.
    pub fn cron_run(&self, job: &str) -> Option<PathBuf> {
        Some(self.cron_runs().join(format!("{}.jsonl", plain_name(job)?)))
    }

    /// Whether the operator switched heartbeats off, and the last one.
    pub fn heartbeat(&self) -> PathBuf {
        self.root.join("settings/heartbeat.json")
    }

    /// Text that waits for the next turn of a session.
    pub fn system_events(&self) -> PathBuf {
        self.root.join("system-events.json")
    }

    /// What may be executed, by agent.
    pub fn exec_approvals(&self) -> &Path {
        &self.exec_approvals
    }

    /// The words that wake a phone or a desktop.
    pub fn voicewake(&self) -> PathBuf {
        self.root.join("settings/voicewake.json")
    }

    /// Whether and how replies are to be spoken.
    pub fn tts(&self) -> PathBuf {
        self.root.join("settings/tts.json")
    }

    /// The skills that all agents share.
    pub fn skills(&self) -> PathBuf {
        self.root.join("skills")
    }

    /// Messages on their way out.
    pub fn delivery_queue(&self) -> PathBuf {
        self.root.join("delivery-queue")
    }

    /// Runs that were accepted and wait for their session.
    pub fn run_queue(&self) -> PathBuf {
        self.root.join("run-queue")
    }

    /// Files that came in and went out.
    pub fn media(&self) -> PathBuf {
        self.root.join("media")
    }

    /// How far a Telegram account was read, or `None` for a name that is not a plain file name.
    pub fn telegram_offset(&self, account: &str) -> Option<PathBuf> {
        let name = plain_name(account)?;
        Some(
            self.root
                .join(format!("telegram/update-offset-{name}.json")),
        )
    }

    /// The folder of pairing stores and channel logins.
    pub fn credentials(&self) -> &Path {
        &self.credentials
    }

    /// A file in the credentials folder, or `None` for a name that is not a plain file name.
    pub fn credentials_file(&self, name: &str) -> Option<PathBuf> {
        Some(self.credentials.join(plain_name(name)?))
    }
}

/// `name` if it can be a file name without leading anywhere else: letters, digits, `-`, `_`, `.`, `@`,
/// `+`, not starting with a dot, at most 128 bytes.
pub fn plain_name(name: &str) -> Option<&str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.@+".contains(c);
    let ok = !name.is_empty()
        && name.len() <= MAX_NAME
        && !name.starts_with('.')
        && name.chars().all(fits);
    ok.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::Folder;

    #[test]
    fn no_name_leads_out_of_its_folder() {
        let p = Paths::new("/s");
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "a\\b",
            "a\0b",
            ".hidden",
            "ä",
            &"x".repeat(129),
        ] {
            assert_eq!(plain_name(bad), None, "{bad:?}");
            assert_eq!(p.transcript("main", bad), None);
            assert_eq!(p.cron_run(bad), None);
        }
        for bad in ["..", "../../etc", "/etc", "a/../../b", ""] {
            let dir = p.agent(bad);
            assert_eq!(dir.parent(), Some(Path::new("/s/agents")), "{bad:?}");
            assert!(dir.components().all(|c| c.as_os_str() != ".."));
        }
    }

    #[test]
    fn the_places_are_those_of_the_reference() {
        let p = Paths::new("/s");
        let shown = |p: PathBuf| p.display().to_string();
        assert_eq!(
            shown(p.sessions_file("Main")),
            "/s/agents/main/sessions/sessions.json"
        );
        assert_eq!(
            shown(p.auth_profiles("main")),
            "/s/agents/main/agent/auth-profiles.json"
        );
        assert_eq!(
            shown(p.credentials_file("telegram-pairing.json").unwrap()),
            "/s/credentials/telegram-pairing.json"
        );
    }

    #[test]
    fn approvals_of_the_home_count_for_every_profile_once_they_are_there() {
        let dir = Folder::new();
        let home = dir.path().to_str().unwrap();
        let env = [
            ("HOME", home),
            ("OPENCLAW_STATE_DIR", "~/other"),
            ("OPENCLAW_OAUTH_DIR", "~/keys"),
        ];
        let locations = Locations::from_env(&env.into_iter().collect());
        let p = Paths::of(&locations);
        assert_eq!(p.root(), dir.path().join("other"));
        assert_eq!(p.credentials(), dir.path().join("keys"));
        assert_eq!(
            p.exec_approvals(),
            dir.path().join("other/exec-approvals.json")
        );
        let shared = dir.path().join(".openclaw/exec-approvals.json");
        std::fs::create_dir(shared.parent().unwrap()).unwrap();
        std::fs::write(&shared, "{}").unwrap();
        assert_eq!(Paths::of(&locations).exec_approvals(), shared);
    }
}
