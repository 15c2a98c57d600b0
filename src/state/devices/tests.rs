use super::*;
use crate::state::testing::Folder;
use crate::sys::file;

struct Kit {
    store: Store,
    info: Map<String, Value>,
    paths: Paths,
    _folder: Folder,
}

fn kit() -> Kit {
    let folder = Folder::new();
    let info =
        json!({"id": "node-host", "mode": "node", "platform": "ios", "displayName": "Phone"});
    let paths = Paths::new(folder.path());
    Kit {
        store: Store::new(paths.clone()),
        paths,
        info: info.as_object().unwrap().clone(),
        _folder: folder,
    }
}

impl Kit {
    fn ask(&self, role: Role, scopes: &[&str], commands: &[&str], local: bool) -> Asked {
        let scopes = Scopes::from_words(scopes);
        let commands: Vec<_> = commands.iter().map(|c| c.to_string()).collect();
        let ask = Ask {
            device_id: "d",
            public_key: "k",
            role,
            scopes: &scopes,
            info: &self.info,
            commands: &commands,
            remote_ip: None,
        };
        self.store.ask(&ask, local).unwrap()
    }

    fn pending(&self, role: Role, scopes: &[&str]) -> (String, bool, &'static str) {
        match self.ask(role, scopes, &[], false) {
            Asked::Pending {
                request,
                created,
                reason,
            } => (
                request["requestId"].as_str().unwrap().to_string(),
                created,
                reason,
            ),
            other => panic!("{other:?}"),
        }
    }
}

fn admin() -> Scopes {
    Scopes::from_words(["operator.admin"])
}

fn actor(scopes: &Scopes) -> Actor<'_> {
    Actor {
        device_id: Some("another"),
        scopes,
    }
}

#[test]
fn hs_02_local_is_silent_only_for_the_first_pairing() {
    let k = kit();
    assert!(matches!(
        k.ask(Role::Operator, &["operator.read"], &[], true),
        Asked::ApprovedSilently { .. }
    ));
    assert!(matches!(
        k.ask(Role::Operator, &["operator.read"], &[], true),
        Asked::Paired { .. }
    ));
    let more = k.ask(Role::Operator, &["operator.admin"], &[], true);
    assert!(
        matches!(
            more,
            Asked::Pending {
                reason: "scope-upgrade",
                created: true,
                ..
            }
        ),
        "{more:?}"
    );
    let node = k.ask(Role::Node, &[], &[], true);
    assert!(
        matches!(
            node,
            Asked::Pending {
                reason: "role-upgrade",
                ..
            }
        ),
        "{node:?}"
    );
    assert_eq!(
        k.store.get("d").unwrap().unwrap()["scopes"],
        json!(["operator.read"])
    );
}

#[test]
fn hs_03_a_pending_request_never_changes() {
    let k = kit();
    let (first, created, reason) = k.pending(Role::Operator, &["operator.read"]);
    assert!(created && reason == "not-paired");
    assert_eq!(
        k.pending(Role::Operator, &["operator.read"]),
        (first.clone(), false, "not-paired")
    );
    let (second, created, _) = k.pending(Role::Operator, &["operator.read", "operator.admin"]);
    assert!(created && second != first);
    assert!(matches!(
        k.store.approve(&first, &actor(&admin())),
        Err(Error::UnknownRequest)
    ));
    let device = k.store.approve(&second, &actor(&admin())).unwrap();
    assert_eq!(device["scopes"], json!(["operator.read", "operator.admin"]));
}

#[test]
fn nobody_approves_or_rotates_beyond_its_own_scopes() {
    let k = kit();
    let (request, ..) = k.pending(Role::Operator, &["operator.admin"]);
    let pairing = Scopes::from_words(["operator.pairing"]);
    assert!(matches!(
        k.store.approve(&request, &actor(&pairing)),
        Err(Error::BeyondActor)
    ));
    let own = Actor {
        device_id: Some("d"),
        scopes: &admin(),
    };
    assert!(matches!(
        k.store.approve(&request, &own),
        Err(Error::OwnDevice)
    ));
    k.store.approve(&request, &actor(&admin())).unwrap();
    let r = k.store.rotate("d", Role::Operator, None, &actor(&pairing));
    assert!(matches!(r, Err(Error::BeyondActor)));
    let never = Scopes::from_words(["operator.talk.secrets", "made.up"]);
    let r = k
        .store
        .rotate("d", Role::Operator, Some(&never), &actor(&admin()));
    assert!(matches!(r, Err(Error::UnknownDeviceOrRole)));
}

#[test]
fn hs_04_an_empty_scope_list_stays_empty() {
    let k = kit();
    let (request, ..) = k.pending(Role::Operator, &["operator.admin"]);
    k.store.approve(&request, &actor(&admin())).unwrap();
    assert!(k.store.remove("d").unwrap());
    let (request, ..) = k.pending(Role::Operator, &[]);
    let pairing = Scopes::from_words(["operator.pairing"]);
    k.store.approve(&request, &actor(&pairing)).unwrap();
    let auth = k
        .store
        .issue("d", Role::Operator, &Scopes::none())
        .unwrap()
        .unwrap();
    assert_eq!(auth["scopes"], json!([]));
    let token = auth["deviceToken"].as_str().unwrap();
    assert_eq!(
        k.store
            .verify_token("d", Role::Operator, &Scopes::none(), token),
        TokenCheck::Good
    );
    assert_eq!(
        k.store.verify_token("d", Role::Operator, &admin(), token),
        TokenCheck::Bad
    );
}

#[test]
fn hs_04_what_was_revoked_does_not_come_back_with_a_request_for_less() {
    let k = kit();
    let (request, ..) = k.pending(Role::Operator, &["operator.admin"]);
    k.store.approve(&request, &actor(&admin())).unwrap();
    k.store.revoke("d", Role::Operator).unwrap();
    let (request, _, reason) = k.pending(Role::Operator, &[]);
    assert_eq!(reason, "not-paired");
    let pairing = Scopes::from_words(["operator.pairing"]);
    k.store.approve(&request, &actor(&pairing)).unwrap();
    assert!(
        k.store
            .issue("d", Role::Operator, &admin())
            .unwrap()
            .is_none()
    );
    let (_, _, reason) = k.pending(Role::Operator, &["operator.admin"]);
    assert_eq!(reason, "scope-upgrade");
    // A node's request, which asks for no scopes, takes none from the operator role.
    let k = kit();
    let (request, ..) = k.pending(Role::Operator, &["operator.read"]);
    k.store.approve(&request, &actor(&admin())).unwrap();
    let (request, ..) = k.pending(Role::Node, &[]);
    k.store.approve(&request, &actor(&admin())).unwrap();
    let device = k.store.get("d").unwrap().unwrap();
    assert_eq!(device["scopes"], json!(["operator.read"]));
    assert_eq!(device["roles"], json!(["operator", "node"]));
}

#[test]
fn hs_06_hs_07_commands_and_platform_are_those_that_were_approved() {
    let mut k = kit();
    assert!(matches!(
        k.ask(Role::Node, &[], &["camera.snap"], true),
        Asked::ApprovedSilently { .. }
    ));
    k.info.insert("platform".into(), json!("linux"));
    match k.ask(Role::Node, &[], &["camera.snap", "system.run"], true) {
        Asked::Paired {
            commands,
            announce: Some(_),
        } => assert_eq!(commands, ["camera.snap"]),
        other => panic!("{other:?}"),
    }
    match k.ask(Role::Node, &[], &["camera.snap", "system.run"], true) {
        Asked::Paired { announce: None, .. } => {}
        other => panic!("announced twice: {other:?}"),
    }
    assert_eq!(k.store.get("d").unwrap().unwrap()["platform"], "ios");
    let list = k.store.list().unwrap();
    let request = list["pending"][0]["requestId"].as_str().unwrap();
    k.store.approve(request, &actor(&admin())).unwrap();
    match k.ask(Role::Node, &[], &["camera.snap", "system.run"], true) {
        Asked::Paired {
            commands,
            announce: None,
        } => assert_eq!(commands.len(), 2),
        other => panic!("{other:?}"),
    }
}

#[test]
fn hs_09_a_device_cannot_revive_what_was_revoked() {
    let k = kit();
    assert!(matches!(
        k.ask(Role::Node, &[], &[], true),
        Asked::ApprovedSilently { .. }
    ));
    let token = k
        .store
        .issue("d", Role::Node, &Scopes::none())
        .unwrap()
        .unwrap()["deviceToken"]
        .clone();
    let token = token.as_str().unwrap();
    assert_eq!(
        k.store
            .verify_token("d", Role::Node, &Scopes::none(), token),
        TokenCheck::Good
    );
    k.store.revoke("d", Role::Node).unwrap();
    assert_eq!(
        k.store
            .verify_token("d", Role::Node, &Scopes::none(), token),
        TokenCheck::Bad
    );
    assert!(
        k.store
            .issue("d", Role::Node, &Scopes::none())
            .unwrap()
            .is_none()
    );
    let own = Actor {
        device_id: Some("d"),
        scopes: &admin(),
    };
    assert!(matches!(
        k.store.rotate("d", Role::Node, None, &own),
        Err(Error::UnknownDeviceOrRole)
    ));
    match k.ask(Role::Node, &[], &[], true) {
        Asked::Pending { request, .. } => {
            let id = request["requestId"].as_str().unwrap();
            assert!(matches!(k.store.approve(id, &own), Err(Error::OwnDevice)));
            k.store.approve(id, &actor(&admin())).unwrap();
        }
        other => panic!("{other:?}"),
    }
    assert!(
        k.store
            .issue("d", Role::Node, &Scopes::none())
            .unwrap()
            .is_some()
    );
}

#[test]
fn rotation_voids_the_old_token_and_no_view_shows_one() {
    let k = kit();
    k.ask(Role::Node, &[], &[], true);
    let old = k
        .store
        .issue("d", Role::Node, &Scopes::none())
        .unwrap()
        .unwrap()["deviceToken"]
        .clone();
    let new = k
        .store
        .rotate("d", Role::Node, None, &actor(&admin()))
        .unwrap();
    let check = |t: &str| k.store.verify_token("d", Role::Node, &Scopes::none(), t);
    assert_eq!(check(old.as_str().unwrap()), TokenCheck::Bad);
    assert_eq!(check(""), TokenCheck::Bad);
    assert_eq!(check(&new.token), TokenCheck::Good);
    let shown = k.store.list().unwrap().to_string();
    assert!(!shown.contains(&new.token), "{shown}");
    // Another process, the same files.
    let again = Store::new(k.paths.clone());
    assert_eq!(
        again.verify_token("d", Role::Node, &Scopes::none(), &new.token),
        TokenCheck::Good
    );
}

#[test]
fn files_of_the_reference_are_read_and_kept() {
    let k = kit();
    let path = k.paths.devices_paired();
    file::make_private_dir(path.parent().unwrap()).unwrap();
    let recorded = json!({"d": {
        "deviceId": "d", "publicKey": "k", "displayName": "Tablet", "platform": "android",
        "clientId": "openclaw-control-ui", "clientMode": "ui", "role": "operator", "roles": ["operator"],
        "scopes": ["operator.read", "operator.write"], "approvedScopes": ["operator.read", "operator.write"],
        "remoteIp": "198.51.100.7", "unknownField": {"x": 1},
        "tokens": {"operator": {"token": "HZsmUvRiSkGudu2FkuBNSCmF4x6WcVC9KDaV1KpYalQ", "role": "operator",
            "scopes": ["operator.read", "operator.write"], "createdAtMs": 1795363883922_u64}},
        "createdAtMs": 1795363883922_u64, "approvedAtMs": 1795363883922_u64,
    }});
    file::write_atomic(&path, recorded.to_string().as_bytes()).unwrap();
    let read = Scopes::from_words(["operator.read"]);
    let token = "HZsmUvRiSkGudu2FkuBNSCmF4x6WcVC9KDaV1KpYalQ";
    assert_eq!(
        k.store.verify_token("d", Role::Operator, &read, token),
        TokenCheck::Good
    );
    let stored: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(stored["d"]["unknownField"], json!({"x": 1}));
    assert!(stored["d"]["tokens"]["operator"]["lastUsedAtMs"].is_u64());
}

#[test]
fn a_torn_file_is_put_aside() {
    let k = kit();
    let path = k.paths.devices_paired();
    file::make_private_dir(path.parent().unwrap()).unwrap();
    file::write_atomic(&path, b"{\"d\": {").unwrap();
    assert_eq!(k.store.list().unwrap()["paired"], json!([]));
    let kept = std::fs::read_dir(path.parent().unwrap()).unwrap();
    assert!(
        kept.flatten()
            .any(|f| f.file_name().to_string_lossy().contains("broken"))
    );
}
