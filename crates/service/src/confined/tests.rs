//! The child is this test program once more, told by its environment to be a child of some kind.

use std::os::fd::AsFd;

use kiln_block::{FileDevice, MemoryDevice};
use kiln_guest::System;
use kiln_testkit::qemu_img::run as tool;

use super::*;

const SHORT: Duration = Duration::from_millis(700);
const LONG: Duration = Duration::from_secs(30);
/// Says which child to be.
const CHILD: &str = "KILN_TEST_CHILD";

fn facts() -> NetworkFacts {
    NetworkFacts {
        ip: [10, 64, 1, 7].into(),
        prefix: 10,
        gateway: [10, 127, 255, 253].into(),
        dns: vec![[10, 127, 255, 254].into()],
        mac: "52:54:00:00:00:07".to_owned(),
        hostname: "web-1".to_owned(),
    }
}

fn command(kind: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args(["confined::tests::child", "--exact", "--test-threads=1"]).env_clear().env(CHILD, kind);
    command
}

fn job(disk: &dyn BlockDevice, work: Work) -> Job {
    Confined::new(PathBuf::new(), 700_000).job(disk, work)
}

/// Lets a child of a kind place a file.
fn with_child(kind: &str, base: &dyn BlockDevice, time: Duration) -> Result<Changes, String> {
    let job = job(base, Work::PlaceNetworkFile(facts()));
    let bounds = Bounds { time, ..job.work.bounds() };
    let take = |child: &mut Timed| changes(child, base.size_bytes());
    run_within(bounds, command(kind), base, &job, take).map_err(|unfinished| unfinished.to_string())
}

/// Lets a child of a kind inspect a disk.
fn inspected_by(kind: &str, disk: &dyn BlockDevice) -> Result<Inspection, String> {
    let job = job(disk, Work::Inspect);
    let bounds = Bounds { time: LONG, ..job.work.bounds() };
    run_within(bounds, command(kind), disk, &job, inspection).map_err(|unfinished| unfinished.to_string())
}

fn socket() -> UnixStream {
    UnixStream::from(io::stdin().as_fd().try_clone_to_owned().expect("a descriptor"))
}

/// No test, but where the children begin.
#[test]
fn child() {
    match std::env::var(CHILD).unwrap_or_default().as_str() {
        "" => {}
        "honest" => work_confined().expect("the service listens"),
        "silent" => std::thread::sleep(Duration::from_secs(60)),
        "dripping" => dripping_child(),
        "crashing" => std::process::abort(),
        "greedy" => greedy_child(),
        "curious" => curious_child(),
        "lying" => lying_child(),
        other => panic!("no child is {other}"),
    }
}

/// Sends a byte now and then, so that no single read times out.
fn dripping_child() {
    let mut socket = socket();
    wire::read_job(&mut socket).expect("a job");
    for byte in [wire::REFUSED, 200, 0, 0, 0].into_iter().chain(std::iter::repeat(b'x')) {
        let _ = socket.write_all(&[byte]);
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Confined as the honest one is, it wants more memory than that.
fn greedy_child() {
    let job = wire::read_job(&mut socket()).expect("a job");
    child::confine(&job).expect("confined");
    let mut held = Vec::new();
    loop {
        held.push(vec![1u8; 16 << 20]);
    }
}

/// Tries what a child must not be able to, and says of everything that it could.
fn curious_child() {
    let mut socket = socket();
    let job = wire::read_job(&mut socket).expect("a job");
    let parent = rustix::process::getppid().expect("a parent");
    child::confine(&job).expect("confined");
    let mut could = Vec::new();
    let mut try_to = |what, done: bool| {
        if done {
            could.push(what)
        }
    };
    try_to("open a file", std::fs::File::open("/etc/passwd").is_ok());
    try_to("connect", std::net::TcpListener::bind("127.0.0.1:0").is_ok());
    try_to("start a process", Command::new("/bin/true").status().is_ok());
    try_to("be root", rustix::process::geteuid().is_root());
    try_to("become root", rustix::thread::set_thread_uid(rustix::process::Uid::ROOT).is_ok());
    try_to("look at what is there", std::fs::metadata("/etc/passwd").is_ok());
    try_to(
        "make a directory",
        std::fs::create_dir(format!("/tmp/kiln-curious-{}", std::process::id())).is_ok(),
    );
    try_to("reach its parent", rustix::process::test_kill_process(parent).is_ok());
    let raised = rustix::process::Rlimit { current: Some(64), maximum: Some(64) };
    try_to("raise its limits", rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).is_ok());
    let text = format!("could: {}", could.join(", "));
    let _ = socket.write_all(&[wire::REFUSED]);
    let _ = socket.write_all(&(text.len() as u32).to_le_bytes());
    let _ = socket.write_all(text.as_bytes());
}

/// Says what it must not, one thing a time; which, the size of the disk tells.
fn lying_child() {
    let mut socket = socket();
    let job = wire::read_job(&mut socket).expect("a job");
    let run = |offset: u64, len: u32| {
        [&offset.to_le_bytes()[..], &len.to_le_bytes(), &vec![1; len as usize]].concat()
    };
    let done = |runs: u32| [&[wire::DONE][..], &runs.to_le_bytes()].concat();
    if matches!(job.work, Work::Inspect) {
        let text =
            if job.size_bytes == 4096 { b"{}".to_vec() } else { vec![b' '; wire::INSPECTION_BYTES_MAX + 1] };
        let _ = socket.write_all(&[wire::DONE]);
        let _ = wire::write_block(&mut socket, &text);
        return;
    }
    let said = match job.size_bytes / 4096 {
        1 => vec![99],
        2 => [done(1), run(job.size_bytes - 1, 2)].concat(),
        3 => [done(2), run(4096, 10), run(4100, 10)].concat(),
        4 => done(u32::MAX),
        5 => [&[wire::REFUSED][..], &u32::MAX.to_le_bytes()].concat(),
        6 => [&[wire::READ][..], &0u64.to_le_bytes(), &u32::MAX.to_le_bytes()].concat(),
        7 => [&done(1)[..], &0u64.to_le_bytes(), &u32::MAX.to_le_bytes()].concat(),
        _ => [&[wire::READ][..], &u64::MAX.to_le_bytes(), &512u32.to_le_bytes()].concat(),
    };
    let _ = socket.write_all(&said);
    let _ = wire::read_u8(&mut socket);
}

#[test]
fn the_file_is_placed_by_a_child() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (root, image) = (directory.path().join("root"), directory.path().join("disk.raw"));
    for directory in ["etc", "usr/bin"] {
        std::fs::create_dir_all(root.join(directory)).expect("a directory");
    }
    std::fs::write(root.join("etc/os-release"), "ID=debian\n").expect("a file");
    let [root, image] = [root, image].map(|path| path.to_str().expect("UTF-8").to_owned());
    let sbin = |name: &str| format!("/usr/sbin/{name}");
    tool(&sbin("mke2fs"), ["-q", "-F", "-t", "ext4", "-d", &root, &image, "32M"]);
    let base = FileDevice::new(std::fs::File::open(&image).expect("it exists")).expect("a file");
    let changes = with_child("honest", &base, LONG).expect("placed");
    let file = std::fs::File::options().write(true).open(&image).expect("it exists");
    for (offset, bytes) in changes {
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, offset).expect("writable");
    }
    tool(&sbin("e2fsck"), ["-fn", &image]);
    let seen = tool(&sbin("debugfs"), ["-R", &format!("cat {}", kiln_guest::place::LINUX_PATH), &image]);
    assert_eq!(seen, kiln_guest::place::linux_text(&facts()));

    tool(&sbin("debugfs"), ["-w", "-R", "feature needs_recovery", &image]);
    let base = FileDevice::new(std::fs::File::open(&image).expect("it exists")).expect("a file");
    let reason = with_child("honest", &base, LONG).expect_err("to be refused");
    assert!(reason.contains("journal"), "{reason}");
}

#[test]
fn a_disk_is_inspected_by_a_child_as_it_would_be_here() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (root, image) = (directory.path().join("root"), directory.path().join("disk.raw"));
    for part in ["etc", "usr/bin"] {
        std::fs::create_dir_all(root.join(part)).expect("a directory");
    }
    std::fs::write(root.join("etc/os-release"), "ID=debian\nVERSION_ID=\"12\"\n").expect("a file");
    let [root, image] = [root, image].map(|path| path.to_str().expect("UTF-8").to_owned());
    tool("/usr/sbin/mke2fs", ["-q", "-F", "-t", "ext4", "-d", &root, &image, "32M"]);
    let file = std::fs::File::open(&image).expect("it exists");
    let disk: std::sync::Arc<dyn BlockDevice> = std::sync::Arc::new(FileDevice::new(file).expect("a file"));
    let inspected = inspected_by("honest", disk.as_ref()).expect("inspected");
    assert!(matches!(&inspected.system, System::Linux(linux) if linux.release.is_some()), "{inspected:?}");
    let budget = kiln_guest::Budget::new(kiln_guest::Limits::default());
    assert_eq!(inspected, kiln_guest::inspect(&disk, &budget).expect("inspected"));
}

#[test]
fn an_inspection_that_is_none_is_only_a_reason() {
    for (kind, pages, reason) in [
        ("crashing", 1, "out of bounds (signal: 6"),
        ("greedy", 1, "out of bounds (signal: 6"),
        ("lying", 1, "answered with nonsense"),
        ("lying", 2, "found more than a disk can hold"),
    ] {
        let said = inspected_by(kind, &MemoryDevice::new(pages * 4096)).expect_err("no inspection");
        assert!(said.contains(reason), "{kind}: {said}");
    }
}

#[test]
fn a_child_that_does_not_answer_is_killed() {
    let base = MemoryDevice::new(1 << 20);
    for kind in ["silent", "dripping"] {
        let start = Instant::now();
        let reason = with_child(kind, &base, SHORT).expect_err("no answer");
        assert!(reason.contains("was not done within"), "{kind}: {reason}");
        assert!(start.elapsed() < Duration::from_secs(20), "{kind}: {:?}", start.elapsed());
    }
}

#[test]
fn a_child_that_crashes_or_wants_too_much_is_only_a_reason() {
    let base = MemoryDevice::new(1 << 20);
    for kind in ["crashing", "greedy"] {
        let reason = with_child(kind, &base, LONG).expect_err("no answer");
        assert!(reason.contains("signal: 6"), "{kind}: {reason}");
    }
    let nowhere = Command::new("/nonexistent/kiln");
    let unfinished = run(nowhere, &base, &job(&base, Work::Inspect), inspection).expect_err("no program");
    assert!(unfinished.to_string().contains("no process"));
}

#[test]
fn a_child_has_nothing_but_its_socket() {
    let said = with_child("curious", &MemoryDevice::new(1 << 20), LONG).expect_err("a reason");
    assert_eq!(said, "could: ");
}

#[test]
fn what_a_child_says_is_checked() {
    for lie in 1..=7 {
        let base = MemoryDevice::new(lie * 4096);
        let reason = with_child("lying", &base, LONG).expect_err("a lie");
        assert!(reason.starts_with("the process that was to work on its file systems "), "{lie}: {reason}");
    }
    // A read that the disk refuses is answered, and the child may go on.
    assert!(with_child("lying", &MemoryDevice::new(8 * 4096), LONG).is_err());
}
