//! What the hooks cost a server that answers requests: the real redis and nginx, on loopback, driven by this process.
//!
//! `cargo xtask bench requests` puts the files of both into a virtual machine whose clock counts instructions. What counts is
//! the processor time of the server alone, as the kernel tells it: of a server with a processor to itself that is its rate.
//! Natively it takes redis.tar and nginx.tar, as `docker export` writes them, from the directory `SLIM_TEST_SERVERS`.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use slim_tests::{
    Deadline,
    kernel::{Child, ControlGroup, Entry, Hierarchy, Tree, can_run},
};

use super::{REPEATS, Watcher, watchers};
use crate::plan;

/// Where the virtual machine has the servers' files: NAME.tar.
const FILES: &str = "/vm/servers";

/// Turns of all clients in one measurement.
const TURNS: u32 = 20;

/// Seconds that a server may take until it listens, and to answer.
const DEADLINE: u64 = 20;

/// A server, and how it is driven.
struct Server {
    name: &'static str,
    port: u16,
    /// The step that becomes it.
    step: &'static str,
    /// What is added to files of its image; where there are links, which lead to a container's terminal, they become files.
    settings: &'static [(&'static str, &'static str)],
    clients: usize,
    works: &'static [Work],
}

/// A request that it answers.
struct Work {
    name: &'static str,
    request: &'static [u8],
    /// Whether this is all of the answer.
    is_whole: fn(&[u8]) -> bool,
}

/// As many clients as in the benchmark by the clock.
const SERVERS: [Server; 2] = [
    Server {
        name: "redis",
        port: 6379,
        step: "become /usr/bin/redis-server /redis.conf",
        settings: &[("redis.conf", "save \"\"\n")],
        clients: 50,
        works: &[
            Work {
                name: "redis-set",
                request: b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$3\r\nxyz\r\n",
                is_whole: |said| said == b"+OK\r\n",
            },
            Work {
                name: "redis-get",
                request: b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n",
                is_whole: |said| said == b"$3\r\nxyz\r\n",
            },
        ],
    },
    Server {
        name: "nginx",
        port: 80,
        step: "become /usr/sbin/nginx",
        settings: &[
            ("etc/nginx/nginx.conf", "\ndaemon off;\n"),
            ("var/log/nginx/access.log", ""),
            ("var/log/nginx/error.log", ""),
        ],
        clients: 16,
        works: &[Work {
            name: "nginx",
            request: b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            is_whole: is_whole_page,
        }],
    },
];

/// Head and body, as long as the head says.
fn is_whole_page(said: &[u8]) -> bool {
    let text = String::from_utf8_lossy(said);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok());
    head.starts_with("HTTP/1.1 200 ") && length == Some(body.len())
}

/// A server that runs in `group`; ended when dropped.
struct Running {
    child: Option<Child>,
}

impl Running {
    fn start(server: &Server, tree: &Tree, group: &ControlGroup) -> Result<Self> {
        Ok(Self { child: Some(plan(tree, Entry::Pivot).in_group(group).start(&[server.step])?) })
    }

    fn end(mut self) -> Result<()> {
        let child = self.child.take().context("it has ended already")?;
        terminate(&child)?;
        child.finish()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a failure: in order, for nginx ends its worker.
        if let Some(child) = self.child.take() {
            let _ended = terminate(&child).and_then(|()| child.finish());
        }
    }
}

fn terminate(child: &Child) -> Result<()> {
    let pid = Pid::from_raw(child.pid()).context("a process has a number")?;
    kill_process(pid, Signal::TERM).context("end the server")
}

/// Clients of one server, each with a connection of its own.
struct Clients {
    streams: Vec<TcpStream>,
    /// Room for one answer.
    answer: Vec<u8>,
}

impl Clients {
    fn connect(server: &Server) -> Result<Self> {
        let connect = |_| Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, server.port))?);
        let connect = |_| Deadline::after(DEADLINE).retry("connect to the server", connect);
        let streams: Vec<TcpStream> = (0..server.clients).map(connect).collect::<Result<_>>()?;
        for stream in &streams {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(DEADLINE)))?;
        }
        Ok(Self { streams, answer: Vec::new() })
    }

    /// Asks once, for the length of the answers.
    fn learn(&mut self, work: &Work) -> Result<()> {
        let stream = self.streams.first_mut().context("no client")?;
        stream.write_all(work.request)?;
        self.answer.clear();
        while !(work.is_whole)(&self.answer) {
            let mut room = [0; 4096];
            let count = stream.read(&mut room)?;
            ensure!(count > 0, "{} said {:?}", work.name, String::from_utf8_lossy(&self.answer));
            self.answer.extend_from_slice(room.get(..count).unwrap_or_default());
        }
        Ok(())
    }

    /// Each asks, and then each has its answer.
    fn turn(&mut self, work: &Work) -> Result<()> {
        for stream in &mut self.streams {
            stream.write_all(work.request)?;
        }
        for stream in &mut self.streams {
            stream.read_exact(&mut self.answer)?;
            ensure!((work.is_whole)(&self.answer), "{}: another answer", work.name);
        }
        Ok(())
    }

    /// Nanoseconds that the processes of `group` work for a request.
    fn time(&mut self, work: &Work, group: &ControlGroup) -> Result<f64> {
        let begin = worked(group)?;
        (0..TURNS).try_for_each(|_| self.turn(work))?;
        Ok((worked(group)? - begin) as f64 / f64::from(TURNS) / self.streams.len() as f64)
    }
}

/// Nanoseconds that all threads of a group have been on a processor (`/proc/PID/schedstat`,
/// Documentation/scheduler/sched-stats.rst). Of one that waits this is exact.
fn worked(group: &ControlGroup) -> Result<u64> {
    let mut sum = 0;
    for process in std::fs::read_to_string(group.procs())?.lines() {
        for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let told = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            sum += told.split(' ').next().context("schedstat is empty")?.parse::<u64>()?;
        }
    }
    Ok(sum)
}

/// The files of its image, with its settings.
fn tree(server: &Server) -> Result<Tree> {
    let tree = Tree::empty()?;
    let files = std::env::var_os("SLIM_TEST_SERVERS").map_or_else(|| PathBuf::from(FILES), PathBuf::from);
    let place = files.join(server.name).with_extension("tar");
    let file = std::fs::File::open(&place)
        .with_context(|| format!("cannot open {}: is SLIM_TEST_SERVERS set?", place.display()))?;
    let mut archive = tar::Archive::new(file);
    archive.set_preserve_permissions(true);
    archive.unpack(tree.lower())?;
    for (path, text) in server.settings {
        let place = tree.path(path);
        if place.is_symlink() {
            std::fs::remove_file(&place)?;
        }
        let before = if place.exists() { std::fs::read_to_string(&place)? } else { String::new() };
        tree.content(path, &(before + text))?;
    }
    Ok(tree)
}

#[test]
#[ignore = "a measurement: it takes a machine for itself"]
fn what_servers_pay() -> Result<()> {
    if !can_run() {
        return Ok(());
    }
    for server in &SERVERS {
        let tree = tree(server)?;
        let group = Hierarchy::unified()?.group()?;
        let running = Running::start(server, &tree, &group)?;
        let measured = watchers(&group)?.into_iter().try_for_each(|watcher| measure(server, &group, watcher));
        // What it said is told where it failed.
        running.end().with_context(|| format!("{} failed: {measured:?}", server.name))?;
        measured?;
    }
    Ok(())
}

/// Measures each of its works under `watcher`.
#[expect(clippy::print_stderr, reason = "a measurement is said")]
fn measure(server: &Server, group: &ControlGroup, watcher: Watcher) -> Result<()> {
    let mut clients = Clients::connect(server)?;
    let _attached = watcher.attach(group).with_context(|| format!("attach {watcher:?}"))?;
    for work in server.works {
        clients.learn(work)?;
        for _ in 0..REPEATS {
            eprintln!("COST {} {} {:.1}", work.name, watcher.name(), clients.time(work, group)?);
        }
    }
    Ok(())
}
