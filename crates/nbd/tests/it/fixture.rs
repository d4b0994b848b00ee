//! A running server with a socket in a temporary directory, and devices to serve.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use kiln_block::{BlockDevice, Extent, ExtentKind, MemoryDevice, Result, WritableBlockDevice};
use kiln_nbd::{Export, Exports, Limits, Listener, Server, SingleExport, SocketAccess};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server that ends with the test.
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) server: Server,
    // Dropped last: it waits for nothing.
    runtime: Option<Runtime>,
}

/// One listener's task.
pub(crate) struct Serving {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Fixture {
    pub(crate) fn new(limits: Limits) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let dir = tempfile::tempdir().expect("temporary directory");
        Self { dir, server: Server::new(limits).expect("good limits"), runtime: Some(runtime) }
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("taken only by drop")
    }

    /// The unix socket that [`Fixture::serve_unix`] listens on.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("nbd.sock")
    }

    /// `nbd+unix` URI of an export on that socket.
    pub(crate) fn uri(&self, name: &str) -> String {
        unix_uri(&self.socket(), name)
    }

    pub(crate) fn serve_unix(&self, exports: impl Exports + 'static) -> Serving {
        let _context = self.runtime().enter();
        let listener = Listener::unix(&self.socket(), SocketAccess::private()).expect("a free path");
        self.serve(listener, exports)
    }

    pub(crate) fn serve(&self, listener: Listener, exports: impl Exports + 'static) -> Serving {
        let (stop, stopped) = oneshot::channel();
        let server = self.server.clone();
        let task = self.runtime().spawn(async move {
            // The end of the test is no shutdown; the runtime ends then.
            let shutdown = async {
                if stopped.await.is_err() {
                    std::future::pending().await
                }
            };
            server.serve(listener, Arc::new(exports), shutdown).await;
        });
        Serving { stop, task }
    }

    /// Asks a listener to stop, and waits until it has.
    pub(crate) fn stop(&self, serving: Serving) {
        serving.stop.send(()).expect("it is running");
        self.runtime().block_on(serving.task).expect("it did not panic");
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A server with default limits that serves `device` as "disk".
pub(crate) fn serving(device: impl BlockDevice + 'static) -> (Fixture, Serving) {
    let fixture = Fixture::new(Limits::default());
    let serving = fixture.serve_unix(single(device));
    (fixture, serving)
}

/// `device` as the only export, "disk".
pub(crate) fn single(device: impl BlockDevice + 'static) -> SingleExport {
    SingleExport::new("disk", Export::new(Arc::new(device), "a disk for tests"))
}

pub(crate) fn unix_uri(socket: &Path, name: &str) -> String {
    format!("nbd+unix:///{name}?socket={}", socket.display())
}

/// A disk of random runs of random bytes and holes, and its whole contents.
pub(crate) fn random_disk(size_bytes: u64) -> (Arc<MemoryDevice>, Vec<u8>) {
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let device = MemoryDevice::new(size_bytes);
    for _ in 0..40 {
        let offset = random.random_range(0..size_bytes);
        let longest = 1u64 << random.random_range(9..21);
        let len = random.random_range(1..=longest).min(size_bytes - offset);
        let mut bytes = vec![0; len as usize];
        random.fill_bytes(&mut bytes);
        device.write_all_at(&bytes, offset).expect("within the device");
    }
    let mut contents = vec![0; size_bytes as usize];
    device.read_exact_at(&mut contents, 0).expect("within the device");
    (Arc::new(device), contents)
}

/// A disk of data whose reads of its first sector wait until [`Gate::open`].
pub(crate) struct GatedDevice {
    pub(crate) gate: Arc<Gate>,
    pub(crate) size_bytes: u64,
}

/// What a [`GatedDevice`] waits for, and how much was read from it.
#[derive(Default)]
pub(crate) struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    bytes_read: Mutex<u64>,
}

impl Gate {
    pub(crate) fn open(&self) {
        *self.open.lock().expect("nobody panics") = true;
        self.opened.notify_all();
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        *self.bytes_read.lock().expect("nobody panics")
    }

    /// Waits until no more reads happen.
    pub(crate) fn settled_bytes_read(&self) -> u64 {
        let mut before = u64::MAX;
        loop {
            let now = self.bytes_read();
            if now == before {
                return now;
            }
            before = now;
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

impl BlockDevice for GatedDevice {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        kiln_block::check_bounds(offset, buf.len() as u64, self.size_bytes)?;
        if offset < kiln_block::SECTOR_BYTES {
            let open = self.gate.open.lock().expect("nobody panics");
            drop(self.gate.opened.wait_while(open, |open| !*open).expect("nobody panics"));
        }
        *self.gate.bytes_read.lock().expect("nobody panics") += buf.len() as u64;
        buf.fill((offset >> 9) as u8);
        Ok(())
    }

    fn extent_at(&self, offset: u64, len: u64) -> Result<Extent> {
        Ok(Extent { offset, len, kind: ExtentKind::Data })
    }
}
