//! The scheduled jobs and their run logs: `cron/jobs.json` and `cron/runs/<jobId>.jsonl`.
//!
//! Jobs are objects whose fields this file does not interpret; what is in the file is kept. A file that
//! cannot be read is an error and is never overwritten.

use std::fmt;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::paths::plain_name;
use crate::config::json5;
use crate::sys::file::{self, Stamp};

/// Bytes of `jobs.json`; what is over is neither written nor read.
const MAX_JOBS_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of one run log that are read: twice what it is pruned to.
const MAX_LOG_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes from the end of a run log among which its last line is looked for.
const LAST_BYTES: u64 = 64 * 1024;
/// Run logs that are read for a question about all jobs.
const MAX_LOGS: usize = 1000;

type Object = Map<String, Value>;

/// When a run log is cut, and to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes over which it is cut.
    pub max_bytes: u64,
    /// Lines that are kept, the newest.
    pub keep_lines: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        LogLimits {
            max_bytes: 2_000_000,
            keep_lines: 2000,
        }
    }
}

/// Why the jobs cannot be read or written.
#[derive(Debug)]
pub enum Error {
    Io(PathBuf, io::Error),
    /// The file is no JSON5 object with a list of jobs.
    Broken(PathBuf, String),
    /// All jobs together would be over the bound of the file.
    Full,
    /// The id is not a plain file name.
    JobId,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(path, e) => write!(f, "{}: {e}", path.display()),
            Error::Broken(path, why) => {
                write!(
                    f,
                    "cannot read {}: {why}; repair it or put {}.bak in its place",
                    path.display(),
                    path.display()
                )
            }
            Error::Full => write!(
                f,
                "the cron jobs together are over {MAX_JOBS_BYTES} bytes; remove some first"
            ),
            Error::JobId => f.write_str("invalid cron run log job id"),
        }
    }
}

impl std::error::Error for Error {}

/// What `jobs.json` holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Jobs {
    /// One object a job, in the order of the file.
    pub jobs: Vec<Object>,
    /// Other fields of the file, and entries of the list that are no objects.
    rest: Object,
    strays: Vec<Value>,
}

/// The files of the scheduler. Holds no content: two of them on the same path see the same jobs.
#[derive(Clone, Debug)]
pub struct CronStore {
    path: PathBuf,
    runs: PathBuf,
}

impl CronStore {
    /// Jobs in the file `jobs`, run logs in `runs/` beside it.
    pub fn new(jobs: impl Into<PathBuf>) -> CronStore {
        let path = jobs.into();
        let runs = path.parent().unwrap_or(Path::new(".")).join("runs");
        CronStore { path, runs }
    }

    /// The file of the jobs.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Changes whenever somebody writes the jobs.
    pub fn stamp(&self) -> Option<Stamp> {
        file::stamp(&self.path)
    }

    /// The jobs on disk; none when there is no file.
    pub fn load(&self) -> Result<Jobs, Error> {
        let bytes = match file::read_bounded(&self.path, MAX_JOBS_BYTES) {
            Ok(b) => b,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Jobs::default()),
            Err(e) => return Err(Error::Io(self.path.clone(), e)),
        };
        let broken = |why: String| Error::Broken(self.path.clone(), why);
        let text = String::from_utf8(bytes).map_err(|e| broken(e.to_string()))?;
        let value: Value = match serde_json::from_str(&text) {
            Ok(v) => v,
            // Written by hand: JSON5, as the reference takes it.
            Err(_) => json5::value(&text).map_err(|e| broken(e.to_string()))?,
        };
        let Value::Object(mut rest) = value else {
            return Err(broken("not an object".into()));
        };
        let list = match rest.remove("jobs") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(list)) => list,
            Some(_) => return Err(broken("jobs is not a list".into())),
        };
        let mut out = Jobs {
            rest,
            ..Jobs::default()
        };
        for entry in list {
            match entry {
                Value::Object(job) => out.jobs.push(job),
                other => out.strays.push(other),
            }
        }
        Ok(out)
    }

    /// Replaces the jobs on disk, and the copy beside them that an operator can go back to.
    pub fn save(&self, jobs: &Jobs) -> Result<(), Error> {
        let list: Vec<Value> = jobs
            .jobs
            .iter()
            .cloned()
            .map(Value::Object)
            .chain(jobs.strays.iter().cloned())
            .collect();
        let mut all = jobs.rest.clone();
        all.entry("version").or_insert(json!(1));
        all.insert("jobs".into(), Value::Array(list));
        let mut text = serde_json::to_string_pretty(&all).unwrap_or_default();
        text.push('\n');
        if text.len() as u64 > MAX_JOBS_BYTES {
            return Err(Error::Full);
        }
        let io = |e| Error::Io(self.path.clone(), e);
        if let Some(dir) = self.path.parent() {
            file::make_private_dir(dir).map_err(io)?;
        }
        file::write_atomic(&self.path, text.as_bytes()).map_err(io)?;
        // The copy may be lost in a crash, the jobs may not: only they are waited for.
        let mut copy = self.path.clone().into_os_string();
        copy.push(".bak");
        if let Err(e) = file::write_quick(Path::new(&copy), text.as_bytes()) {
            log::warn!(target: "cron", "no copy of {}: {e}", self.path.display());
        }
        Ok(())
    }

    /// Adds a line to the run log of `job`, and cuts the log when it has grown over its limit.
    pub fn append_run(&self, job: &str, entry: &Object, limits: LogLimits) -> Result<(), Error> {
        let path = self.log_path(job)?;
        let io = |e| Error::Io(path.clone(), e);
        file::make_private_dir(&self.runs).map_err(io)?;
        let mut line = Value::Object(entry.clone()).to_string();
        line.push('\n');
        // A line that a crash tore must not swallow this one.
        if !ends_with_newline(&path).map_err(io)? {
            line.insert(0, '\n');
        }
        file::append_durable(&path, line.as_bytes()).map_err(io)?;
        if file::stamp(&path).is_some_and(|s| s.size > limits.max_bytes) {
            prune(&path, limits).map_err(io)?;
        }
        Ok(())
    }

    /// The finished runs of `job`, oldest first. Lines that are no run are left out.
    pub fn runs(&self, job: &str) -> Result<Vec<Object>, Error> {
        let path = self.log_path(job)?;
        let mut entries = read_log(&path).map_err(|e| Error::Io(path, e))?;
        entries.retain(|e| e.get("jobId").and_then(Value::as_str) == Some(job));
        Ok(entries)
    }

    /// The last finished run of `job`. Costs the same however long the log is.
    pub fn last_run(&self, job: &str) -> Result<Option<Object>, Error> {
        let path = self.log_path(job)?;
        let tail = read_tail(&path, LAST_BYTES).map_err(|e| Error::Io(path, e))?;
        Ok(entries(&tail).last())
    }

    /// The finished runs of all jobs that left a log, also of those that are gone.
    pub fn all_runs(&self) -> Result<Vec<Object>, Error> {
        let io = |e| Error::Io(self.runs.clone(), e);
        let dir = match fs::read_dir(&self.runs) {
            Ok(d) => d,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(io(e)),
        };
        let mut out = Vec::new();
        for entry in dir.take(MAX_LOGS) {
            let path = entry.map_err(io)?.path();
            if path.extension().is_some_and(|e| e == "jsonl") {
                out.extend(read_log(&path).map_err(io)?);
            }
        }
        Ok(out)
    }

    fn log_path(&self, job: &str) -> Result<PathBuf, Error> {
        let name = plain_name(job).ok_or(Error::JobId)?;
        Ok(self.runs.join(format!("{name}.jsonl")))
    }
}

fn ends_with_newline(path: &Path) -> io::Result<bool> {
    let mut f = match fs::File::open(path) {
        Ok(f) => f,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(e) => return Err(e),
    };
    if f.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    f.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    f.read_exact(&mut last)?;
    Ok(last == [b'\n'])
}

fn prune(path: &Path, limits: LogLimits) -> io::Result<()> {
    let bytes = file::read_bounded(path, MAX_LOG_BYTES)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let kept = &lines[lines.len().saturating_sub(limits.keep_lines.max(1))..];
    file::write_atomic(path, format!("{}\n", kept.join("\n")).as_bytes())
}

fn read_log(path: &Path) -> io::Result<Vec<Object>> {
    match file::read_bounded(path, MAX_LOG_BYTES) {
        Ok(bytes) => Ok(entries(&bytes).collect()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// The last `max` bytes of the file at `path`; none when it is missing.
fn read_tail(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut f = match fs::File::open(path) {
        Ok(f) => f,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let len = f.metadata()?.len();
    f.seek(SeekFrom::Start(len.saturating_sub(max)))?;
    let mut bytes = Vec::new();
    f.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The lines of a log that are finished runs.
fn entries(bytes: &[u8]) -> impl Iterator<Item = Object> {
    bytes
        .split(|b| *b == b'\n')
        .filter_map(|line| serde_json::from_slice::<Object>(line).ok())
        .filter(|e| {
            e.get("action").and_then(Value::as_str) == Some("finished")
                && e.get("ts").is_some_and(Value::is_number)
                && e.get("jobId")
                    .and_then(Value::as_str)
                    .is_some_and(|id| !id.trim().is_empty())
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::Folder;
    use std::os::unix::fs::PermissionsExt;

    fn object(v: Value) -> Object {
        v.as_object().cloned().unwrap()
    }

    fn run(job: &str, ts: u64) -> Object {
        object(json!({"ts": ts, "jobId": job, "action": "finished", "status": "ok"}))
    }

    #[test]
    fn what_the_reference_wrote_comes_back_with_what_we_do_not_know() {
        let dir = Folder::new();
        let store = CronStore::new(dir.path().join("cron/jobs.json"));
        assert_eq!(store.load().unwrap(), Jobs::default());
        fs::create_dir_all(dir.path().join("cron")).unwrap();
        // JSON5, an unknown field, an entry that is no job.
        fs::write(
            store.path(),
            "{version: 1, x: 'y', jobs: [{id: 'a', odd: [1]}, 7,], // mine\n}",
        )
        .unwrap();
        let mut jobs = store.load().unwrap();
        assert_eq!(jobs.jobs, [object(json!({"id": "a", "odd": [1]}))]);
        jobs.jobs.push(object(json!({"id": "b"})));
        store.save(&jobs).unwrap();
        let text = fs::read_to_string(store.path()).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value,
            json!({"version": 1, "x": "y", "jobs": [{"id": "a", "odd": [1]}, {"id": "b"}, 7]})
        );
        let copy = store.path().with_extension("json.bak");
        assert_eq!(fs::read_to_string(&copy).unwrap(), text);
        // Advisory SL-07: the reference leaves these to the umask.
        for path in [store.path(), &copy] {
            assert_eq!(
                fs::metadata(path).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
    }

    #[test]
    fn a_broken_file_is_an_error_and_stays() {
        let dir = Folder::new();
        let store = CronStore::new(dir.path().join("jobs.json"));
        for text in ["{", "[]", "{jobs: {}}", "\u{0}"] {
            fs::write(store.path(), text).unwrap();
            let error = store.load().unwrap_err();
            assert!(matches!(error, Error::Broken(..)), "{error}");
            assert_eq!(fs::read_to_string(store.path()).unwrap(), text);
        }
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let dir = Folder::new();
        let store = CronStore::new(dir.path().join("jobs.json"));
        let mut jobs = Jobs::default();
        store.save(&jobs).unwrap();
        jobs.jobs = vec![object(
            json!({"id": "a", "x": "y".repeat(MAX_JOBS_BYTES as usize)}),
        )];
        assert!(matches!(store.save(&jobs), Err(Error::Full)));
        assert_eq!(store.load().unwrap().jobs.len(), 0);
    }

    #[test]
    fn a_run_log_grows_is_cut_and_survives_a_torn_line() {
        let dir = Folder::new();
        let store = CronStore::new(dir.path().join("jobs.json"));
        let limits = LogLimits {
            max_bytes: 500,
            keep_lines: 3,
        };
        for ts in 1..=20 {
            store.append_run("a", &run("a", ts), limits).unwrap();
        }
        let kept: Vec<u64> = store
            .runs("a")
            .unwrap()
            .iter()
            .map(|e| e["ts"].as_u64().unwrap())
            .collect();
        assert!(kept.len() < 12 && kept.ends_with(&[18, 19, 20]), "{kept:?}");
        let log = dir.path().join("runs/a.jsonl");
        let text = fs::read_to_string(&log).unwrap();
        fs::write(&log, &text[..text.len() - 5]).unwrap();
        store.append_run("a", &run("a", 21), limits).unwrap();
        let last = store.runs("a").unwrap();
        assert_eq!(store.last_run("a").unwrap().unwrap()["ts"], 21);
        assert_eq!(store.last_run("none").unwrap(), None);
        assert_eq!(last.last().unwrap()["ts"], 21);
        store.append_run("b", &run("b", 1), limits).unwrap();
        assert_eq!(store.all_runs().unwrap().len(), last.len() + 1);
    }

    #[test]
    fn a_job_id_cannot_leave_the_folder() {
        let dir = Folder::new();
        let store = CronStore::new(dir.path().join("jobs.json"));
        for job in ["../x", "a/b", "..", "", "a\0b", "a\\b"] {
            assert!(matches!(store.runs(job), Err(Error::JobId)), "{job:?}");
            assert!(
                store
                    .append_run(job, &run(job, 1), LogLimits::default())
                    .is_err()
            );
        }
    }
}
