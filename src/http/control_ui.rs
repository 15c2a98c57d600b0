//! The control UI over HTTP: the embedded page, or the files of `gateway.controlUi.root` in its place.
//!
//! It is a catch-all: any path below the base that is no file gives the index, so that links into the page
//! work. No credential is needed for files. What the page is told about the assistant before it has
//! connected is `assistant`'s matter.

use std::path::{Path, PathBuf};

use super::response::Response;
use super::routes::{Host, Target};
use super::serve::Request;
use crate::config::Config;
use crate::sys::folder::Folder;
use crate::ui;

/// Extensions that a page asks for as a file: when it is not there, the answer is 404 and not the index.
const FILE_EXTENSIONS: [&str; 12] = [
    "js", "css", "json", "map", "svg", "png", "jpg", "jpeg", "gif", "webp", "ico", "txt",
];
/// The policy for the embedded page, which needs nothing inline and nothing from elsewhere.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: https:; \
     font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; object-src 'none'; \
     form-action 'none'; frame-ancestors 'none'";
/// The policy for a page that the operator put in place of ours: it may style elements, and connects where it came from.
const ROOT_CSP: &str = "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; \
     script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: https:; font-src 'self'; \
     connect-src 'self'";

/// Whether the control UI is served at all.
pub fn is_on(config: &Config) -> bool {
    config.bool("gateway.controlUi.enabled", true)
}

/// `gateway.controlUi.basePath` with a slash in front and none behind; empty for the root.
pub fn base_path(config: &Config) -> String {
    let text = config.str("gateway.controlUi.basePath").unwrap_or("");
    match text.trim().trim_matches('/') {
        "" => String::new(),
        name => format!("/{name}"),
    }
}

/// What of a decoded path lies below the base, with its slash; `None` when it is elsewhere.
pub fn below<'t>(base: &str, target: &'t Target) -> Option<&'t str> {
    target
        .path()
        .strip_prefix(base)
        .filter(|rest| rest.starts_with('/'))
}

/// `response` with the headers of everything that belongs to the page.
pub fn dressed(config: &Config, response: Response) -> Response {
    let policy = if root(config).is_some() {
        ROOT_CSP
    } else {
        CSP
    };
    response
        .with("X-Frame-Options", "DENY")
        .with("Content-Security-Policy", policy)
}

/// `gateway.controlUi.root`, when another page is to be served in place of ours.
fn root(config: &Config) -> Option<PathBuf> {
    let text = config.str("gateway.controlUi.root")?.trim();
    (!text.is_empty()).then(|| config.locations().expand(text))
}

/// The answer to a GET or HEAD; `None` when the path is not below the base.
pub fn answer(host: &dyn Host, request: &Request<'_>, target: &Target) -> Option<Response> {
    let config = host.config();
    let base = base_path(&config);
    if !base.is_empty() && target.path() == base {
        return Some(dressed(&config, to_slash(&base, request)));
    }
    let path = below(&base, target)?;
    if base.is_empty() && target.is_under("/ui") {
        return Some(dressed(&config, Response::not_found()));
    }
    let name = file_name(path).filter(|_| target.is_plain());
    let file = match root(&config) {
        None => embedded(path, name),
        Some(root) => from_root(&root, path, name, host.is_local(request)),
    };
    Some(dressed(&config, file))
}

/// 302 from the base to the base with a slash behind, the query kept.
fn to_slash(base: &str, request: &Request<'_>) -> Response {
    let query = request
        .head
        .query()
        .map_or(String::new(), |q| format!("?{q}"));
    let mut location = String::new();
    for b in format!("{base}/{query}").bytes() {
        match b {
            b'!'..=b'~' => location.push(char::from(b)),
            _ => location.push_str(&format!("%{b:02X}")),
        }
    }
    Response::empty(302).with("Location", &location)
}

/// The file that a path below the base means: nothing for the index, `assets/x` wherever `/assets/` stands.
fn file_name(path: &str) -> Option<&str> {
    let name = match path.find("/assets/") {
        Some(at) => &path[at + 1..],
        None => &path[1..],
    };
    (!name.is_empty() && !name.ends_with('/')).then_some(name)
}

fn embedded(path: &str, name: Option<&str>) -> Response {
    let find = |name: &str| ui::FILES.iter().find(|f| f.name == name);
    let file = match name.and_then(find) {
        Some(file) => file,
        None if asks_for_a_file(path) => return Response::not_found(),
        None => &ui::INDEX,
    };
    let kind = content_type(file.name);
    Response::bytes(200, kind, file.bytes).with("Cache-Control", "no-cache")
}

/// A file below `root`. No link is followed on the way, so that nothing outside is ever served.
fn from_root(root: &Path, path: &str, name: Option<&str>, local: bool) -> Response {
    let open = |name: &str| {
        let mut folder = Folder::open(root).ok()?;
        let (folders, file) = name.rsplit_once('/').unwrap_or(("", name));
        for step in folders.split('/').filter(|s| !s.is_empty()) {
            folder = folder.below(step).ok()?;
        }
        let (file, entry) = folder.linked_file(file).ok()?;
        let response = Response::file(content_type(name), file, entry.size);
        Some(response.with("Cache-Control", "no-cache"))
    };
    if let Some(found) = name.and_then(open) {
        return found;
    }
    if asks_for_a_file(path) {
        return Response::not_found();
    }
    open("index.html").unwrap_or_else(|| missing(root, local))
}

/// The words of the reference, since tests of others know them. Where the folder is, only this machine is told.
fn missing(root: &Path, local: bool) -> Response {
    let place = if local {
        format!(" at {}", root.display())
    } else {
        String::new()
    };
    Response::text(
        503,
        format!(
            "Control UI assets not found{place}. Build them with `pnpm ui:build` (auto-installs UI deps), or \
             update gateway.controlUi.root."
        ),
    )
}

fn extension(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.rsplit_once('.') {
        Some((_, extension)) => extension.to_ascii_lowercase(),
        None => String::new(),
    }
}

fn asks_for_a_file(path: &str) -> bool {
    FILE_EXTENSIONS.contains(&extension(path).as_str())
}

fn content_type(name: &str) -> &'static str {
    match extension(name).as_str() {
        "html" => "text/html; charset=utf-8",
        "js" => "application/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json; charset=utf-8",
        "txt" => "text/plain; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::super::response::Response;
    use super::super::routes::testing::Desk;
    use crate::sys::{file, id};
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    fn is_index(r: &Response) -> bool {
        r.status() == 200 && r.header("Content-Type") == Some("text/html; charset=utf-8")
    }

    #[test]
    fn any_unknown_path_is_the_page() {
        let desk = Desk::new("{}");
        for path in [
            "/",
            "/chat?session=main",
            "/some/page.html",
            "/download.xyz",
            "/v1/models",
            "/../../etc/passwd",
            "/%2e%2e/%2e%2e/etc/passwd",
            "//evil.example/x",
            "/%zz",
            "/assets/",
            "/avatarx",
        ] {
            let r = desk.ask("GET", path);
            assert!(is_index(&r), "{path}: {}", r.status());
            assert_eq!(r.header("Cache-Control"), Some("no-cache"));
            assert_eq!(r.header("X-Frame-Options"), Some("DENY"));
            let policy = r.header("Content-Security-Policy").unwrap();
            assert!(
                policy.contains("frame-ancestors 'none'") && policy.contains("connect-src 'self';")
            );
            assert!(!policy.contains("unsafe"));
        }
        for path in [
            "/nope.js",
            "/NOPE.SVG",
            "/assets/..%2f..%2fpackage.json",
            "/a/b.css",
            "/x.txt",
            "/ui",
            "/ui/x",
        ] {
            let r = desk.ask("GET", path);
            assert_eq!(
                (r.status(), r.content()),
                (404, Some(&b"Not Found"[..])),
                "{path}"
            );
            assert_eq!(r.header("X-Frame-Options"), Some("DENY"));
        }
    }

    #[test]
    fn files_are_found_from_any_depth() {
        let desk = Desk::new("{}");
        for path in [
            "/assets/app.js",
            "/chat/assets/app.js",
            "/a/b/assets/app.js",
        ] {
            let r = desk.ask("GET", path);
            assert_eq!(
                (r.status(), r.header("Content-Type")),
                (200, Some("application/javascript; charset=utf-8")),
                "{path}"
            );
        }
        assert_eq!(
            desk.ask("GET", "/favicon.svg").header("Content-Type"),
            Some("image/svg+xml")
        );
        assert!(is_index(&desk.ask("HEAD", "/")));
    }

    #[test]
    fn other_methods_are_refused_without_the_page_s_headers() {
        let desk = Desk::new("{}");
        for method in ["POST", "PUT", "OPTIONS", "DELETE", "TRACE"] {
            let r = desk.ask(method, "/");
            assert_eq!((r.status(), r.header("X-Frame-Options")), (405, None));
            assert_eq!(r.header("Allow"), Some("GET, HEAD"));
        }
    }

    #[test]
    fn below_a_base_path() {
        let desk = Desk::new("{gateway: {controlUi: {basePath: 'claw/'}}}");
        let r = desk.ask("GET", "/claw?x=1");
        assert_eq!(
            (r.status(), r.header("Location")),
            (302, Some("/claw/?x=1"))
        );
        assert!(is_index(&desk.ask("GET", "/claw/")));
        assert!(is_index(&desk.ask("GET", "/claw/chat")));
        assert_eq!(desk.ask("GET", "/claw/assets/app.js").status(), 200);
        for path in ["/", "/clawx", "/ui", "/__openclaw/control-ui-config.json"] {
            let r = desk.ask("GET", path);
            assert_eq!(
                (r.status(), r.header("X-Frame-Options")),
                (404, None),
                "{path}"
            );
        }
        assert_eq!(desk.ask("POST", "/").status(), 405);
        assert_eq!(
            desk.ask("GET", "/claw?é").header("Location"),
            Some("/claw/?%C3%A9")
        );
    }

    struct Root(PathBuf);

    impl Root {
        fn new() -> Root {
            let dir = std::env::temp_dir().join(format!("openclaw-root-{}", id::uuid()));
            file::make_private_dir(&dir.join("ui/assets")).unwrap();
            Root(dir)
        }

        fn write(&self, name: &str) {
            fs::write(self.0.join(name), name).unwrap();
        }

        fn desk(&self) -> Desk {
            let root = self.0.join("ui");
            Desk::new(&format!(
                "{{gateway: {{controlUi: {{root: '{}'}}}}}}",
                root.display()
            ))
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn ht_08_a_folder_in_its_place_is_confined() {
        let root = Root::new();
        for name in [
            "secret.txt",
            "ui/index.html",
            "ui/assets/x.js",
            "ui/data.bin",
        ] {
            root.write(name);
        }
        symlink(root.0.join("secret.txt"), root.0.join("ui/link.txt")).unwrap();
        symlink(&root.0, root.0.join("ui/out")).unwrap();
        let desk = root.desk();
        assert!(is_index(&desk.ask("GET", "/")));
        assert_eq!(desk.ask("GET", "/deep/assets/x.js").status(), 200);
        assert_eq!(
            desk.ask("GET", "/data.bin").header("Content-Type"),
            Some("application/octet-stream")
        );
        for path in [
            "/link.txt",
            "/out/secret.txt",
            "/../secret.txt",
            "/assets/../../secret.txt",
            "/%2e%2e/secret.txt",
            "/..%2fsecret.txt",
            "/assets/x.js%00.txt",
            "/..\\secret.txt",
        ] {
            assert_eq!(desk.ask("GET", path).status(), 404, "{path}");
        }
        // A folder is no file.
        assert!(is_index(&desk.ask("GET", "/assets")));
    }

    #[test]
    fn a_root_without_a_page_says_so_and_its_place_only_here() {
        let root = Root::new();
        let mut desk = root.desk();
        let text = |d: &Desk| {
            let r = d.ask("GET", "/");
            assert_eq!(
                (r.status(), r.header("X-Frame-Options")),
                (503, Some("DENY"))
            );
            String::from_utf8(r.content().unwrap().to_vec()).unwrap()
        };
        assert!(text(&desk).contains("/ui. Build"));
        desk.local = false;
        assert!(!text(&desk).contains(root.0.to_str().unwrap()));
    }
}
