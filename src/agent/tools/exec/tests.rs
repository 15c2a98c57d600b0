//! Commands as they run: real processes in a folder of their own, with operators that the test plays.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::super::testing::{Bench, text};
use super::process::Process;
use super::*;
use crate::agent::cancel::Reason;
use crate::state::Paths;
use crate::sys::process as processes;
use std::thread;
use std::time::Duration;

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Operators: questions come out of a channel, each with the way to answer it.
struct Operators {
    present: bool,
    questions: Sender<(Question, Done)>,
}

impl Approver for Operators {
    fn ask(&self, question: Question, done: Done) -> Result<Ticket, String> {
        if !self.present {
            return Err("no operator is connected".into());
        }
        self.questions.send((question, done)).unwrap();
        Ok(Ticket {
            id: "12345678-aaaa".into(),
            expires_at_ms: 7,
        })
    }
}

/// A node that notes what it is to run.
struct Node(Mutex<Vec<NodeRun>>);

impl Nodes for Node {
    fn find(&self, name: Option<&str>) -> Result<String, String> {
        match name {
            None | Some("mac") => Ok("node-1".into()),
            Some(other) => Err(format!("no node {other:?} is connected")),
        }
    }

    fn run(&self, run: NodeRun) -> Result<Value, String> {
        self.0.lock().unwrap().push(run);
        Ok(json!({"exitCode": 0, "stdout": "from the node\n", "stderr": "", "success": true}))
    }
}

struct Shop {
    bench: Bench,
    deps: Arc<Deps>,
    questions: Receiver<(Question, Done)>,
    notices: Receiver<Notice>,
    node: Arc<Node>,
}

impl Shop {
    fn new(config: &str) -> Shop {
        Shop::with_operators(config, true)
    }

    fn with_operators(config: &str, present: bool) -> Shop {
        let bench = Bench::new(config);
        let (questions_in, questions) = unbounded();
        let (notices_in, notices) = unbounded();
        let paths = Paths::new(bench.path.join("state"));
        let node = Arc::new(Node(Mutex::default()));
        let deps = Deps {
            jobs: Arc::default(),
            listed: Arc::new(approvals::Store::new(
                &bench.path.join("exec-approvals.json"),
            )),
            sessions: Arc::new(sessions::Store::new(paths)),
            approver: Arc::new(Operators {
                present,
                questions: questions_in,
            }),
            nodes: node.clone(),
            notify: Arc::new(move |notice| notices_in.send(notice).unwrap()),
        };
        Shop {
            bench,
            deps: Arc::new(deps),
            questions,
            notices,
            node,
        }
    }

    fn exec(&self, arguments: Value) -> Result<Output, String> {
        self.bench.run(&Exec::new(self.deps.clone()), arguments)
    }

    fn text(&self, arguments: Value) -> String {
        text(&self.exec(arguments).unwrap())
    }

    fn error(&self, arguments: Value) -> String {
        self.exec(arguments).unwrap_err()
    }

    fn process(&self, arguments: Value) -> Result<Output, String> {
        self.bench.run(&Process::new(self.deps.clone()), arguments)
    }

    /// Starts a command in the background; its id.
    fn background(&self, line: &str) -> String {
        let output = self
            .exec(json!({"command": line, "background": true}))
            .unwrap();
        let details = output.details.unwrap();
        assert_eq!(details["status"], "running");
        details["sessionId"].as_str().unwrap().to_string()
    }

    /// Polls until the command has ended; all that came, and how it ended.
    fn to_end(&self, id: &str) -> (String, Value) {
        let until = Instant::now() + PATIENCE;
        let mut all = String::new();
        loop {
            let poll = json!({"action": "poll", "sessionId": id, "timeout": 5000});
            let output = self.process(poll).unwrap();
            all.push_str(&text(&output));
            let details = output.details.unwrap();
            if details["status"] != "running" {
                return (all, details);
            }
            assert!(Instant::now() < until, "{all}");
        }
    }

    /// Polls until `wanted` has come.
    fn until(&self, id: &str, wanted: &str) {
        let until = Instant::now() + PATIENCE;
        let mut all = String::new();
        while !all.contains(wanted) {
            let poll = json!({"action": "poll", "sessionId": id, "timeout": 5000});
            all.push_str(&text(&self.process(poll).unwrap()));
            assert!(Instant::now() < until, "{all}");
        }
    }

    fn question(&self) -> (Question, Done) {
        self.questions.recv_timeout(PATIENCE).unwrap()
    }

    fn notice(&self) -> Notice {
        self.notices.recv_timeout(PATIENCE).unwrap()
    }

    /// A program in the workspace's `bin` that writes its words to `ran`.
    fn recorder(&self, name: &str) -> String {
        let script = "#!/bin/sh\nfor w in \"$0\" \"$@\"; do printf '<%s>' \"$w\"; done >> ran\n";
        let path = self.bench.put(&format!("bin/{name}"), script);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        format!("./bin/{name}")
    }

    fn ran(&self) -> bool {
        self.bench.workspace.join("ran").exists()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.deps.jobs.shut_down(PATIENCE);
    }
}

/// Waits until the process `pid` is no more.
fn wait_gone(pid: u32) {
    let until = Instant::now() + PATIENCE;
    while processes::alive(pid) {
        assert!(Instant::now() < until, "{pid} is still there");
        thread::yield_now();
    }
}

const GUARDED: &str = "{tools: {exec: {host: 'gateway'}}}";

#[test]
fn a_command_runs_in_the_workspace_and_gives_what_it_writes() {
    let shop = Shop::new("{}");
    let output = shop
        .exec(json!({"command": "echo hi; echo err >&2; pwd; exit 3"}))
        .unwrap();
    let workspace = shop.bench.workspace.display().to_string();
    let want = format!("hi\nerr\n{workspace}\n\n(Command exited with code 3)");
    assert_eq!(text(&output), want);
    let details = output.details.unwrap();
    assert_eq!(
        (&details["status"], &details["exitCode"]),
        (&json!("completed"), &json!(3))
    );
    assert_eq!(
        (&details["aggregated"], &details["cwd"]),
        (&json!(want), &json!(workspace))
    );
    assert_eq!(shop.text(json!({"command": "true"})), "(no output)");
    // Nothing waits for input that never comes.
    assert_eq!(shop.text(json!({"command": "cat; echo done"})), "done");
    shop.bench.put("sub/x", "");
    assert!(
        shop.text(json!({"command": "pwd", "workdir": "sub"}))
            .ends_with("/sub")
    );
    let elsewhere = shop.text(json!({"command": "pwd", "workdir": "/nonexistent"}));
    assert!(
        elsewhere.starts_with("Warning: ") && elsewhere.ends_with(&workspace),
        "{elsewhere}"
    );
    let env = json!({"command": "echo $TZ", "env": {"TZ": "Europe/Oslo"}});
    assert_eq!(shop.text(env), "Europe/Oslo");
}

#[test]
fn what_goes_wrong_is_an_error_with_what_was_written() {
    let shop = Shop::new("{}");
    let missing = shop.error(json!({"command": "nonexistent-command-here"}));
    assert!(
        missing.contains("not found") && missing.contains("code 127"),
        "{missing}"
    );
    let killed = shop.error(json!({"command": "echo begun; kill -9 $$"}));
    assert_eq!(killed, "begun\n\nCommand aborted by signal SIGKILL");
    assert_eq!(shop.error(json!({})), "command required");
    assert_eq!(shop.error(json!({"command": "  "})), "command required");
    shop.error(json!({"command": "echo", "env": {"LD_PRELOAD": "x"}}));
    shop.error(json!({"command": "a".repeat(call::MAX_LINE + 1)}));
    let long = shop.text(json!({"command": "seq 1 100000"}));
    assert!(long.len() < 60_000 && long.ends_with("100000"));
}

#[test]
fn a_timeout_ends_the_whole_group() {
    let shop = Shop::new("{}");
    let line = "echo $$ > leader; (trap '' TERM; exec sleep 600) & echo begun; wait";
    let error = shop.error(json!({"command": line, "timeout": 1}));
    assert!(
        error.starts_with("begun") || error.contains("begun"),
        "{error}"
    );
    assert!(
        error.ends_with("Command timed out after 1 seconds"),
        "{error}"
    );
    let leader: u32 = shop.bench.get("leader").trim().parse().unwrap();
    wait_gone(leader);
}

#[test]
fn a_long_command_goes_to_the_background_and_is_seen_to_there() {
    let shop = Shop::new("{}");
    let line = "echo a; read x; echo got $x; read y; echo end $y; exit 4";
    let id = shop.background(line);
    shop.until(&id, "a");
    let write = json!({"action": "write", "sessionId": id, "data": "hey\n"});
    shop.process(write).unwrap();
    shop.until(&id, "got hey");
    let listed = shop.process(json!({"action": "list"})).unwrap();
    assert!(
        text(&listed).starts_with(&format!("{id} running")),
        "{}",
        text(&listed)
    );
    assert_eq!(listed.details.unwrap()["sessions"][0]["command"], line);
    let clear = shop
        .process(json!({"action": "clear", "sessionId": id}))
        .unwrap();
    assert!(text(&clear).starts_with("No finished session"));
    let keys =
        json!({"action": "send-keys", "sessionId": id, "literal": "x", "keys": ["Enter", "C-d"]});
    shop.process(keys).unwrap();
    let (all, details) = shop.to_end(&id);
    assert!(
        all.contains("end x") && all.ends_with("Process exited with code 4."),
        "{all}"
    );
    assert_eq!(
        (&details["status"], &details["exitCode"]),
        (&json!("failed"), &json!(4))
    );
    let log = json!({"action": "log", "sessionId": id, "offset": 1, "limit": 1});
    assert_eq!(text(&shop.process(log).unwrap()), "got hey");
    let late = json!({"action": "write", "sessionId": id, "data": "x"});
    assert!(shop.process(late).unwrap_err().contains("ended"));
    shop.process(json!({"action": "clear", "sessionId": id}))
        .unwrap();
    let gone = shop
        .process(json!({"action": "poll", "sessionId": id}))
        .unwrap();
    assert_eq!(text(&gone), format!("No session found for {id}"));
    assert_eq!(gone.details.unwrap()["status"], "failed");
    let notice = shop.notice();
    assert_eq!(notice.session_key.as_deref(), Some("agent:main:main"));
    assert!(
        notice
            .text
            .starts_with(&format!("Exec finished (session {id}, code 4)"))
    );
    assert!(notice.text.ends_with("end x"), "{}", notice.text);
}

#[test]
fn a_command_that_yields_has_no_input_and_a_quiet_end_is_not_told() {
    let shop = Shop::new("{}");
    shop.bench.put("go", "");
    let line = "while [ -e go ]; do :; done";
    let output = shop.exec(json!({"command": line, "yieldMs": 50})).unwrap();
    let id = output.details.unwrap()["sessionId"]
        .as_str()
        .unwrap()
        .to_string();
    let write = json!({"action": "write", "sessionId": id, "data": "x"});
    assert!(shop.process(write).unwrap_err().contains("closed"));
    fs::remove_file(shop.bench.workspace.join("go")).unwrap();
    let (all, _) = shop.to_end(&id);
    assert!(all.contains("Process exited with code"), "{all}");
    let long = shop.background("seq 1 1000");
    shop.to_end(&long);
    let log = shop
        .process(json!({"action": "log", "sessionId": long}))
        .unwrap();
    assert!(text(&log).starts_with("801\n"));
    assert!(text(&log).ends_with("[showing last 200 of 1000 lines; pass offset/limit to page]"));
}

#[test]
fn jobs_are_those_of_one_agent() {
    let shop = Shop::new("{agents: {list: [{id: 'main'}, {id: 'other'}]}}");
    let id = shop.background("read x");
    let mut context = shop.bench.context();
    context.agent = "other";
    let poll = json!({"action": "poll", "sessionId": id});
    let process = Process::new(shop.deps.clone());
    let seen = process.run(poll.as_object().unwrap(), &context).unwrap();
    assert_eq!(text(&seen), format!("No session found for {id}"));
    let remove = shop
        .process(json!({"action": "remove", "sessionId": id}))
        .unwrap();
    assert!(text(&remove).ends_with("(termination requested)."));
    let list = shop.process(json!({"action": "list"})).unwrap();
    assert_eq!(text(&list), "No running or recent sessions.");
    assert!(
        shop.process(json!({"action": "frob", "sessionId": "x"}))
            .is_ok()
    );
    assert!(shop.process(json!({})).is_err());
}

#[test]
fn without_the_tool_process_a_command_is_waited_for() {
    let shop = Shop::new("{tools: {deny: ['process']}}");
    let call = json!({"command": "echo done", "background": true, "yieldMs": 1});
    assert_eq!(shop.text(call), "done");
}

/// TX-30
#[test]
fn stopping_ends_the_own_group_and_no_stranger() {
    let shop = Shop::new("{}");
    let mut stranger = std::process::Command::new("/bin/sh")
        .args(["-c", "read x"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let id = shop.background("trap 'echo asked; exit 5' TERM; echo up; while :; do :; done");
    shop.until(&id, "up");
    let kill = shop
        .process(json!({"action": "kill", "sessionId": id}))
        .unwrap();
    assert_eq!(
        text(&kill),
        format!("Termination requested for session {id}.")
    );
    let (all, details) = shop.to_end(&id);
    assert!(all.contains("asked") && details["exitCode"] == 5, "{all}");
    // One that does not listen is ended all the same, and so is what it has started.
    let stubborn = shop.background("trap '' TERM; sleep 600 & echo $! ; while :; do wait; done");
    let started = {
        let until = Instant::now() + PATIENCE;
        loop {
            let log = shop
                .process(json!({"action": "log", "sessionId": stubborn}))
                .unwrap();
            if let Ok(pid) = text(&log).trim().parse::<u32>() {
                break pid;
            }
            assert!(Instant::now() < until);
            thread::yield_now();
        }
    };
    shop.process(json!({"action": "kill", "sessionId": stubborn}))
        .unwrap();
    let (_, details) = shop.to_end(&stubborn);
    assert_eq!(details["exitSignal"], "SIGKILL");
    wait_gone(started);
    let again = shop
        .process(json!({"action": "kill", "sessionId": stubborn}))
        .unwrap();
    assert!(text(&again).contains("ended already"));
    assert!(processes::alive(stranger.id()));
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn the_end_of_the_run_ends_what_is_in_the_foreground_only() {
    let shop = Shop::new("{}");
    let background = shop.background("read x");
    thread::scope(|scope| {
        let running = scope.spawn(|| shop.exec(json!({"command": "echo $$ > pid; sleep 600"})));
        let pid = shop.bench.workspace.join("pid");
        let until = Instant::now() + PATIENCE;
        while !fs::read_to_string(&pid).is_ok_and(|t| t.ends_with('\n')) {
            assert!(Instant::now() < until);
            thread::yield_now();
        }
        shop.bench.cancel.cancel(Reason::Stop);
        assert!(running.join().unwrap().unwrap_err().contains("stopped"));
    });
    wait_gone(shop.bench.get("pid").trim().parse().unwrap());
    assert_eq!(shop.deps.jobs.list("main")[0].id, background);
    assert!(shop.deps.jobs.list("main")[0].ended().is_none());
}

#[test]
fn nothing_runs_after_the_shutdown() {
    let shop = Shop::new("{}");
    shop.background("read x");
    let job = shop.deps.jobs.list("main").remove(0);
    shop.deps.jobs.shut_down(PATIENCE);
    assert!(job.ended().is_some());
    assert!(
        shop.error(json!({"command": "true"}))
            .contains("shutting down")
    );
    assert!(
        shop.notices.try_recv().is_err(),
        "nobody is there to be told"
    );
}

#[test]
fn commands_at_a_time_and_ended_ones_are_bounded() {
    let shop = Shop::new("{}");
    for _ in 0..jobs::MAX_RUNNING {
        shop.background("read x");
    }
    let error = shop.error(json!({"command": "true"}));
    assert!(error.contains("are running already"), "{error}");
    let running = shop.deps.jobs.list("main");
    for job in &running {
        job.close_input();
    }
    let never = crate::agent::Cancel::new(None);
    for job in &running {
        assert!(matches!(job.wait(PATIENCE, &never), Waited::Ended(_)));
    }
    let last = shop.background("true");
    shop.to_end(&last);
    shop.deps.jobs.tidy(KEPT_MS);
    assert_eq!(shop.deps.jobs.list("main").len(), 32);
    shop.deps.jobs.tidy(0);
    assert!(shop.deps.jobs.list("main").is_empty());
}

#[test]
fn a_denied_command_is_not_started() {
    let shop = Shop::new("{tools: {exec: {security: 'deny'}}}");
    let tool = shop.recorder("tool");
    assert!(
        shop.error(json!({"command": tool}))
            .contains("security=deny")
    );
    let asking = Shop::new("{}");
    let tool = asking.recorder("tool");
    asking.error(json!({"command": tool, "security": "deny"}));
    assert!(!shop.ran() && !asking.ran());
    // Guards that cannot be read deny.
    fs::write(asking.bench.path.join("exec-approvals.json"), "{").unwrap();
    assert!(
        asking
            .error(json!({"command": "true"}))
            .contains("exec approvals")
    );
}

/// TX-07
#[test]
fn what_is_approved_is_what_runs() {
    let shop = Shop::new(GUARDED);
    let tool = shop.recorder("tool ");
    assert_eq!(tool, "./bin/tool ");
    let line = "'./bin/tool ' '$HOME' 'a  b' \"c\"";
    let output = shop
        .exec(json!({"command": line, "env": {"TZ": "UTC"}}))
        .unwrap();
    assert!(text(&output).starts_with("Approval required (id 12345678)"));
    let details = output.details.unwrap();
    assert_eq!(details["status"], "approval-pending");
    assert_eq!(details["approvalId"], "12345678-aaaa");
    let (question, done) = shop.question();
    assert_eq!(question.argv, ["./bin/tool ", "$HOME", "a  b", "c"]);
    assert_eq!(
        question.program,
        Some(shop.bench.workspace.join("bin/tool "))
    );
    assert_eq!(question.cwd, Some(shop.bench.workspace.clone()));
    assert_eq!(question.env["TZ"], "UTC");
    assert_eq!((question.security, question.ask), ("allowlist", "on-miss"));
    assert!(!shop.ran());
    done("12345678-aaaa", Answer::Once);
    let notice = shop.notice();
    assert!(
        notice.text.contains("approval 12345678-aaaa, code 0"),
        "{}",
        notice.text
    );
    let path = shop.bench.workspace.join("bin/tool ");
    assert_eq!(
        shop.bench.get("ran"),
        format!("<{}><$HOME><a  b><c>", path.display())
    );
}

#[test]
fn a_line_for_a_shell_is_asked_about_as_it_is() {
    let shop = Shop::new(GUARDED);
    let line = "echo one > ran; echo two >> ran";
    shop.exec(json!({"command": line})).unwrap();
    let (question, done) = shop.question();
    assert_eq!(question.argv[1..], ["-c", line]);
    done("id", Answer::Always);
    assert!(shop.notice().text.contains("code 0"));
    assert_eq!(shop.bench.get("ran"), "one\ntwo\n");
    // TX-02: nothing is remembered of it.
    assert!(
        shop.deps
            .listed
            .policy("main")
            .unwrap()
            .allowlist
            .is_empty()
    );
}

/// TX-14
#[test]
fn silence_and_refusal_start_nothing() {
    for (answer, why) in [(Answer::Denied, "denied"), (Answer::Silence, "nobody")] {
        let shop = Shop::new("{tools: {exec: {security: 'full', ask: 'always'}}}");
        let saved = json!({"defaults": {"askFallback": "full"}});
        shop.deps.listed.save(&saved, None).unwrap();
        let tool = shop.recorder("tool");
        shop.exec(json!({"command": tool})).unwrap();
        let (_, done) = shop.question();
        done("id", answer);
        let notice = shop.notice();
        assert!(notice.text.starts_with("Exec denied") && notice.text.contains(why));
        assert!(!shop.ran());
    }
    let alone = Shop::with_operators(GUARDED, false);
    let tool = alone.recorder("tool");
    assert!(
        alone
            .error(json!({"command": tool}))
            .contains("no operator")
    );
    assert!(!alone.ran());
}

/// TX-09, TX-10, TX-11
#[test]
fn what_changes_while_somebody_thinks_is_not_run() {
    type Change = fn(&Path);
    let changes: &[(&str, Change)] = &[
        ("the program", |ws| {
            fs::write(ws.join("bin/tool"), "#!/bin/sh\necho evil > ran\n").unwrap();
        }),
        ("another file in its place", |ws| {
            fs::write(ws.join("evil"), "#!/bin/sh\necho evil > ran\n").unwrap();
            fs::set_permissions(ws.join("evil"), fs::Permissions::from_mode(0o755)).unwrap();
            fs::rename(ws.join("evil"), ws.join("bin/tool")).unwrap();
        }),
        ("a script that it names", |ws| {
            fs::write(ws.join("s.py"), "evil").unwrap();
        }),
        ("the folder", |ws| {
            fs::rename(ws.join("sub"), ws.join("aside")).unwrap();
            std::os::unix::fs::symlink("aside", ws.join("sub")).unwrap();
        }),
    ];
    for (name, change) in changes {
        let shop = Shop::new(GUARDED);
        shop.recorder("tool");
        shop.bench.put("s.py", "good");
        shop.bench.put("sub/x", "");
        let call = json!({"command": "../bin/tool ../s.py", "workdir": "sub"});
        shop.exec(call).unwrap();
        let (_, done) = shop.question();
        change(&shop.bench.workspace);
        done("id", Answer::Always);
        let notice = shop.notice().text;
        assert!(
            notice.contains("has changed since approval"),
            "{name}: {notice}"
        );
        assert!(
            !shop.ran() && !shop.bench.workspace.join("sub/ran").exists(),
            "{name}"
        );
        let listed = shop.deps.listed.policy("main").unwrap().allowlist;
        assert!(listed.is_empty(), "{name}");
    }
}

/// TX-02, TX-10
#[test]
fn always_remembers_the_real_program_and_never_one_that_runs_others() {
    let shop = Shop::new(GUARDED);
    shop.recorder("tool");
    std::os::unix::fs::symlink("tool", shop.bench.workspace.join("bin/alias")).unwrap();
    shop.exec(json!({"command": "./bin/alias x"})).unwrap();
    shop.question().1("id", Answer::Always);
    shop.notice();
    let real = shop.bench.workspace.join("bin/tool").display().to_string();
    assert_eq!(shop.deps.listed.policy("main").unwrap().allowlist, [real]);
    // Now it runs unasked, and without a shell.
    assert_eq!(shop.text(json!({"command": "./bin/tool y"})), "(no output)");
    assert!(shop.questions.try_recv().is_err());
    for line in ["env true", "sh -c true", "timeout 1 true", "xargs true"] {
        for _ in 0..2 {
            shop.exec(json!({"command": line})).unwrap();
            shop.question().1("id", Answer::Always);
            assert!(shop.notice().text.starts_with("Exec finished"), "{line}");
        }
    }
    assert_eq!(shop.deps.listed.policy("main").unwrap().allowlist.len(), 1);
}

/// TX-24
#[test]
fn a_session_of_an_operator_can_be_stricter_than_the_config() {
    let shop = Shop::new("{}");
    let key = "agent:main:main";
    let set = |entry: &mut Map<String, Value>| {
        entry.insert("execSecurity".into(), json!("deny"));
    };
    shop.deps.sessions.update(key, set).unwrap();
    let call = json!({"command": "true", "security": "full", "ask": "off"});
    assert!(shop.error(call).contains("security=deny"));
}

/// TX-13
#[test]
fn a_command_for_a_node_is_bound_to_it() {
    let shop =
        Shop::new("{tools: {exec: {host: 'node', node: 'mac', security: 'full', ask: 'off'}}}");
    assert_eq!(shop.text(json!({"command": "uname"})), "from the node");
    let run = shop.node.0.lock().unwrap().remove(0);
    assert_eq!(
        (run.question.node.as_deref(), &run.approval),
        (Some("node-1"), &None)
    );
    assert_eq!(run.question.argv, ["/bin/sh", "-lc", "uname"]);
    let guarded = Shop::new("{tools: {exec: {host: 'node', node: 'mac'}}}");
    guarded.exec(json!({"command": "uname"})).unwrap();
    let (question, done) = guarded.question();
    assert!(guarded.node.0.lock().unwrap().is_empty());
    done("id", Answer::Once);
    assert!(guarded.notice().text.ends_with("from the node"));
    let run = guarded.node.0.lock().unwrap().remove(0);
    assert_eq!(
        (run.question, run.approval.as_deref()),
        (question, Some("id"))
    );
    let denied = Shop::new("{tools: {exec: {host: 'node', security: 'deny'}}}");
    denied.error(json!({"command": "uname"}));
    assert!(denied.node.0.lock().unwrap().is_empty());
}
