//! Which program a word means, and whether it is one that runs others.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// One binary with many names: the name it is called by says what it does.
const MANY_IN_ONE: &[&str] = &["busybox", "toybox", "coreutils"];

/// Programs that run what their arguments or their input say: shells, wrappers, interpreters, runners of
/// packages, editors. What is allowed of them says nothing about what they will do, so a person is asked each
/// time, and none of them is ever put on an allowlist (TX-02, TX-03, TX-06, TX-23).
const RUNS_OTHERS: &[&str] = &[
    // Shells.
    "ash",
    "bash",
    "busybox",
    "csh",
    "dash",
    "elvish",
    "fish",
    "ksh",
    "loksh",
    "mksh",
    "nu",
    "oksh",
    "osh",
    "posh",
    "powershell",
    "pwsh",
    "rbash",
    "rc",
    "rksh",
    "rzsh",
    "sh",
    "tcsh",
    "toybox",
    "xonsh",
    "yash",
    "zsh",
    // Wrappers.
    "at",
    "batch",
    "bwrap",
    "capsh",
    "catchsegv",
    "chpst",
    "chroot",
    "chrt",
    "choom",
    "command",
    "coreutils",
    "cpulimit",
    "crontab",
    "daemonize",
    "dbus-launch",
    "dbus-run-session",
    "direnv",
    "doas",
    "docker",
    "dtach",
    "eatmydata",
    "entr",
    "env",
    "envdir",
    "eval",
    "exec",
    "expect",
    "fakechroot",
    "fakeroot",
    "faketime",
    "fd",
    "fdfind",
    "find",
    "firejail",
    "flock",
    "gdb",
    "gdbserver",
    "hyperfine",
    "ionice",
    "kubectl",
    "ld-linux",
    "lldb",
    "ltrace",
    "machinectl",
    "make",
    "gmake",
    "mosh",
    "mpirun",
    "nice",
    "nohup",
    "nsenter",
    "numactl",
    "osascript",
    "parallel",
    "perf",
    "pkexec",
    "podman",
    "prlimit",
    "proot",
    "pxargs",
    "rlwrap",
    "rsh",
    "run-parts",
    "runcon",
    "runuser",
    "scp",
    "screen",
    "script",
    "setarch",
    "setpriv",
    "setsid",
    "setuidgid",
    "sftp",
    "sg",
    "softlimit",
    "socat",
    "ssh",
    "sshpass",
    "start-stop-daemon",
    "stdbuf",
    "strace",
    "su",
    "sudo",
    "systemd-run",
    "systemd-inhibit",
    "taskset",
    "tcpserver",
    "time",
    "timeout",
    "tmux",
    "trace-cmd",
    "tsocks",
    "proxychains",
    "torsocks",
    "unbuffer",
    "unshare",
    "valgrind",
    "watch",
    "xargs",
    "xvfb-run",
    "zmx",
    // Interpreters.
    "awk",
    "bun",
    "clisp",
    "clojure",
    "dc",
    "deno",
    "elixir",
    "erl",
    "escript",
    "gawk",
    "ghci",
    "gnuplot",
    "groovy",
    "guile",
    "iex",
    "irb",
    "java",
    "jjs",
    "jshell",
    "julia",
    "kotlin",
    "lua",
    "luajit",
    "m",
    "m4",
    "mawk",
    "mono",
    "nawk",
    "node",
    "nodejs",
    "ocaml",
    "octave",
    "original-awk",
    "osacompile",
    "perl",
    "php",
    "pypy",
    "python",
    "r",
    "racket",
    "rscript",
    "ruby",
    "runghc",
    "sbcl",
    "scala",
    "sed",
    "gsed",
    "sqlite",
    "swift",
    "tclsh",
    "ts-node",
    "tsx",
    "wish",
    "wolframscript",
    // Runners of packages.
    "bunx",
    "npm",
    "npx",
    "pipx",
    "pnpm",
    "pnpx",
    "rake",
    "uv",
    "uvx",
    "yarn",
    // Editors.
    "ed",
    "emacs",
    "emacsclient",
    "ex",
    "nano",
    "nvim",
    "red",
    "vi",
    "view",
    "vim",
];

/// A program that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The file that is executed: absolute, links resolved.
    pub path: PathBuf,
    /// What patterns are compared with: the same, but for one of the names of a binary with many.
    pub listed: PathBuf,
}

impl Program {
    /// The program that `name` means in the folder `cwd`, with the search path `path`.
    pub fn find(name: &str, cwd: &Path, path: &str) -> Option<Program> {
        if name.contains('/') {
            return Program::at(&cwd.join(name));
        }
        // An empty or relative entry would mean whatever folder the command happens to start in.
        let folders = path.split(':').filter(|p| p.starts_with('/'));
        let mut places = folders.map(|folder| Path::new(folder).join(name));
        places.find_map(|place| Program::at(&place))
    }

    fn at(path: &Path) -> Option<Program> {
        let real = path.canonicalize().ok()?;
        let metadata = real.metadata().ok()?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
            return None;
        }
        let link = path.parent()?.canonicalize().ok()?.join(path.file_name()?);
        let many = MANY_IN_ONE.contains(&base(&real)) && base(&link) != base(&real);
        Some(Program {
            listed: if many { link } else { real.clone() },
            path: real,
        })
    }

    /// Whether it runs what its arguments or its input say. `name` is the word that it was found by.
    pub fn runs_others(&self, name: &str) -> bool {
        let names = [base(&self.listed), base(Path::new(name))];
        names.iter().any(|n| runs_others(n))
    }
}

fn base(path: &Path) -> &str {
    path.file_name().and_then(|n| n.to_str()).unwrap_or("")
}

/// By name, whatever its case and version: `python3.11` is `python`.
fn runs_others(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix(".exe").unwrap_or(&name);
    let bare = name.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '_'));
    // The loader runs any file that it is given.
    let loader = name.starts_with("ld-") || name.starts_with("ld.so");
    loader || RUNS_OTHERS.contains(&name) || RUNS_OTHERS.contains(&bare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn folder() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("openclaw-program-{}", crate::sys::id::uuid()));
        fs::create_dir_all(dir.join("bin")).unwrap();
        fs::create_dir_all(dir.join("other")).unwrap();
        dir.canonicalize().unwrap()
    }

    fn tool(path: &Path) {
        fs::write(path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// TX-10
    #[test]
    fn a_name_is_found_in_absolute_folders_only() {
        let dir = folder();
        tool(&dir.join("bin/x"));
        tool(&dir.join("other/x"));
        fs::write(dir.join("other/data"), "").unwrap();
        let path = format!("::.:bin:{0}/other:{0}/bin", dir.display());
        let found = |name: &str| Program::find(name, &dir.join("bin"), &path).map(|p| p.path);
        assert_eq!(found("x"), Some(dir.join("other/x")));
        assert_eq!(found("./x"), Some(dir.join("bin/x")));
        assert_eq!(found("../other/x"), Some(dir.join("other/x")));
        assert_eq!(found("data"), None);
        assert_eq!(found("none"), None);
        assert_eq!(found("../bin"), None);
        let relative = Program::find("x", &dir.join("bin"), "::.:bin");
        assert_eq!(relative, None);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn links_are_resolved_but_for_one_binary_with_many_names() {
        let dir = folder();
        tool(&dir.join("bin/real"));
        tool(&dir.join("bin/busybox"));
        symlink("../bin/real", dir.join("other/alias")).unwrap();
        symlink("../bin/busybox", dir.join("other/ls")).unwrap();
        symlink("../bin/busybox", dir.join("other/sh")).unwrap();
        let path = dir.join("other").display().to_string();
        let find = |name: &str| Program::find(name, &dir, &path).unwrap();
        assert_eq!(find("alias").listed, dir.join("bin/real"));
        let ls = find("ls");
        assert_eq!(
            (&ls.path, &ls.listed),
            (&dir.join("bin/busybox"), &dir.join("other/ls"))
        );
        assert!(!ls.runs_others("ls") && find("sh").runs_others("sh"));
        let whole = Program::find("bin/busybox", &dir, "").unwrap();
        assert!(whole.runs_others("bin/busybox"));
        fs::remove_dir_all(dir).unwrap();
    }

    /// TX-02, TX-03, TX-06, TX-23
    #[test]
    fn shells_wrappers_and_interpreters_are_known_by_any_name() {
        for name in [
            "time",
            "script",
            "flock",
            "env",
            "nice",
            "nohup",
            "timeout",
            "stdbuf",
            "setsid",
            "sudo",
            "xargs",
            "find",
            "busybox",
            "toybox",
            "ssh",
            "watch",
            "strace",
            "sh",
            "bash",
            "zsh",
            "python3",
            "python3.11",
            "Python",
            "node22",
            "perl5.36.0",
            "ruby",
            "php8.2",
            "gawk",
            "mawk",
            "pwsh",
            "pwsh.exe",
            "tsx",
            "pnpm",
            "ld-linux-x86-64.so.2",
            "ld-musl-aarch64.so.1",
        ] {
            assert!(runs_others(name), "{name}");
        }
        for name in ["ls", "cat", "git", "grep", "tr", "md5sum", "7z", "x"] {
            assert!(!runs_others(name), "{name}");
        }
        // A harmless name that leads to a shell, and the other way round.
        let dir = folder();
        tool(&dir.join("bin/bash"));
        tool(&dir.join("bin/safe"));
        symlink("bash", dir.join("bin/mine")).unwrap();
        symlink("safe", dir.join("bin/env")).unwrap();
        for name in ["bin/mine", "bin/env"] {
            let program = Program::find(name, &dir, "").unwrap();
            assert!(program.runs_others(name), "{name}");
        }
        fs::remove_dir_all(dir).unwrap();
    }
}
