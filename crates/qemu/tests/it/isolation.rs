//! What a guest that broke out of QEMU would find itself with.

use std::os::fd::IntoRawFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use kiln_qemu::{Machine, MachineConfig, layout, share_base_socket};

use crate::world::{NOBODY, World, qemu};

fn status_field(pid: u32, field: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.expect("a field").split_whitespace().collect::<Vec<_>>().join(" ")
}

async fn launch_as_nobody(world: &World) -> Machine {
    let config = MachineConfig { identity: Some(NOBODY), ..world.config() };
    Machine::launch(&qemu().await, &config).await.expect("it starts")
}

#[tokio::test]
async fn qemu_has_no_privilege_and_cannot_get_one() {
    let world = World::new();
    let machine = launch_as_nobody(&world).await;
    let field = |name| status_field(machine.pid(), name);
    assert_eq!(field("Uid"), "65534 65534 65534 65534");
    assert_eq!(field("Gid"), "65534 65534 65534 65534");
    assert_eq!(field("Groups"), "");
    assert_eq!(field("CapEff"), "0000000000000000");
    assert_eq!(field("CapPrm"), "0000000000000000");
    assert_eq!(field("NoNewPrivs"), "1");
    assert_eq!(field("Seccomp"), "2");
    let environment = std::fs::read(format!("/proc/{}/environ", machine.pid())).expect("readable");
    assert!(environment.is_empty(), "{}", String::from_utf8_lossy(&environment));
    machine.force_off().await.expect("ends");
}

#[tokio::test]
async fn qemu_is_in_its_own_session() {
    let world = World::new();
    let machine = world.launch().await;
    let pid = rustix::process::Pid::from_raw(machine.pid().cast_signed()).expect("a process");
    assert_eq!(rustix::process::getsid(Some(pid)).expect("it runs"), pid);
    machine.force_off().await.expect("ends");
}

#[tokio::test]
async fn qemu_opens_nothing_but_its_own_files() {
    let world = World::new();
    // As if Kiln had been started with a descriptor it does not know of.
    let foreign = tempfile::tempfile().expect("a file");
    let inherited = rustix::io::dup(&foreign).expect("duplicated").into_raw_fd();
    let machine = launch_as_nobody(&world).await;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{}/fd", machine.pid())).expect("root looks") {
        let target = std::fs::read_link(entry.expect("listed").path()).expect("readable");
        let target = target.to_string_lossy().into_owned();
        // Sockets and events have no path.
        if target.starts_with('/') && target != "/dev/null" {
            files.push(target.rsplit('/').next().expect("a name").to_owned());
        }
    }
    assert!(inherited > 2);
    files.sort();
    files.dedup();
    assert_eq!(files, ["console.log", "qemu.log", "root.qcow2"]);
    machine.force_off().await.expect("ends");
}

#[tokio::test]
async fn an_unprivileged_machine_does_all_that_a_privileged_one_does() {
    let mut world = World::new();
    let machine = launch_as_nobody(&world).await;
    world.wait_for_rounds(2).await;
    let meta = std::fs::metadata(&world.dir).expect("there");
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (0, NOBODY.gid, 0o710));

    world.stop_serving_base();
    world.serve_base();
    share_base_socket(&world.dir, Some(NOBODY)).expect("given");
    world.wait_for_rounds(2).await;

    world.make_overlay(layout::NEW_LIVE);
    let disk = machine.freeze_disks(&[kiln_qemu::DiskName::Root]).await.expect("freezes");
    world.wait_for_rounds(2).await;
    disk.merge_back().await.expect("merges");
    machine.power_down(Duration::from_secs(30), false).await.expect("powers off");
    world.assert_nothing_left();
}
