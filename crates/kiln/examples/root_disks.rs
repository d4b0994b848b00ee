//! Prepares root disks as a launch does, for `make bench`:
//! `cargo run --release -p kiln --example root_disks -- STORE-DIRECTORY MANIFEST DIRECTORY COUNT`.
//!
//! For each disk: a directory, an empty overlay of the base's size, the cloud-init seed, and an NBD export of the base
//! at a socket beside them, opened from the store as if no other instance had it. Not here: the catalogue, and QEMU
//! itself, whose peer (`qemu-img create -b`) has neither.

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_block::BlockDevice;
use kiln_chunk_store::{ChunkReader, DirectoryStore, Manifest, ManifestDevice, ManifestId, ObjectStore};
use kiln_disk_format::qcow2;
use kiln_nbd::{Export, Limits, Listener, Server, SingleExport, SocketAccess};
use kiln_qemu::seed::{Addressing, Seed, SeedNetwork};
use kiln_qemu::{MacAddress, layout};

type Outcome<T> = Result<T, Box<dyn Error>>;

const CACHE_BYTES: usize = 64 << 20;
const USAGE: &str = "usage: root_disks STORE-DIRECTORY MANIFEST DIRECTORY COUNT";

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, manifest, directory, count] = arguments.as_slice() else { return Err(USAGE.into()) };
    let store: Arc<dyn ObjectStore> = Arc::new(DirectoryStore::open(Path::new(store))?);
    let reader = Arc::new(ChunkReader::new(Arc::clone(&store), CACHE_BYTES));
    let server = Server::new(Limits::default())?;
    let (manifest, directory) = (manifest.parse()?, PathBuf::from(directory));
    for number in 0..count.parse()? {
        prepare(&server, &reader, manifest, &directory, number).await?;
    }
    Ok(())
}

async fn prepare(
    server: &Server,
    reader: &Arc<ChunkReader>,
    manifest: ManifestId,
    directory: &Path,
    number: u32,
) -> Outcome<()> {
    let name = format!("ins-{number:08}");
    let dir = directory.join(&name);
    std::fs::create_dir(&dir)?;
    let base = Manifest::read(reader.store().as_ref(), manifest)?;
    let base = ManifestDevice::new(Arc::clone(reader), Arc::new(base));
    let overlay = File::options().write(true).create_new(true).open(dir.join(layout::ROOT))?;
    qcow2::create_overlay(&overlay, base.size_bytes())?;
    std::fs::write(dir.join(layout::SEED), seed(&name, number)?.image()?)?;
    let listener = Listener::unix(&dir.join(layout::BASE_SOCKET), SocketAccess::private())?;
    let exports = Arc::new(SingleExport::new("base", Export::new(Arc::new(base), name)));
    let server = server.clone();
    tokio::spawn(async move { server.serve(listener, exports, std::future::pending()).await });
    Ok(())
}

fn seed(name: &str, number: u32) -> Outcome<Seed> {
    let [a, b, c, d] = number.to_be_bytes();
    let mac = MacAddress::new([0x52, 0x54, a, b, c, d]).ok_or("the prefix is not a unicast address's")?;
    Ok(Seed {
        instance_id: name.to_owned(),
        hostname: name.to_owned(),
        ssh_authorized_keys: Vec::new(),
        password: None,
        user_data: None,
        network: SeedNetwork { mac, interface: Some("eth0".to_owned()), addressing: Addressing::Dhcp },
        files: Vec::new(),
        change: None,
        components: None,
    })
}
