//! Which node a command means.

use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::parse::Args;
use crate::cli::rpc::Link;

/// Characters of an id from which on its beginning is enough.
const MIN_PREFIX: usize = 6;

/// The node that `--node` means.
pub fn of(link: &mut Link, args: &Args) -> Result<Value, Failure> {
    let all = link.call("node.list", &json!({}))?;
    let nodes = all["nodes"].as_array().map_or(&[][..], Vec::as_slice);
    find(nodes, args.given("node").unwrap_or_default()).cloned()
}

/// The node with that id, name, address, or beginning of an id.
pub fn find<'v>(nodes: &'v [Value], query: &str) -> Result<&'v Value, Failure> {
    let query = query.trim();
    let is = |n: &Value, key: &str| {
        n[key]
            .as_str()
            .is_some_and(|v| v.eq_ignore_ascii_case(query))
    };
    let exact = |key: &str| nodes.iter().filter(|n| is(n, key)).collect::<Vec<_>>();
    let begins = || {
        let long = query.len() >= MIN_PREFIX;
        let fits =
            |n: &&Value| long && n["nodeId"].as_str().is_some_and(|id| id.starts_with(query));
        nodes.iter().filter(fits).collect::<Vec<_>>()
    };
    let mut found = exact("nodeId");
    for more in [exact("displayName"), exact("remoteIp"), begins()] {
        if found.is_empty() {
            found = more;
        }
    }
    let names = |list: &[&Value]| -> String {
        let names: Vec<String> = list.iter().map(|n| title(n)).collect();
        names.join(", ")
    };
    match found.as_slice() {
        [one] => Ok(one),
        [] if nodes.is_empty() => Err(Failure::new("Error: no node is paired")),
        [] => {
            let known: Vec<&Value> = nodes.iter().collect();
            Err(Failure::new(format!(
                "Error: unknown node: {query} (known: {})",
                names(&known)
            )))
        }
        many => Err(Failure::new(format!(
            "Error: ambiguous node: {query} (matches: {})",
            names(many)
        ))),
    }
}

/// A text of `v`; empty when there is none.
pub fn word(v: &Value, key: &str) -> String {
    v[key].as_str().unwrap_or_default().to_string()
}

/// What a node is called.
pub fn title(n: &Value) -> String {
    let name = word(n, "displayName");
    match name.is_empty() {
        true => word(n, "nodeId"),
        false => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_found_by_id_name_address_or_beginning() {
        let nodes = [
            json!({"nodeId": "abcdef0001", "displayName": "Attic", "remoteIp": "198.51.100.1"}),
            json!({"nodeId": "abcdef0002", "displayName": "Cellar", "remoteIp": "198.51.100.1"}),
        ];
        let id = |q: &str| find(&nodes, q).map(|n| word(n, "nodeId"));
        assert_eq!(id("attic").unwrap(), "abcdef0001");
        assert_eq!(id("ABCDEF0002").unwrap(), "abcdef0002");
        assert_eq!(id("abcdef0001").unwrap(), "abcdef0001");
        assert!(id("abcdef").unwrap_err().text.contains("ambiguous"));
        assert!(id("198.51.100.1").unwrap_err().text.contains("ambiguous"));
        assert!(id("abc").unwrap_err().text.contains("unknown node"));
        assert!(id("").is_err());
    }
}
