//! The gateway's credential over HTTP: where it stands in a request, and what is answered when it does not do.
//!
//! Whether it is the right one, and how often one may try, the gateway decides ([`Host::judge`]). Only
//! `Authorization: Bearer` counts: nothing in the query, no other header, no Tailscale identity (HT-04).

use serde_json::json;
use tiny_http::Method;

use super::head::Head;
use super::response::Response;
use super::routes::Host;
use super::serve::Request;

/// What the gateway says about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request proved that it knows the credential.
    Proven,
    /// Nothing was asked of the request itself: mode `none`, or a trusted proxy vouches for its user.
    Ambient,
    Refused,
    /// Too many attempts; milliseconds until the next one is looked at.
    Limited(u64),
}

/// The value of `Authorization: Bearer`, the scheme in any case; `None` when there is no such header, or several.
pub fn bearer(head: &Head) -> Option<&str> {
    let mut all = head.all("authorization");
    let (first, None) = (all.next()?, all.next()) else {
        return None;
    };
    let (scheme, value) = first.split_once([' ', '\t'])?;
    let value = value.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !value.is_empty()).then_some(value)
}

/// Lets `request` pass when the gateway does; else the answer. Nothing of the body has been read.
///
/// Where no secret is asked for, any page that the user's browser visits could send the same request: a change
/// is then taken only from origins that the gateway allows (UI-01).
pub fn require(host: &dyn Host, request: &Request<'_>) -> Result<(), Response> {
    match host.judge(request, bearer(request.head)) {
        Verdict::Proven => Ok(()),
        Verdict::Ambient => same_origin(host, request),
        Verdict::Refused => Err(error(401, "unauthorized", "Unauthorized")),
        Verdict::Limited(ms) => Err(limited(ms)),
    }
}

fn same_origin(host: &dyn Host, request: &Request<'_>) -> Result<(), Response> {
    let head = request.head;
    let reads = matches!(head.method(), Method::Get | Method::Head);
    if reads || head.header("origin").is_none() || host.allows_origin(request) {
        return Ok(());
    }
    Err(error(403, "forbidden", "origin not allowed"))
}

/// 429 with the seconds to wait, rounded up.
fn limited(ms: u64) -> Response {
    let text = "Too many failed authentication attempts. Please try again later.";
    let seconds = ms.div_ceil(1000).max(1).to_string();
    error(429, "rate_limited", text).with("Retry-After", &seconds)
}

/// An error in the envelope of the OpenAI endpoints.
pub fn error(status: u16, kind: &str, message: &str) -> Response {
    Response::json(
        status,
        &json!({"error": {"message": message, "type": kind}}),
    )
}

#[cfg(test)]
mod tests {
    use super::super::routes::testing::{Desk, request};
    use super::*;

    fn head(lines: &str) -> Head {
        let text = format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
        super::super::head::parse(text.as_bytes())
            .unwrap()
            .unwrap()
            .0
    }

    #[test]
    fn only_one_bearer_header_counts() {
        let b = |lines| bearer(&head(lines)).map(str::to_string);
        assert_eq!(b("Authorization: Bearer abc\r\n").as_deref(), Some("abc"));
        assert_eq!(
            b("authorization: bEARER \t  abc  \r\n").as_deref(),
            Some("abc")
        );
        for none in [
            "",
            "Authorization: abc\r\n",
            "Authorization: Bearer\r\n",
            "Authorization: Bearer  \r\n",
            "Authorization: Basic abc\r\n",
            "Authorization: Bearerabc\r\n",
            "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
            "X-OpenClaw-Token: abc\r\n",
            "Tailscale-User-Login: ann@example.com\r\n",
        ] {
            assert_eq!(b(none), None, "{none}");
        }
    }

    fn answer(verdict: Verdict, method: &str, origin: Option<&str>) -> Option<Response> {
        let mut desk = Desk::new("{}");
        desk.verdict = verdict;
        let origin = origin.map_or(String::new(), |o| format!("Origin: {o}\r\n"));
        request(
            &format!("{method} / HTTP/1.1\r\nHost: x\r\n{origin}\r\n"),
            |r| require(&desk, r).err(),
        )
    }

    #[test]
    fn refusals_have_the_reference_s_bodies() {
        assert!(answer(Verdict::Proven, "POST", None).is_none());
        let r = answer(Verdict::Refused, "POST", None).unwrap();
        assert_eq!(r.status(), 401);
        assert_eq!(
            r.content().unwrap(),
            br#"{"error":{"message":"Unauthorized","type":"unauthorized"}}"#
        );
        let r = answer(Verdict::Limited(1001), "POST", None).unwrap();
        assert_eq!((r.status(), r.header("Retry-After")), (429, Some("2")));
    }

    #[test]
    fn ui_01_a_foreign_page_changes_nothing_where_no_secret_is_asked() {
        let status = |v, m, o| answer(v, m, o).map(|r| r.status());
        for foreign in ["https://evil.example", "null", ""] {
            assert_eq!(status(Verdict::Ambient, "POST", Some(foreign)), Some(403));
            assert_eq!(status(Verdict::Ambient, "GET", Some(foreign)), None);
            // Who sends the secret has it from the user, not from a cookie.
            assert_eq!(status(Verdict::Proven, "POST", Some(foreign)), None);
        }
        assert_eq!(status(Verdict::Ambient, "POST", Some("http://good")), None);
        assert_eq!(status(Verdict::Ambient, "POST", None), None);
    }
}
