//! One instance directory with everything a machine needs, and the certain end of all that was started.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kiln_qemu::{
    Accelerator, Egress, Identity, MacAddress, Machine, MachineConfig, Network, Qemu, UserNetwork, layout,
};
use serde_json::json;
use tempfile::TempDir;

pub(crate) const DISK_BYTES: usize = 8 << 20;
pub(crate) const EXPORT: &str = "base,\"odd\" name";
/// Debian's nobody and nogroup.
pub(crate) const NOBODY: Identity = Identity { uid: 65534, gid: 65534 };
const FIRST_SECTOR: usize = 16;
const SECTORS: usize = 64;
/// Generous: the machine running the tests is shared.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    /// Not traversable for other users, as data directories under /root are.
    outside: TempDir,
    pub(crate) dir: PathBuf,
    server: Option<Child>,
    mounted: bool,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_guest(&[], |_| {})
    }

    pub(crate) fn with_deaf_guest() -> Self {
        Self::with_guest(&["--defsym", "DEAF=1"], |_| {})
    }

    /// With an instance directory on a file system of its own, of this size.
    pub(crate) fn on_small_disk(size: &str) -> Self {
        let mut world = Self::with_guest(&[], |dir| {
            let options = format!("size={size},mode=700");
            run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir));
        });
        world.mounted = true;
        world
    }

    fn with_guest(assembler_options: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        let outside = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(outside.path(), std::fs::Permissions::from_mode(0o700))
            .expect("own directory");
        // Longer than a socket address can be.
        let dir = outside.path().join("long-".repeat(30));
        std::fs::create_dir(&dir).expect("made");
        prepare(&dir);
        let mut world = Self { outside, dir, server: None, mounted: false };
        let mut base = world.assemble(assembler_options);
        base.resize(DISK_BYTES, 0x5a);
        std::fs::write(world.base(), base).expect("written");
        world.make_overlay(layout::ROOT);
        world.serve_base();
        world
    }

    fn assemble(&self, options: &[&str]) -> Vec<u8> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/guest.S");
        let (object, binary) = (self.outside.path().join("guest.o"), self.outside.path().join("guest.bin"));
        run(Command::new("as").arg("--32").args(options).arg("-o").arg(&object).arg(source));
        let link = ["-m", "elf_i386", "-Ttext=0x7c00", "--oformat", "binary", "-o"];
        run(Command::new("ld").args(link).arg(&binary).arg(object));
        std::fs::read(binary).expect("linked")
    }

    fn base(&self) -> PathBuf {
        self.outside.path().join("base.raw")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn make_overlay(&self, name: &str) {
        let size = DISK_BYTES.to_string();
        run(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(self.file(name)).arg(size));
    }

    pub(crate) fn serve_base(&mut self) {
        let socket = self.file(layout::BASE_SOCKET);
        let _ = std::fs::remove_file(&socket);
        let mut command = Command::new("qemu-nbd");
        command.current_dir(&self.dir).args(["--read-only", "--persistent", "--shared=4", "-f", "raw"]);
        // Absolute, as qemu-nbd wants it, and short, as a socket address must be.
        command.args(["-x", EXPORT, "-k", "/proc/self/cwd/base.sock"]).arg(self.base());
        self.server = Some(command.stdin(Stdio::null()).spawn().expect("qemu-nbd starts"));
        let started = Instant::now();
        while !socket.exists() {
            assert!(started.elapsed() < PATIENCE, "qemu-nbd did not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn stop_serving_base(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().expect("our child");
            server.wait().expect("our child");
        }
    }

    pub(crate) fn config(&self) -> MachineConfig {
        MachineConfig {
            dir: self.dir.clone(),
            name: "ins-test".into(),
            uuid: uuid::Uuid::from_u128(0x1234),
            vcpus: 1,
            memory_bytes: 32 << 20,
            accelerator: Accelerator::Tcg,
            base_export: EXPORT.into(),
            data_disks: Vec::new(),
            root_serial: "disk-test".into(),
            mac: MacAddress::new([0x52, 0x54, 0, 0, 0, 1]).expect("unicast"),
            network: Network::User(UserNetwork {
                address: Ipv4Addr::new(10, 3, 0, 5),
                prefix: 24,
                gateway: Ipv4Addr::new(10, 3, 0, 1),
                dns: Ipv4Addr::new(10, 3, 0, 2),
                forwards: Vec::new(),
                egress: Egress::Isolated,
            }),
            identity: None,
        }
    }

    pub(crate) async fn launch(&self) -> Machine {
        Machine::launch(&qemu().await, &self.config()).await.expect("it starts")
    }

    pub(crate) fn console(&self) -> String {
        let bytes = kiln_qemu::read_console(&self.dir, 1 << 20).expect("readable");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How many rounds of reading and writing the guest has finished. None may have failed.
    pub(crate) fn rounds(&self) -> usize {
        let console = self.console();
        let Some((_, since)) = console.rsplit_once("kiln guest up") else { return 0 };
        assert!(!since.contains('E'), "the guest saw an I/O error: {since}");
        since.matches('+').count()
    }

    pub(crate) async fn wait_for_rounds(&self, more: usize) {
        let wanted = self.rounds() + more;
        self.wait_until("the guest goes on", || self.rounds() >= wanted).await;
    }

    pub(crate) async fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let started = Instant::now();
        while !condition() {
            assert!(started.elapsed() < PATIENCE, "{what} did not happen; console: {}", self.console());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The disk that these overlays make above the base, read by qemu-img.
    pub(crate) fn disk(&self, layers: &[&str]) -> Vec<u8> {
        let mut node = json!({ "driver": "raw", "file": { "driver": "file", "filename": self.base() } });
        for layer in layers.iter().rev() {
            let file = json!({ "driver": "file", "filename": self.file(layer), "locking": "off" });
            node = json!({ "driver": "qcow2", "file": file, "backing": node });
        }
        let raw = self.outside.path().join("disk.raw");
        run(Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(format!("json:{node}")).arg(&raw));
        std::fs::read(raw).expect("converted")
    }

    /// The newest number the guest had written on a disk, which must be as one moment of the guest left it.
    pub(crate) fn newest_number(disk: &[u8]) -> u32 {
        let number = |index: usize| {
            let sector = &disk[(FIRST_SECTOR + index) * 512..][..512];
            let (words, _) = sector.as_chunks::<4>();
            assert!(words.iter().all(|word| *word == words[0]), "a torn sector");
            u32::from_le_bytes(words[0])
        };
        let numbers: Vec<u32> = (0..SECTORS).map(number).collect();
        let untouched = u32::from_le_bytes([0x5a; 4]);
        let newest = numbers.iter().copied().filter(|number| *number != untouched).max().unwrap_or(0);
        for (index, found) in numbers.into_iter().enumerate() {
            // The last number up to the newest that belongs into this sector.
            let behind = (newest as usize + SECTORS - 1 - index) % SECTORS;
            let expected = (newest as usize).checked_sub(behind).filter(|number| *number > 0);
            assert_eq!(
                found,
                expected.map_or(untouched, |number| number as u32),
                "sector {index} of {newest}"
            );
        }
        newest
    }

    pub(crate) fn assert_nothing_left(&self) {
        for name in [layout::QMP_SOCKET, layout::CONSOLE_SOCKET, layout::PID_FILE] {
            assert!(!self.file(name).exists(), "{name} is left");
        }
        assert_eq!(self.processes(), Vec::<i32>::new(), "processes are left");
    }

    /// The living QEMU processes of this directory, known by their working directory.
    fn processes(&self) -> Vec<i32> {
        let entries = std::fs::read_dir("/proc").expect("a process table");
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let machine = |pid: &i32| {
            let process = PathBuf::from(format!("/proc/{pid}"));
            let here = std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == self.dir);
            let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
            here && name.starts_with("qemu-system")
        };
        pids.filter(machine).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for pid in self.processes() {
            let pid = rustix::process::Pid::from_raw(pid).expect("listed");
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        self.stop_serving_base();
        if self.mounted {
            let _ = Command::new("umount").arg("--lazy").arg(&self.dir).status();
        }
    }
}

pub(crate) async fn qemu() -> Qemu {
    let path = std::env::var_os("PATH").expect("a search path");
    kiln_qemu::find_qemu(&path).await.expect("QEMU is installed")
}

pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}
