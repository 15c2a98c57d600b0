//! A node as the wire shows it: its paired record together with its live connection.

use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::nodes::registry::Node;
use crate::nodes::{Platform, Policy};
use crate::protocol::RpcError;

/// Every node, connected ones first, then by name.
pub fn all(gateway: &Gateway) -> Result<Vec<Value>, RpcError> {
    let policy = Policy::of(&gateway.config.current());
    let live = gateway.nodes.list();
    let paired = gateway.devices.paired().map_err(failed)?;
    let mut nodes: Vec<Value> = Vec::new();
    for device in paired.iter().filter(|d| is_node(d)) {
        let connected = live
            .iter()
            .find(|n| device["deviceId"] == n.node_id.as_str());
        nodes.push(entry(Some(device), connected, &policy));
    }
    for node in &live {
        if !paired
            .iter()
            .any(|d| d["deviceId"] == node.node_id.as_str())
        {
            nodes.push(entry(None, Some(node), &policy));
        }
    }
    let name = |n: &Value| {
        let shown = n["displayName"].as_str().or(n["nodeId"].as_str());
        shown.unwrap_or_default().to_lowercase()
    };
    nodes.sort_by_cached_key(|n| (n["connected"] != true, name(n), n["nodeId"].to_string()));
    Ok(nodes)
}

/// The node of that id, if it is paired or connected.
pub fn one(gateway: &Gateway, id: &str) -> Result<Option<Value>, RpcError> {
    let policy = Policy::of(&gateway.config.current());
    let live = gateway.nodes.get(id);
    let paired = gateway.devices.get(id).map_err(failed)?.filter(is_node);
    if live.is_none() && paired.is_none() {
        return Ok(None);
    }
    Ok(Some(entry(paired.as_ref(), live.as_ref(), &policy)))
}

/// The platform that decides what may be invoked on a node: that of its paired record (HS-07).
pub fn pinned_platform(gateway: &Gateway, id: &str) -> Result<String, RpcError> {
    let device = gateway.devices.get(id).map_err(failed)?;
    let text = device.as_ref().and_then(|d| d["platform"].as_str());
    Ok(text.unwrap_or_default().to_string())
}

fn failed(e: crate::state::devices::Error) -> RpcError {
    RpcError::unavailable(e.to_string())
}

fn is_node(device: &Value) -> bool {
    let listed = device["roles"].as_array();
    device["role"] == "node" || listed.is_some_and(|r| r.iter().any(|r| r == "node"))
}

fn entry(paired: Option<&Value>, live: Option<&Node>, policy: &Policy) -> Value {
    let stored = |key: &str| paired.and_then(|p| p[key].as_str()).map(str::to_string);
    let pinned = stored("platform");
    let platform = Platform::of(pinned.as_deref().unwrap_or_default());
    // A new version of the same system may show; another system may not.
    let shown = live
        .and_then(|n| n.platform.clone())
        .filter(|p| Platform::of(p) == platform)
        .or(pinned);
    let named = live.and_then(|n| n.display_name.clone());
    let mut v = json!({
        "nodeId": live.map(|n| n.node_id.clone()).or(stored("deviceId")),
        "caps": live.map(|n| n.caps.clone()).unwrap_or_default(),
        "commands": live.map(|n| policy.effective(platform, &n.commands)).unwrap_or_default(),
        "paired": paired.is_some(),
        "connected": live.is_some(),
    });
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            v[key] = value;
        }
    };
    put(
        "displayName",
        named.or(stored("displayName")).map(Value::String),
    );
    put("platform", shown.map(Value::String));
    let ip = live.and_then(|n| n.remote_ip.clone());
    put("remoteIp", ip.or(stored("remoteIp")).map(Value::String));
    if let Some(n) = live {
        let text = |t: &Option<String>| t.clone().map(Value::String);
        put("version", text(&n.version));
        put("coreVersion", text(&n.core_version));
        put("uiVersion", text(&n.ui_version));
        put("deviceFamily", text(&n.device_family));
        put("modelIdentifier", text(&n.model_identifier));
        put("pathEnv", text(&n.path_env));
        put("permissions", n.permissions.clone().map(Value::Object));
        put("connectedAtMs", Some(json!(n.connected_at_ms)));
    }
    v
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(platform: &str) -> Node {
        Node {
            node_id: "n".into(),
            platform: Some(platform.into()),
            commands: vec!["system.run".into(), "location.get".into()],
            ..Node::default()
        }
    }

    /// HS-07
    #[test]
    fn the_paired_platform_decides_whatever_a_reconnect_claims() {
        let paired = json!({"deviceId": "n", "platform": "ios 18.0", "role": "node"});
        let policy = Policy::default();
        for (claimed, shown) in [
            ("ios 18.1", "ios 18.1"),
            ("linux", "ios 18.0"),
            ("", "ios 18.0"),
        ] {
            let v = entry(Some(&paired), Some(&live(claimed)), &policy);
            assert_eq!(v["platform"], shown);
            assert_eq!(v["commands"], json!(["location.get"]), "{claimed}");
        }
        let v = entry(None, Some(&live("linux")), &policy);
        assert_eq!(v["commands"], json!([]));
    }

    #[test]
    fn an_offline_node_shows_what_its_record_says() {
        let paired =
            json!({"deviceId": "n", "platform": "ios", "displayName": "P", "roles": ["node"]});
        let v = entry(Some(&paired), None, &Policy::default());
        let want = json!({
            "nodeId": "n", "displayName": "P", "platform": "ios", "caps": [], "commands": [],
            "paired": true, "connected": false,
        });
        assert_eq!(v, want);
    }
}
