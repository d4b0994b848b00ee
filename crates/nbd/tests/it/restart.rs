//! The server is killed and started again under a running QEMU client.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use kiln_block::FileDevice;
use kiln_nbd::{Export, Limits, Listener, Server, SingleExport, SocketAccess};

const SOCKET: &str = "KILN_TEST_NBD_SOCKET";
const DISK: &str = "KILN_TEST_NBD_DISK";

/// The server that the test below kills, in a process of its own: without that test's variables it does nothing.
#[test]
fn child_server() {
    let (Some(socket), Some(disk)) = (std::env::var_os(SOCKET), std::env::var_os(DISK)) else { return };
    let device = FileDevice::new(std::fs::File::open(disk).expect("the disk")).expect("the disk");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let listener = Listener::unix(socket.as_ref(), SocketAccess::private()).expect("bound");
        let exports = SingleExport::new("disk", Export::new(Arc::new(device), "disk"));
        let server = Server::new(Limits::default()).expect("good limits");
        server.serve(listener, Arc::new(exports), std::future::pending()).await;
    });
}

/// A child process that does not outlive the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may be dead already, which is all that is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_server(socket: &Path, disk: &Path) -> Killed {
    let child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "restart::child_server", "--quiet"])
        .env(SOCKET, socket)
        .env(DISK, disk)
        .stdout(Stdio::null())
        .spawn()
        .expect("this test runs");
    let server = Killed(child);
    let began = Instant::now();
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "the server does not come up");
        std::thread::sleep(Duration::from_millis(10));
    }
    server
}

/// The lines of a child's output, so that waiting for one can end.
fn lines_of(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        lines.all(|line| sender.send(line).is_ok())
    });
    receiver
}

#[test]
fn a_killed_server_is_found_again() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (socket, disk) = (dir.path().join("nbd.sock"), dir.path().join("disk"));
    let contents: Vec<u8> = (0..16u8).flat_map(|n| vec![n + 1; 1 << 20]).collect();
    std::fs::write(&disk, contents).expect("written");

    let mut server = start_server(&socket, &disk);
    let options = format!(
        "driver=nbd,server.type=unix,server.path={},export=disk,reconnect-delay=60",
        socket.display()
    );
    let mut client = Command::new("stdbuf")
        .args(["-oL", "qemu-io", "-r", "--image-opts", &options])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map(Killed)
        .expect("stdbuf and qemu-io are installed");
    let mut commands = client.0.stdin.take().expect("piped");
    let answers = lines_of(client.0.stdout.take().expect("piped"));

    // One command at a time: qemu-io waits for its input to become readable, however much of it it holds already.
    for mib in 0..12 {
        let restart = mib % 4 == 2;
        if restart {
            server.0.kill().expect("it runs");
            server.0.wait().expect("it was started here");
            assert!(socket.exists(), "kill -9 leaves the socket's file behind");
        }
        writeln!(commands, "read -P {} {mib}M 1M", mib + 1).expect("qemu-io reads");
        if restart {
            std::thread::sleep(Duration::from_millis(300));
            server = start_server(&socket, &disk);
        }
        loop {
            let line = answers.recv_timeout(Duration::from_secs(30)).expect("qemu-io goes on");
            assert!(!line.contains("failed"), "{line}");
            if line.contains("read 1048576/1048576 bytes") {
                break;
            }
        }
    }
}
