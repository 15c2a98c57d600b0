//! Credentials inside of URLs: the user part, and query values with telling names.

use super::{MARKER, is_reference, is_secret_name};

/// `text` without the user part and the telling query values of the URLs in it.
pub fn hide(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>'))
            .unwrap_or(after.len());
        let (url, next) = after.split_at(end);
        let host_end = url.find(['/', '?', '#']).unwrap_or(url.len());
        let (host, path) = url.split_at(host_end);
        match host.rsplit_once('@') {
            Some((user, host)) if !is_reference(user) => {
                out.push_str(MARKER);
                out.push('@');
                out.push_str(host);
            }
            _ => out.push_str(host),
        }
        hide_in_query(path, &mut out);
        rest = next;
    }
    out.push_str(rest);
    out
}

fn hide_in_query(path: &str, out: &mut String) {
    const TELLING: &[&str] = &["key", "auth", "sig", "signature", "code", "pass", "pwd"];
    for part in path.split_inclusive(['?', '&', '#', ';']) {
        let Some((name, value)) = part.split_once('=') else {
            out.push_str(part);
            continue;
        };
        let end = value.find(['&', '#', ';']).unwrap_or(value.len());
        let (value, separator) = value.split_at(end);
        let lower = name.to_ascii_lowercase();
        let telling = is_secret_name(name)
            || TELLING.contains(&lower.as_str())
            || lower.ends_with("_key")
            || lower.ends_with("-key");
        out.push_str(name);
        out.push('=');
        match telling && !value.is_empty() && !is_reference(value) {
            true => out.push_str(MARKER),
            false => out.push_str(value),
        }
        out.push_str(separator);
    }
}
