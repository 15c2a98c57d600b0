//! Who the assistant is, for the page before it has connected: name, avatar, and the avatar's picture.
//!
//! This machine and whoever knows the credential get the configured answers. Anyone else is told the base
//! path and what would hold without a config (UI-04); pictures alone are open, since an `img` element
//! cannot prove anything.

use serde_json::{Map, Value, json};

use super::auth::{Verdict, bearer};
use super::response::Response;
use super::routes::Host;
use super::serve::Request;
use crate::config::{Config, agents};
use crate::sys::folder::Folder;

/// Largest picture, in bytes.
const MAX_AVATAR_BYTES: u64 = 2 * 1024 * 1024;
/// Longest agent id.
const MAX_AGENT_ID: usize = 64;
/// What holds without a config.
const NAME: &str = "Assistant";
const AVATAR: &str = "A";
const AGENT: &str = "main";

/// Pictures by extension. Raster only: an SVG is a document that may hold script (UI-05).
const PICTURES: [(&str, &str); 5] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
];

/// What an agent's avatar is.
enum Avatar {
    /// A picture in its workspace, opened, and its type.
    Picture(std::fs::File, u64, &'static str),
    /// An address or inline picture that a browser takes as it is.
    Link(String),
    None,
}

/// The answer to `control-ui-config.json`.
pub fn bootstrap(host: &dyn Host, request: &Request<'_>, base: &str) -> Response {
    let config = host.config();
    let told = if may_know(host, request) {
        let agent = agents::default_id(&config);
        json!({
            "basePath": base,
            "assistantName": name(&config, &agent),
            "assistantAvatar": face(&config, base, &agent),
            "assistantAgentId": agent,
        })
    } else {
        json!({
            "basePath": base,
            "assistantName": NAME,
            "assistantAvatar": AVATAR,
            "assistantAgentId": AGENT,
        })
    };
    Response::json(200, &told).with("Cache-Control", "no-cache")
}

/// The answer to `avatar/<agent>`, with `?meta=1` to where the avatar is.
pub fn avatar(host: &dyn Host, request: &Request<'_>, base: &str, agent: &str) -> Response {
    if !is_agent_id(agent) {
        return Response::not_found();
    }
    let config = host.config();
    let agent = agents::normalise(agent);
    let query = request.head.query().unwrap_or("");
    if query.split('&').any(|p| p == "meta=1") {
        let url = match may_know(host, request) {
            true => match own_avatar(&config, &agent) {
                Avatar::Picture(..) => json!(address(base, &agent)),
                Avatar::Link(link) => json!(link),
                Avatar::None => Value::Null,
            },
            false => Value::Null,
        };
        return Response::json(200, &json!({"avatarUrl": url})).with("Cache-Control", "no-cache");
    }
    match own_avatar(&config, &agent) {
        Avatar::Picture(file, size, kind) => {
            Response::file(kind, file, size).with("Cache-Control", "no-cache")
        }
        Avatar::Link(_) | Avatar::None => Response::not_found(),
    }
}

/// Whether this asker is told names. A bearer that is wrong counts as an attempt, none does not.
fn may_know(host: &dyn Host, request: &Request<'_>) -> bool {
    host.is_local(request)
        || bearer(request.head).is_some_and(|b| host.judge(request, Some(b)) == Verdict::Proven)
}

fn name(config: &Config, agent: &str) -> String {
    let chosen = config.str("ui.assistant.name").map(str::trim);
    chosen
        .filter(|n| !n.is_empty() && *n != NAME)
        .or_else(|| identity(config, agent, "name"))
        .or_else(|| agents::name(config, agent))
        .unwrap_or(NAME)
        .to_string()
}

/// The avatar as the page shows it: an address, an inline picture, or a character.
fn face(config: &Config, base: &str, agent: &str) -> String {
    let chosen = config.str("ui.assistant.avatar").map(str::trim);
    if let Some(chosen) = chosen.filter(|a| !a.is_empty() && *a != AVATAR) {
        if let Avatar::Link(link) = link(chosen) {
            return link;
        }
        if !chosen.contains(['/', ':']) {
            return chosen.to_string();
        }
    }
    match own_avatar(config, agent) {
        Avatar::Picture(..) => address(base, agent),
        Avatar::Link(link) => link,
        Avatar::None => identity(config, agent, "emoji")
            .unwrap_or(AVATAR)
            .to_string(),
    }
}

fn address(base: &str, agent: &str) -> String {
    format!("{base}/avatar/{agent}")
}

fn identity<'c>(config: &'c Config, agent: &str, key: &str) -> Option<&'c str> {
    let text = |m: &'c Map<String, Value>| m.get(key)?.as_str().map(str::trim);
    agents::identity(config, agent)
        .and_then(text)
        .filter(|t| !t.is_empty())
}

fn own_avatar(config: &Config, agent: &str) -> Avatar {
    let Some(text) = identity(config, agent, "avatar") else {
        return Avatar::None;
    };
    match link(text) {
        Avatar::None => picture(config, agent, text).unwrap_or(Avatar::None),
        link => link,
    }
}

/// `text` as a link that may be put into a page: http, https, or an inline raster picture.
fn link(text: &str) -> Avatar {
    let lower = text.to_ascii_lowercase();
    let inline = lower.strip_prefix("data:image/").is_some_and(|rest| {
        PICTURES
            .iter()
            .any(|(e, _)| rest.starts_with(&format!("{e};")))
    });
    if inline || lower.starts_with("https://") || lower.starts_with("http://") {
        Avatar::Link(text.to_string())
    } else {
        Avatar::None
    }
}

/// The picture at `path` in the agent's workspace. Agents write there: no link of any kind is followed.
fn picture(config: &Config, agent: &str, path: &str) -> Option<Avatar> {
    let (_, kind) = PICTURES.iter().find(|(e, _)| {
        let extension = path.rsplit_once('.').map(|(_, e)| e);
        extension.is_some_and(|x| x.eq_ignore_ascii_case(e))
    })?;
    let workspace = agents::workspace(config, config.locations(), agent);
    let mut folder = Folder::open(&workspace).ok()?;
    let path = path.trim_start_matches("./");
    let (folders, file) = path.rsplit_once('/').unwrap_or(("", path));
    if !folders.is_empty() {
        for step in folders.split('/') {
            folder = folder.below(step).ok()?;
        }
    }
    let (file, entry) = folder.file(file).ok()?;
    (entry.size <= MAX_AVATAR_BYTES).then_some(Avatar::Picture(file, entry.size, kind))
}

fn is_agent_id(text: &str) -> bool {
    text.len() <= MAX_AGENT_ID
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::super::routes::testing::Desk;
    use super::*;
    use crate::sys::{file, id};
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    struct Home(PathBuf);

    impl Home {
        fn new() -> Home {
            let dir = std::env::temp_dir().join(format!("openclaw-avatar-{}", id::uuid()));
            file::make_private_dir(&dir.join("ws/pics")).unwrap();
            fs::write(dir.join("ws/pics/a.png"), "png").unwrap();
            fs::write(dir.join("secret.png"), "secret").unwrap();
            Home(dir)
        }

        fn desk(&self, avatar: &str) -> Desk {
            Desk::new(&format!(
                "{{agents: {{list: [
                    {{id: 'Main', workspace: '{}', identity: {{name: 'Claw', emoji: 'X', avatar: '{avatar}'}}}},
                    {{id: 'beta', identity: {{avatar: 'https://example.com/b.png'}}}},
                ]}}}}",
                self.0.join("ws").display()
            ))
        }
    }

    impl Drop for Home {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn told(desk: &Desk, path: &str) -> Value {
        let r = desk.ask("GET", path);
        assert_eq!(r.status(), 200, "{path}");
        assert_eq!(r.header("X-Frame-Options"), Some("DENY"));
        serde_json::from_slice(r.content().unwrap()).unwrap()
    }

    const CONFIG: &str = "/__openclaw/control-ui-config.json";

    #[test]
    fn this_machine_is_told_who_the_assistant_is() {
        let home = Home::new();
        let desk = home.desk("pics/a.png");
        let t = told(&desk, CONFIG);
        assert_eq!(t["assistantName"], "Claw");
        assert_eq!(t["assistantAvatar"], "/avatar/main");
        assert_eq!(t["assistantAgentId"], "main");
        assert_eq!(
            told(&desk, "/avatar/MAIN?meta=1")["avatarUrl"],
            "/avatar/main"
        );
        assert_eq!(
            told(&desk, "/avatar/beta?x&meta=1")["avatarUrl"],
            "https://example.com/b.png"
        );
        assert_eq!(
            told(&desk, "/avatar/ghost?meta=1")["avatarUrl"],
            Value::Null
        );
        let r = desk.ask("GET", "/avatar/main");
        assert_eq!(
            (r.status(), r.header("Content-Type")),
            (200, Some("image/png"))
        );
        for missing in [
            "/avatar/beta",
            "/avatar/ghost",
            "/avatar/a.b",
            "/avatar/main/x",
            "/avatar/",
        ] {
            assert_eq!(desk.ask("GET", missing).status(), 404, "{missing}");
        }
        assert_eq!(desk.ask("POST", "/avatar/main").status(), 405);
        let desk = Desk::new("{gateway: {controlUi: {basePath: '/b'}}}");
        let t = told(&desk, "/b/__openclaw/control-ui-config.json");
        assert_eq!(
            (&t["basePath"], &t["assistantAvatar"]),
            (&json!("/b"), &json!("A"))
        );
    }

    #[test]
    fn ui_04_others_are_told_nothing_without_the_credential() {
        let home = Home::new();
        let mut desk = home.desk("pics/a.png");
        desk.local = false;
        let defaults = json!({
            "basePath": "", "assistantName": "Assistant", "assistantAvatar": "A", "assistantAgentId": "main",
        });
        assert_eq!(told(&desk, CONFIG), defaults);
        assert_eq!(told(&desk, "/avatar/main?meta=1")["avatarUrl"], Value::Null);
        desk.verdict = Verdict::Proven;
        desk.bearer = "Authorization: Bearer right\r\n";
        assert_eq!(told(&desk, CONFIG)["assistantName"], "Claw");
    }

    #[test]
    fn a_picture_is_a_file_of_the_workspace_and_nothing_else() {
        let home = Home::new();
        symlink(home.0.join("secret.png"), home.0.join("ws/link.png")).unwrap();
        fs::hard_link(home.0.join("secret.png"), home.0.join("ws/hard.png")).unwrap();
        symlink(&home.0, home.0.join("ws/out")).unwrap();
        fs::write(home.0.join("ws/x.svg"), "<svg/>").unwrap();
        let big = fs::File::create(home.0.join("ws/big.png")).unwrap();
        big.set_len(MAX_AVATAR_BYTES + 1).unwrap();
        for avatar in [
            "link.png",
            "hard.png",
            "out/secret.png",
            "x.svg",
            "big.png",
            "pics",
            "pics//a.png",
            "data:image/svg+xml;base64,x",
        ] {
            let desk = home.desk(avatar);
            assert_eq!(desk.ask("GET", "/avatar/main").status(), 404, "{avatar}");
            assert_eq!(told(&desk, CONFIG)["assistantAvatar"], "X", "{avatar}");
        }
        // What the config's own check would have refused.
        let config = home.desk("pics/a.png").config;
        for path in [
            "../secret.png",
            "/etc/passwd.png",
            "pics/../../secret.png",
            "a\0.png",
            ".png",
            "",
        ] {
            assert!(picture(&config, "main", path).is_none(), "{path:?}");
        }
        assert_eq!(
            home.desk("./pics/a.png")
                .ask("GET", "/avatar/main")
                .status(),
            200
        );
    }
}
