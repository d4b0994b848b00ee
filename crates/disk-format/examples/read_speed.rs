//! Reads an image end to end into a sparse raw file and says how long it took, to be put beside
//! `qemu-img convert -O raw`: `read_speed IMAGE RAW [--no-sync]`. Or writes one: `read_speed IMAGE OUT FORMAT`, with a
//! format of `raw`, `qcow2`, `qcow2-zstd`, `vhd`, `vhd-fixed` or `vmdk`.

use std::error::Error;
use std::fs::File;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use kiln_block::FileDevice;
use kiln_disk_format::{FileSink, Limits, OutputFormat, open, write};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [image, target, rest @ ..] = arguments.as_slice() else {
        return Err("usage: read_speed IMAGE TARGET [FORMAT] [--no-sync]".into());
    };
    let mut format = OutputFormat::Raw;
    let mut sync = true;
    for argument in rest {
        match argument.as_str() {
            "--no-sync" => sync = false,
            "raw" => format = OutputFormat::Raw,
            "qcow2" => format = OutputFormat::Qcow2,
            "qcow2-zstd" => format = OutputFormat::Qcow2Zstd,
            "vhd" => format = OutputFormat::VhdDynamic,
            "vhd-fixed" => format = OutputFormat::VhdFixed,
            "vmdk" => format = OutputFormat::Vmdk,
            other => return Err(format!("no format {other}").into()),
        }
    }
    let start = Instant::now();
    let opened = open(Arc::new(FileDevice::new(File::open(image)?)?), &Limits::default())?;
    let file = File::create(target)?;
    let mut progress = |_| ControlFlow::Continue(());
    let written = write(&opened.device, format, &mut FileSink::new(&file), &mut progress)?;
    if sync {
        file.sync_all()?;
    }
    println!("{:.3} {}", start.elapsed().as_secs_f64(), written.stored_bytes);
    Ok(())
}
