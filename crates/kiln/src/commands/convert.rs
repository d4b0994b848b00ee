//! `kiln image convert`: an image file in another format. No server is needed.
//!
//! The source is opened as an import opens it: a file that needs another file is refused. The target appears whole and
//! durable, or not at all.

use std::fs::{File, Permissions};
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_block::FileDevice;
use kiln_disk_format::{FileSink, Limits, OpenedImage, OutputFormat, Written, open, write};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::{Convert, ImageFormat, OutputForm};
use crate::client::Error;
use crate::output;
use crate::progress::byte_bar;

pub(super) async fn run(form: OutputForm, wanted: Convert) -> Result<ExitCode, Error> {
    let stopped = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stopped);
    let (source, target) = (wanted.source.clone(), wanted.target.clone());
    let mut work = tokio::task::spawn_blocking(move || convert(&wanted, &seen));
    let (opened, written) = tokio::select! {
        done = &mut work => done??,
        () = told_to_stop() => {
            stopped.store(true, Ordering::Relaxed);
            work.await??
        }
    };
    let from = opened.format.name();
    let answer = json!({
        "Format": from, "VirtualSizeBytes": opened.virtual_size_bytes,
        "FileBytes": written.file_bytes, "StoredBytes": written.stored_bytes,
    });
    let sentence = format!(
        "{}: {from} of {} with {} of data; {}: {} as a file",
        source.display(),
        output::bytes(opened.virtual_size_bytes),
        output::bytes(written.stored_bytes),
        target.display(),
        output::bytes(written.file_bytes),
    );
    output::done(form, &answer, &sentence);
    Ok(ExitCode::SUCCESS)
}

/// Waits for Ctrl-C, or for a polite kill.
async fn told_to_stop() {
    let mut terminated = match signal(SignalKind::terminate()) {
        Ok(terminated) => terminated,
        // Without it Ctrl-C is left.
        Err(_) => return tokio::signal::ctrl_c().await.unwrap_or(()),
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
}

fn convert(wanted: &Convert, stopped: &AtomicBool) -> Result<(OpenedImage, Written), Error> {
    let named =
        |path: &Path, error: &dyn std::fmt::Display| Error::from(format!("{}: {error}", path.display()));
    let (source, target) = (&wanted.source, &wanted.target);
    if target.symlink_metadata().is_ok() {
        return Err(named(target, &"it is there already; name another file, or remove it"));
    }
    let file = super::open_image_file(source)?;
    let device = Arc::new(FileDevice::new(file).map_err(|error| named(source, &error))?);
    let opened = open(device, &Limits::default()).map_err(|error| named(source, &error))?;

    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Before the work: where it cannot be made durable, there is no use in doing it.
    let parent = File::open(directory).map_err(|error| named(directory, &error))?;
    // As any new file of the user's: the mask takes from these what it takes everywhere.
    let unfinished = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)
        .map_err(|error| named(directory, &error))?;
    let bar = std::io::stderr().is_terminal().then(|| byte_bar("convert", opened.virtual_size_bytes));
    let mut progress = |done| {
        if let Some(bar) = &bar {
            bar.set_position(done);
        }
        if stopped.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let mut sink = FileSink::new(unfinished.as_file());
    let written =
        write(&opened.device, wanted.format.into(), &mut sink, &mut progress).map_err(
            |error| match &error {
                kiln_disk_format::Error::Sink(_) | kiln_disk_format::Error::InvalidSize(_) => {
                    named(target, &error)
                }
                _ => named(source, &error),
            },
        )?;
    unfinished.as_file().sync_all().map_err(|error| named(target, &error))?;
    unfinished.persist_noclobber(target).map_err(|error| named(target, &error.error))?;
    parent.sync_all().map_err(|error| named(directory, &error))?;
    Ok((opened, written))
}

impl From<ImageFormat> for OutputFormat {
    fn from(format: ImageFormat) -> Self {
        match format {
            ImageFormat::Raw => Self::Raw,
            ImageFormat::Qcow2 => Self::Qcow2,
            ImageFormat::Qcow2Zstd => Self::Qcow2Zstd,
            ImageFormat::Vhd => Self::VhdDynamic,
            ImageFormat::VhdFixed => Self::VhdFixed,
            ImageFormat::Vmdk => Self::Vmdk,
        }
    }
}
