//! Virtual machines on QEMU: the command line, the process, the machine protocol (QMP), the cloud-init seed.
//!
//! [`Machine`] is the way in: launch one from a [`MachineConfig`], adopt one that runs already, stop it, freeze its
//! disks. [`detect`] decides between KVM and TCG, [`seed`] makes the disk a guest configures itself from. This crate
//! knows no images, accounts or instances, keeps nothing but the files of [`layout`], and imports none of Kiln's
//! other crates: base disks reach it as a socket, overlays as files.
//!
//! For service files: QEMU processes are children of Kiln's unit, so it needs systemd's `KillMode=process`, or a stop
//! of Kiln ends every machine.

#![deny(unsafe_code)]

mod accelerator;
mod bridge;
mod command_line;
mod config;
mod disk;
mod emulator;
mod error;
mod firmware;
mod freezing;
mod hotplug;
mod launch;
pub mod layout;
mod log;
mod machine;
mod process;
mod qmp;
mod screen;
pub mod seed;
mod spawn;
mod supervisor;

pub use accelerator::{Accelerator, AcceleratorChoice, Detection, PROBE_TIMEOUT, detect};
pub use bridge::MAX_INTERFACE_BYTES;
pub use command_line::RECONNECT_DELAY_SECONDS;
pub use config::{
    DataDisk, Egress, Identity, MAX_DATA_DISKS, MAX_EXPORT_NAME_BYTES, MAX_FORWARDS, MAX_MEMORY_BYTES,
    MAX_NAME_BYTES, MAX_SERIAL_BYTES, MAX_VCPUS, MIN_MEMORY_BYTES, MacAddress, MachineConfig, Network,
    PortForward, UserNetwork,
};
pub use emulator::{OLDEST, PACKAGE, PROGRAM, Qemu, find_qemu};
pub use error::{Error, Result};
pub use firmware::{Firmware, find_firmware, write_uefi_variables};
pub use hotplug::DETACH_TIMEOUT;
pub use launch::{GREETING_TIMEOUT, START_TIMEOUT};
pub use layout::{DiskName, share_base_socket};
pub use log::{CONSOLE_LOG_LIMIT_BYTES, LOG_CHECK_INTERVAL, QEMU_LOG_LIMIT_BYTES, read_console};
pub use machine::{
    EVENT_BACKLOG, Exit, ExitCause, FrozenDisks, MAX_WAITING_REQUESTS, Machine, MachineEvent, MachineState,
    POWER_BUTTON_INTERVAL, QUIT_TIMEOUT, RunState, settle_disks,
};
pub use process::KILL_TIMEOUT;
pub use qmp::{ANSWER_TIMEOUT, MAX_LINE_BYTES, MAX_QUEUED_EVENTS, Qmp, QmpEvent};
