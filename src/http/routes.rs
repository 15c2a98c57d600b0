//! Which handler answers which request: one table, looked through in order.
//!
//! A path is decoded once, and rows match what came out; the guard belongs to the row, so that no spelling
//! of a path reaches a handler past its guard (HT-02). In a row that takes a request, the method is judged
//! first, then the credential, then the handler runs. A handler that passes lets the next row try.

use std::sync::Arc;

use tiny_http::Method;

use super::assistant;
use super::auth::{self, Verdict};
use super::control_ui;
use super::response::Response;
use super::serve::{Request, Routes};
use crate::config::Config;

/// What the routes need of the running gateway. Made for one connection.
pub trait Host {
    fn config(&self) -> Arc<Config>;

    /// Whether `bearer` opens the gateway. Counts as an attempt.
    fn judge(&self, request: &Request<'_>, bearer: Option<&str>) -> Verdict;

    /// Whether the request comes from this machine, unforwarded, and names it by a loopback name.
    fn is_local(&self, request: &Request<'_>) -> bool;

    /// Whether the page that the `Origin` header names may change things.
    fn allows_origin(&self, request: &Request<'_>) -> bool;
}

/// What a row asks for before its handler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing.
    Open,
    /// The gateway's credential.
    Gateway,
}

/// One row of the table.
pub struct Route {
    /// The path as the manual shows it.
    pub path: &'static str,
    /// Whether a request belongs here, by config and path.
    takes: fn(&Config, &Target) -> bool,
    /// The methods that do, as an `Allow` header lists them; empty for any.
    pub methods: &'static str,
    pub guard: Guard,
    /// The answer; `None` to let the next row try.
    answer: fn(&Site<'_>, &mut Request<'_>, &Target) -> Option<Response>,
    /// One line for the manual.
    pub about: &'static str,
}

/// The routes in the order in which they are tried. What no row answers is 404.
pub const TABLE: &[Route] = &[
    Route {
        path: "/__openclaw__/…",
        takes: |_, t| t.is_under("/__openclaw__"),
        methods: "",
        guard: Guard::Open,
        answer: |_, _, _| Some(Response::not_found()),
        about: "canvas pages of the reference: not served",
    },
    Route {
        path: "/api/channels/…",
        takes: |_, t| t.is_under("/api/channels"),
        methods: "",
        guard: Guard::Gateway,
        answer: |_, _, _| None,
        about: "kept for webhooks of channels: never without the credential",
    },
    Route {
        path: "BASE/__openclaw/control-ui-config.json",
        takes: |c, t| ui_path(c, t) == Some("/__openclaw/control-ui-config.json"),
        methods: "GET, HEAD",
        guard: Guard::Open,
        answer: |site, request, _| {
            let config = site.host.config();
            let base = control_ui::base_path(&config);
            let told = assistant::bootstrap(site.host, request, &base);
            Some(control_ui::dressed(&config, told))
        },
        about: "what the page is told before it connects",
    },
    Route {
        path: "BASE/avatar/AGENT",
        takes: |c, t| ui_path(c, t).is_some_and(|p| p.starts_with("/avatar/")),
        methods: "GET, HEAD",
        guard: Guard::Open,
        answer: |site, request, target| {
            let config = site.host.config();
            let base = control_ui::base_path(&config);
            let agent = control_ui::below(&base, target)?.strip_prefix("/avatar/")?;
            let shown = assistant::avatar(site.host, request, &base, agent);
            Some(control_ui::dressed(&config, shown))
        },
        about: "the picture of an agent; with ?meta=1, where it is",
    },
    Route {
        path: "BASE/…",
        takes: |c, _| control_ui::is_on(c),
        methods: "GET, HEAD",
        guard: Guard::Open,
        answer: |site, request, t| control_ui::answer(site.host, request, t),
        about: "the control UI; its index for any path that is no file",
    },
];

/// The path below the base of the control UI, when that is on.
fn ui_path<'t>(config: &Config, target: &'t Target) -> Option<&'t str> {
    let on = control_ui::is_on(config);
    control_ui::below(&control_ui::base_path(config), target).filter(|_| on)
}

/// The routes of a gateway, for one connection.
pub struct Site<'a> {
    pub host: &'a dyn Host,
}

impl Routes for Site<'_> {
    fn answer(&self, request: &mut Request<'_>) -> Response {
        let config = self.host.config();
        let target = Target::new(request.head.path());
        for route in TABLE.iter().filter(|r| (r.takes)(&config, &target)) {
            if !route.allows(request.head.method()) {
                return Response::method_not_allowed(route.methods);
            }
            if route.guard == Guard::Gateway
                && let Err(refusal) = auth::require(self.host, request)
            {
                return refusal;
            }
            if let Some(answer) = (route.answer)(self, request, &target) {
                return answer;
            }
        }
        Response::not_found()
    }

    fn hsts(&self) -> Option<String> {
        let config = self.host.config();
        let value = config.str("gateway.http.securityHeaders.strictTransportSecurity")?;
        Some(value.trim().to_string()).filter(|v| !v.is_empty())
    }
}

impl Route {
    fn allows(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.split(", ").any(|m| m == method.as_str())
    }
}

/// The path of a request, decoded once.
pub struct Target {
    decoded: String,
    plain: bool,
}

impl Target {
    pub fn new(raw: &str) -> Target {
        match decode(raw) {
            Some(decoded) => Target {
                plain: is_plain(&decoded),
                decoded,
            },
            // A broken escape names nothing; it is looked at as it came.
            None => Target {
                decoded: raw.to_string(),
                plain: false,
            },
        }
    }

    /// The decoded path. It may hold anything: see [`Target::is_plain`].
    pub fn path(&self) -> &str {
        &self.decoded
    }

    /// Whether the path names a thing below the root: no empty, `.` or `..` segment, no backslash, no control character.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// Whether the path is `prefix` or lies below it.
    pub fn is_under(&self, prefix: &str) -> bool {
        self.decoded
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// `raw` with its percent escapes resolved, once. `None` when one is broken or the result is no UTF-8.
fn decode(raw: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let [high, low, tail @ ..] = tail else {
            return None;
        };
        let digit = |b: u8| char::from(b).to_digit(16);
        bytes.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

fn is_plain(path: &str) -> bool {
    let Some(below) = path.strip_prefix('/') else {
        return false;
    };
    let clean = !path.contains(|c: char| c == '\\' || c.is_control());
    let below = below.strip_suffix('/').unwrap_or(below);
    clean && (below.is_empty() || below.split('/').all(|s| !matches!(s, "" | "." | "..")))
}

#[cfg(test)]
pub(crate) mod testing {
    //! A gateway that says what the test wants, and requests to put to it.

    use super::*;
    use crate::http::head;
    use crate::http::serve::Peer;
    use crate::http::socket::testing::{Script, Then};

    pub struct Desk {
        pub config: Arc<Config>,
        pub verdict: Verdict,
        pub local: bool,
        /// A header line that goes with every request.
        pub bearer: &'static str,
    }

    impl Desk {
        pub fn new(config: &str) -> Desk {
            Desk {
                config: Arc::new(Config::from_text(config)),
                verdict: Verdict::Refused,
                local: true,
                bearer: "",
            }
        }

        /// The answer to a request without a body.
        pub fn ask(&self, method: &str, target: &str) -> Response {
            let site = Site { host: self };
            let text = format!(
                "{method} {target} HTTP/1.1\r\nHost: x\r\n{}\r\n",
                self.bearer
            );
            request(&text, |r| site.answer(r))
        }
    }

    impl Host for Desk {
        fn config(&self) -> Arc<Config> {
            self.config.clone()
        }

        fn judge(&self, _: &Request<'_>, _: Option<&str>) -> Verdict {
            self.verdict
        }

        fn is_local(&self, _: &Request<'_>) -> bool {
            self.local
        }

        fn allows_origin(&self, request: &Request<'_>) -> bool {
            request.head.header("origin") == Some("http://good")
        }
    }

    pub fn request<T>(text: &str, look: impl FnOnce(&mut Request<'_>) -> T) -> T {
        let (head, size) = head::parse(text.as_bytes()).unwrap().unwrap();
        let mut buf = text.as_bytes()[size..].to_vec();
        let mut socket = Script::new(&[], Then::Eof);
        let address = "127.0.0.1:1".parse().unwrap();
        let peer = Peer {
            remote: address,
            local: address,
        };
        look(&mut Request::new(&mut socket, &mut buf, &head, peer))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Desk;
    use super::*;

    #[test]
    fn paths_are_decoded_once() {
        let path = |raw| Target::new(raw).path().to_string();
        assert_eq!(path("/a%2Fb%20c"), "/a/b c");
        assert_eq!(path("/%252e"), "/%2e");
        assert_eq!(path("/%zz"), "/%zz");
        assert_eq!(path("/%"), "/%");
        assert_eq!(path("/%ff"), "/%ff");
        for plain in ["/", "/a", "/a/", "/a/b.js", "/%20"] {
            assert!(Target::new(plain).is_plain(), "{plain}");
        }
        for odd in [
            "/../a",
            "/a/..",
            "/%2e%2e/a",
            "//a",
            "/a//b",
            "/./a",
            "/a%00",
            "/a%5Cb",
            "*",
            "/%zz",
            "/a/..%2f",
        ] {
            assert!(!Target::new(odd).is_plain(), "{odd}");
        }
    }

    #[test]
    fn ht_02_no_spelling_walks_around_the_guard() {
        let desk = Desk::new("{}");
        for spelling in [
            "/api/channels/x",
            "/api/channels",
            "/api/channels%2Fx",
            "/%61pi/channels/x",
            "/api/channels/../x",
            "/api/channels/;x",
            "http://h/api/channels/x",
        ] {
            for method in ["GET", "POST", "PUT"] {
                assert_eq!(
                    desk.ask(method, spelling).status(),
                    401,
                    "{method} {spelling}"
                );
            }
        }
        // Others are unknown paths: the page, or 405.
        for spelling in [
            "/API/channels/x",
            "//api/channels/x",
            "/./api/channels/x",
            "/api%252Fchannels/x",
            "/x/../api/channels/x",
            "/api/channelsx",
        ] {
            assert_eq!(desk.ask("GET", spelling).status(), 200, "{spelling}");
            assert_eq!(desk.ask("POST", spelling).status(), 405, "{spelling}");
        }
        let mut known = Desk::new("{}");
        known.verdict = Verdict::Proven;
        assert_eq!(known.ask("GET", "/api/channels/x").status(), 200);
    }

    #[test]
    fn ht_07_canvas_is_not_served() {
        let desk = Desk::new("{}");
        for path in [
            "/__openclaw__/canvas/",
            "/__openclaw__/a2ui/x.html",
            "/__openclaw__/ws",
            "/__openclaw__/cap/x/y",
            "/__openclaw__",
        ] {
            for method in ["GET", "POST", "HEAD", "DELETE"] {
                assert_eq!(desk.ask(method, path).status(), 404, "{method} {path}");
            }
        }
    }

    #[test]
    fn without_the_ui_what_is_unknown_is_404() {
        let desk = Desk::new(r#"{gateway: {controlUi: {enabled: false}}}"#);
        for (method, path) in [
            ("GET", "/"),
            ("POST", "/x"),
            ("GET", "/v1/models"),
            ("OPTIONS", "/"),
        ] {
            let r = desk.ask(method, path);
            assert_eq!(
                (r.status(), r.content()),
                (404, Some(&b"Not Found"[..])),
                "{method} {path}"
            );
            assert_eq!(r.header("X-Frame-Options"), None);
        }
    }

    #[test]
    fn hsts_is_what_is_configured_when_it_says_something() {
        let hsts = |config: &str| {
            Site {
                host: &Desk::new(config),
            }
            .hsts()
        };
        let with = |v: &str| {
            hsts(&format!(
                "{{gateway: {{http: {{securityHeaders: {{strictTransportSecurity: {v}}}}}}}}}"
            ))
        };
        assert_eq!(hsts("{}"), None);
        assert_eq!(with("false"), None);
        assert_eq!(with("'  '"), None);
        assert_eq!(with("' max-age=1 '").as_deref(), Some("max-age=1"));
    }
}
