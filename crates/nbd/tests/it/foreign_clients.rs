//! libnbd's and QEMU's tools read what is served, over unix sockets and TCP.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use kiln_block::{BlockDevice, Error, ExtentKind, MemoryDevice, WritableBlockDevice, extents};
use kiln_nbd::{Export, Exports, Limits, Listener, Listing, ResolveError, SocketAccess};
use kiln_testkit::faulty_device::FaultyDevice;
use kiln_testkit::qemu_img::run;
use serde_json::Value;

use crate::fixture::{Fixture, random_disk, serving, single, unix_uri};

const DISK_BYTES: u64 = 24 << 20;

fn json(tool: &str, arguments: &[&str]) -> Value {
    serde_json::from_str(&run(tool, arguments)).expect("the tool prints JSON")
}

#[test]
fn nbdinfo_sees_what_the_export_can_do() {
    let (fixture, _serving) = serving(random_disk(DISK_BYTES).0);
    let said = json("nbdinfo", &["--json", &fixture.uri("disk")]);
    assert_eq!(said["protocol"], "newstyle-fixed");
    assert_eq!(said["structured"], true);
    let export = &said["exports"][0];
    assert_eq!(export["export-size"], DISK_BYTES);
    assert_eq!(export["description"], "a disk for tests");
    assert_eq!(export["contexts"], serde_json::json!(["base:allocation"]));
    for (flag, expected) in
        [("is_read_only", true), ("can_multi_conn", true), ("can_cache", true), ("can_trim", false)]
    {
        assert_eq!(export[flag], expected, "{flag}");
    }
    assert_eq!(export["block_size_minimum"], 1);
    assert_eq!(export["block_size_preferred"], 64 << 10);
    assert_eq!(export["block_size_maximum"], 32 << 20);
}

#[test]
fn the_map_is_that_of_the_device() {
    let (device, contents) = random_disk(DISK_BYTES);
    let expected: Vec<_> = extents(&device, 0, DISK_BYTES)
        .map(|extent| extent.expect("readable"))
        .map(|extent| (extent.offset, extent.len, if extent.kind == ExtentKind::Data { 0 } else { 3 }))
        .collect();
    let (fixture, _serving) = serving(device);
    let uri = fixture.uri("disk");
    let said = json("nbdinfo", &["--map", "--json", &uri]);
    let number = |row: &Value, name: &str| row[name].as_u64().expect("a number");
    let rows = said.as_array().expect("rows");
    let found: Vec<_> =
        rows.iter().map(|row| (number(row, "offset"), number(row, "length"), number(row, "type"))).collect();
    assert_eq!(found, expected);

    let said = json("qemu-img", &["map", "--output=json", "-f", "raw", &uri]);
    for row in said.as_array().expect("rows") {
        let (start, len) = (number(row, "start") as usize, number(row, "length") as usize);
        assert!(row["data"] == true || contents[start..start + len].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn nbdcopy_reads_every_byte() {
    let (device, contents) = random_disk(DISK_BYTES + 512);
    let (fixture, _serving) = serving(device);
    let copy = fixture.dir.path().join("copy");
    let copy_name = copy.to_str().expect("UTF-8");
    for request_size in ["4096", "33554432"] {
        let size = format!("--request-size={request_size}");
        run("nbdcopy", ["--connections=4", &size, &fixture.uri("disk"), copy_name]);
        assert!(std::fs::read(&copy).expect("written") == contents, "requests of {request_size} bytes");
    }
}

#[test]
fn qemu_reads_every_byte_over_both_transports() {
    let (device, contents) = random_disk(DISK_BYTES);
    let fixture = Fixture::new(Limits::default());
    let _unix = fixture.serve_unix(single(Arc::clone(&device)));
    let listener = fixture.runtime().block_on(Listener::tcp(([127, 0, 0, 1], 0).into())).expect("loopback");
    let tcp_uri = format!("nbd://{}/disk", listener.tcp_address().expect("TCP"));
    let _tcp = fixture.serve(listener, single(device));

    let original = fixture.dir.path().join("original");
    std::fs::write(&original, &contents).expect("written");
    let original = original.to_str().expect("UTF-8");
    let copy = fixture.dir.path().join("copy");
    for uri in [fixture.uri("disk"), tcp_uri] {
        run("qemu-img", ["compare", "-f", "raw", "-F", "raw", &uri, original]);
        run(
            "qemu-img",
            ["convert", "-m", "16", "-W", "-f", "raw", "-O", "raw", &uri, copy.to_str().expect("UTF-8")],
        );
        assert!(std::fs::read(&copy).expect("written") == contents, "{uri}");
    }
}

#[test]
fn qemu_io_reads_many_ranges_at_once() {
    const BLOCK: u64 = 64 << 10;
    let device = MemoryDevice::new(256 * BLOCK);
    for block in 0..256 {
        device
            .write_all_at(&[(block % 251) as u8; BLOCK as usize], block * BLOCK)
            .expect("within the device");
    }
    let (fixture, _serving) = serving(device);
    let mut command = Command::new("qemu-io");
    command.args(["-r", "-f", "raw"]);
    for n in 0..256u64 {
        let block = n * 97 % 256;
        command.arg("-c").arg(format!("aio_read -P {} {} {BLOCK}", block % 251, block * BLOCK));
    }
    let output =
        command.args(["-c", "aio_flush", &fixture.uri("disk")]).output().expect("qemu-io is installed");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && !said.contains("failed"), "{said}");
    assert_eq!(said.matches("read 65536/65536 bytes").count(), 256, "{said}");
}

#[test]
fn writes_and_failing_reads_are_told_as_such() {
    let (fixture, _serving) = serving(random_disk(1 << 20).0);
    let output = Command::new("qemu-io")
        .args(["-f", "raw", "-c", "write 0 4096", &fixture.uri("disk")])
        .output()
        .expect("qemu-io is installed");
    let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert!(!output.status.success() && said.contains("permission denied"), "{said}");

    let faulty = FaultyDevice::new(MemoryDevice::from_bytes(&[1; 1 << 20]), 1, 1.0);
    let (fixture, _serving) = serving(faulty);
    let output = Command::new("qemu-io")
        .args(["-r", "-f", "raw", "-c", "read 0 4096", "-c", "read 4096 512", &fixture.uri("disk")])
        .output()
        .expect("qemu-io is installed");
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches("Input/output error").count(), 2, "the connection survives the first: {said}");
}

/// Images by name, told or not.
struct Images {
    by_name: BTreeMap<String, Export>,
    told: bool,
}

impl Exports for Images {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Export, ResolveError>> {
        async move {
            tokio::task::yield_now().await;
            self.by_name.get(name).cloned().ok_or(ResolveError::Unknown)
        }
        .boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, ResolveError>> {
        let names = self.by_name.keys().cloned().collect();
        std::future::ready(Ok(if self.told { Listing::Names(names) } else { Listing::Refused })).boxed()
    }
}

fn images(count: u32, told: bool) -> Images {
    let export = |n: u32| Export::new(Arc::new(MemoryDevice::new(u64::from(n) << 20)), format!("image {n}"));
    Images { by_name: (1..=count).map(|n| (format!("img-{n}"), export(n))).collect(), told }
}

#[test]
fn a_listing_names_every_image() {
    let fixture = Fixture::new(Limits::default());
    let _serving = fixture.serve_unix(images(40, true));
    let said = json("nbdinfo", &["--list", "--json", &fixture.uri("")]);
    let exports = said["exports"].as_array().expect("exports");
    assert_eq!(exports.len(), 40);
    for export in exports {
        let number: u64 =
            export["export-name"].as_str().and_then(|name| name[4..].parse().ok()).expect("img-N");
        assert_eq!(export["export-size"], number << 20);
    }
    let said = run("qemu-nbd", ["--list", "-k", fixture.socket().to_str().expect("UTF-8")]);
    assert!(said.contains("exports available: 40") && said.contains("17825792"), "{said}");
}

#[test]
fn capabilities_are_not_told() {
    let fixture = Fixture::new(Limits::default());
    let listener = fixture.runtime().block_on(Listener::tcp(([127, 0, 0, 1], 0).into())).expect("loopback");
    let address = listener.tcp_address().expect("TCP");
    let _serving = fixture.serve(listener, images(2, false));
    let size = run("nbdinfo", ["--size", &format!("nbd://{address}/img-2")]);
    assert_eq!(size.trim(), "2097152");
    for refused in
        [vec!["--list".to_owned(), format!("nbd://{address}")], vec![format!("nbd://{address}/img-3")]]
    {
        let output = Command::new("nbdinfo").args(refused).output().expect("nbdinfo is installed");
        assert!(!output.status.success() && !String::from_utf8_lossy(&output.stdout).contains("img-1"));
    }
}

#[test]
fn a_socket_with_a_long_path_is_reached_by_its_name() {
    let fixture = Fixture::new(Limits::default());
    let deep = fixture.dir.path().join("d".repeat(200));
    std::fs::create_dir(&deep).expect("directory");
    let context = fixture.runtime().enter();
    let listener = Listener::unix(&deep.join("nbd.sock"), SocketAccess::private()).expect("bound");
    drop(context);
    let _serving = fixture.serve(listener, single(MemoryDevice::new(1 << 20)));
    let uri = unix_uri("nbd.sock".as_ref(), "disk");
    let output = Command::new("nbdinfo").args(["--size", &uri]).current_dir(&deep).output();
    let output = output.expect("nbdinfo is installed");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "1048576");
}

/// Says that everything is corrupt, or panics.
struct BrokenDevice {
    panics: bool,
}

impl BlockDevice for BrokenDevice {
    fn size_bytes(&self) -> u64 {
        1 << 20
    }

    fn read_exact_at(&self, _: &mut [u8], offset: u64) -> kiln_block::Result<()> {
        assert!(!self.panics, "a panic on purpose");
        Err(Error::Corrupt { offset, reason: "the digest does not match".into() })
    }

    fn extent_at(&self, offset: u64, len: u64) -> kiln_block::Result<kiln_block::Extent> {
        Ok(kiln_block::Extent { offset, len, kind: ExtentKind::Data })
    }
}

#[test]
fn a_broken_device_fails_reads_and_nothing_else() {
    for panics in [false, true] {
        let (fixture, _serving) = serving(BrokenDevice { panics });
        let output = Command::new("nbdcopy").args([&fixture.uri("disk"), "null:"]).output();
        let output = output.expect("nbdcopy is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("Input/output error"), "{said}");
        assert_eq!(run("nbdinfo", ["--size", &fixture.uri("disk")]).trim(), "1048576");
    }
}
