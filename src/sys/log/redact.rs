//! Secrets taken out of a line before it is written anywhere.
//!
//! A net under the rule that secrets are not logged at all. It knows names that stand before a secret
//! (`token=`, `"apiKey":`, `--password`, `Authorization:`), the prefixes of well-known keys, bearer
//! values, passwords in URLs and PEM blocks. One pass, without regular expressions.

use std::borrow::Cow;

/// Values shorter than this are replaced whole; longer ones keep 6 characters before and 4 after.
const SHOW_ENDS_FROM: usize = 18;

/// Prefixes of keys, with the least length of what follows.
const PREFIXES: [(&str, usize); 11] = [
    ("sk-", 8),
    ("ghp_", 20),
    ("github_pat_", 20),
    ("xoxb-", 10),
    ("xoxp-", 10),
    ("xapp-", 10),
    ("gsk_", 10),
    ("AIza", 20),
    ("pplx-", 10),
    ("npm_", 10),
    ("eyJ", 30),
];

/// Ends of names, lower case without `_` and `-`, whose value is a secret.
const NAMES: [&str; 11] = [
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "authkey",
    "signingkey",
];

/// Headers whose value is a scheme and a credential.
const HEADERS: [&str; 2] = ["authorization", "proxyauthorization"];

/// `secret` as it may be shown.
pub fn mask(secret: &str) -> String {
    let count = secret.chars().count();
    if count < SHOW_ENDS_FROM {
        return "***".to_string();
    }
    let head: String = secret.chars().take(6).collect();
    let tail: String = secret.chars().skip(count - 4).collect();
    format!("{head}…{tail}")
}

/// `line` with every secret that is recognised masked.
pub fn line(line: &str) -> Cow<'_, str> {
    let mut out = String::new();
    // Everything before `done` is in `out`.
    let (mut done, mut at) = (0, 0);
    while at < line.len() {
        let Some(found) = secret_at(line, at) else {
            // Words are looked at from their first character only.
            at += word_len(&line[at..]).max(next_char_len(line, at));
            continue;
        };
        out.push_str(&line[done..found.start]);
        out.push_str(&found.shown);
        done = found.end;
        at = found.end.max(at + 1);
    }
    if done == 0 {
        return Cow::Borrowed(line);
    }
    out.push_str(&line[done..]);
    Cow::Owned(out)
}

struct Found {
    start: usize,
    end: usize,
    shown: String,
}

impl Found {
    /// The secret at `start..start + len`; `None` when it is empty.
    fn value(line: &str, start: usize, len: usize) -> Option<Found> {
        (len > 0).then(|| Found {
            start,
            end: start + len,
            shown: mask(&line[start..start + len]),
        })
    }
}

fn secret_at(line: &str, at: usize) -> Option<Found> {
    let rest = &line[at..];
    if rest.starts_with("://") {
        return url_password(line, at + 3);
    }
    let word = &rest[..word_len(rest)];
    if word.is_empty() {
        return None;
    }
    if word.starts_with("-----BEGIN") {
        return pem(line, at);
    }
    if let Some(len) = known_key(rest, word) {
        return Found::value(line, at, len);
    }
    let after = at + word.len();
    if word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic") {
        let start = after + blanks(&line[after..]);
        let len = credential_len(&line[start..]);
        let long = start > after && len >= SHOW_ENDS_FROM;
        return if long {
            Found::value(line, start, len)
        } else {
            None
        };
    }
    let name = word.trim_start_matches('-');
    let plain: String = name
        .chars()
        .filter(|c| !matches!(c, '_' | '-'))
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let is_header = HEADERS.contains(&plain.as_str());
    if !is_header && !is_secret_name(line, at, name, &plain) {
        return None;
    }
    let start = match after_separator(line, after) {
        Some(start) => start,
        // `--token value`
        None if word.starts_with("--") => after + blanks(&line[after..]),
        None => return None,
    };
    let start = if is_header {
        after_scheme(line, start)
    } else {
        start
    };
    Found::value(line, start, value_len(&line[start..]))
}

fn is_secret_name(line: &str, at: usize, name: &str, plain: &str) -> bool {
    // Session and idempotency keys are no secrets, and a log without them is of little use.
    let env_key = name.ends_with("_KEY") && !name.bytes().any(|b| b.is_ascii_lowercase());
    let in_query = plain == "key" && line[..at].ends_with(['?', '&']);
    env_key || in_query || NAMES.iter().any(|n| plain.ends_with(n))
}

/// Where the value starts when what follows a name is `=` or `:`, quotes and blanks aside.
fn after_separator(line: &str, at: usize) -> Option<usize> {
    let quotes = |at: usize| at + span(&line[at..], |b| matches!(b, b'"' | b'\'' | b'\\'));
    let mut at = quotes(at);
    at += blanks(&line[at..]);
    if !line[at..].starts_with(['=', ':']) {
        return None;
    }
    at += 1;
    at += blanks(&line[at..]);
    Some(quotes(at))
}

/// Past `Bearer ` or another scheme in front of a credential.
fn after_scheme(line: &str, at: usize) -> usize {
    let scheme = word_len(&line[at..]);
    let gap = blanks(&line[at + scheme..]);
    let next = at + scheme + gap;
    if scheme > 0 && gap > 0 && credential_len(&line[next..]) > 0 {
        next
    } else {
        at
    }
}

/// The length of a key that tells itself by its prefix or form.
fn known_key(rest: &str, word: &str) -> Option<usize> {
    let by_prefix = PREFIXES
        .iter()
        .any(|(p, least)| word.starts_with(p) && word.len() >= p.len() + least);
    if by_prefix {
        // A JWT goes on over its dots.
        return Some(span(rest, |b| is_word(b) || b == b'.'));
    }
    // A Telegram bot token, 123456:ABC…, also behind `bot`.
    let digits = word.strip_prefix("bot").unwrap_or(word);
    if digits.len() >= 6 && digits.bytes().all(|b| b.is_ascii_digit()) {
        let tail = rest[word.len()..].strip_prefix(':')?;
        let len = word_len(tail);
        return (len >= 20).then_some(word.len() + 1 + len);
    }
    None
}

/// The password of `user:password@host` at `at`.
fn url_password(line: &str, at: usize) -> Option<Found> {
    let authority = &line[at..];
    let end = authority
        .find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\''))
        .unwrap_or(authority.len());
    let user_end = authority[..end].rfind('@')?;
    let colon = authority[..user_end].find(':')?;
    Found::value(line, at + colon + 1, user_end - colon - 1)
}

/// The inside of a PEM block of a private key, to its end or the end of the text.
fn pem(line: &str, at: usize) -> Option<Found> {
    const END: &str = "-----END";
    let head_len = line[at + 10..].find("-----").map(|i| 10 + i + 5)?;
    if !line[at..at + head_len].contains("PRIVATE KEY") {
        return None;
    }
    let start = at + head_len;
    Some(Found {
        start,
        end: line[start..].find(END).map_or(line.len(), |i| start + i),
        shown: "…redacted…".to_string(),
    })
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')
}

fn word_len(text: &str) -> usize {
    span(text, is_word)
}

fn blanks(text: &str) -> usize {
    span(text, |b| matches!(b, b' ' | b'\t'))
}

fn credential_len(text: &str) -> usize {
    span(text, |b| {
        is_word(b) || matches!(b, b'.' | b'+' | b'/' | b'=' | b'~')
    })
}

fn value_len(text: &str) -> usize {
    text.find(|c: char| {
        c.is_whitespace()
            || matches!(
                c,
                '"' | '\'' | '\\' | ',' | ';' | '&' | '{' | '}' | '[' | ']' | '(' | ')'
            )
    })
    .unwrap_or(text.len())
}

/// How many bytes at the start of `text` satisfy `test`, which knows ASCII only.
fn span(text: &str, test: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|b| test(*b)).count()
}

fn next_char_len(line: &str, at: usize) -> usize {
    line[at..].chars().next().map_or(1, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_in_every_dress() {
        const S: &str = "hunter2hunter2hunter2";
        for text in [
            format!("token={S}"),
            format!("GATEWAY_TOKEN = \"{S}\" x"),
            format!("STRIPE_KEY={S}"),
            format!("{{\"apiKey\":\"{S}\",\"a\":1}}"),
            format!("{{\\\"botToken\\\": \\\"{S}\\\"}}"),
            format!("password: '{S}'"),
            format!("run --token {S} --port 1"),
            format!("run --api-key={S}"),
            format!("Authorization: Bearer {S}"),
            format!("authorization: {S}"),
            format!("x bearer {S}"),
            format!("https://me:{S}@host/x"),
            format!("GET /?token={S}&x=1"),
            format!("GET /?key={S}"),
            format!("sk-{S}"),
            format!("(ghp_{S})"),
            format!("https://api.telegram.org/bot1234567:{S}/getMe"),
            format!("1234567:{S}"),
            format!("eyJ{S}{S}.{S}.sig"),
            format!("-----BEGIN PRIVATE KEY-----\n{S}\n-----END PRIVATE KEY-----"),
            format!("é token={S} é"),
        ] {
            let shown = line(&text);
            assert!(!shown.contains(S), "{text} -> {shown}");
            assert!(!shown.contains("hunter2hunter2"), "{text} -> {shown}");
        }
    }

    #[test]
    fn what_surrounds_a_secret_stays() {
        assert_eq!(line("a token=abc, b"), "a token=***, b");
        assert_eq!(line("--token abc def"), "--token *** def");
        assert_eq!(
            line("Authorization: Bearer abc"),
            "Authorization: Bearer ***"
        );
        assert_eq!(line("https://me:pw@host/x"), "https://me:***@host/x");
        assert_eq!(
            line("-----BEGIN RSA PRIVATE KEY-----\nx\n-----END RSA PRIVATE KEY-----"),
            "-----BEGIN RSA PRIVATE KEY-----…redacted…-----END RSA PRIVATE KEY-----"
        );
        assert_eq!(mask("0123456789abcdefgh"), "012345…efgh");
    }

    #[test]
    fn ordinary_lines_are_untouched() {
        for text in [
            "listening on ws://127.0.0.1:18789, ws://[::1]:18789 (PID 1)",
            "sessionKey=agent:main:main idempotencyKey=x",
            "auth=token conf",
            "⇄ res ✗ config.set 12ms errorCode=INVALID_REQUEST conn=36c9daf5…4cd6",
            "input_tokens=12 tokens: 5",
            "basic authentication is not looked at",
            "12:34:56 10.0.0.1:80 é",
            "-----BEGIN",
            "-----BEGIN CERTIFICATE-----",
        ] {
            assert_eq!(line(text), text);
        }
        assert_eq!(line(""), "");
    }

    #[test]
    fn any_text_is_handled() {
        // Boundaries of characters, empty values, triggers at the very end.
        for text in [
            "token=",
            "token",
            "token=é",
            "Bearer ",
            "://",
            "é://é:é@é",
            "--token",
            "sk-",
            "bot:",
            "authorization:é é",
            "key=😀",
        ] {
            let shown = line(text).into_owned();
            assert_eq!(line(&shown), shown, "{text}");
        }
        let long = "token=a ".repeat(20_000);
        assert_eq!(line(&long), "token=*** ".repeat(20_000));
    }
}
