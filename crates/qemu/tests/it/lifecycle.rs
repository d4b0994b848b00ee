//! Start, adoption, the ways to end, and failures.

use std::process::Command;
use std::time::Duration;

use kiln_qemu::{
    AcceleratorChoice, Error, ExitCause, Machine, MachineConfig, MachineEvent, MachineState, Network,
    PortForward, RunState, detect, layout,
};

use crate::world::{World, qemu, run};

const GRACE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_guest_runs_and_powers_off_when_asked() {
    let world = World::new();
    let machine = world.launch().await;
    world.wait_for_rounds(3).await;
    let running = MachineState { run: RunState::Running, frozen: false, merging: false, exit: None };
    assert_eq!(machine.state(), running);
    let exit = machine.power_down(GRACE, false).await.expect("it powers off");
    assert_eq!(exit.cause, ExitCause::GuestShutdown, "{exit:?}");
    world.assert_nothing_left();
    assert!(Machine::adopt(&world.dir).await.expect("looked").is_none());
}

#[tokio::test]
async fn a_guest_that_ignores_its_power_button_is_forced_off_only_if_asked() {
    let world = World::with_deaf_guest();
    let machine = world.launch().await;
    world.wait_for_rounds(1).await;
    let short = Duration::from_millis(300);
    let refused = machine.power_down(short, false).await.expect_err("it is deaf");
    assert!(matches!(refused, Error::Timeout { .. }), "{refused}");
    world.wait_for_rounds(1).await;
    let exit = machine.power_down(short, true).await.expect("forced");
    assert_eq!(exit.cause, ExitCause::Forced, "{exit:?}");
    world.assert_nothing_left();
}

#[tokio::test]
async fn a_machine_outlives_its_handles_and_is_adopted() {
    let world = World::new();
    let launched = world.launch().await;
    let pid = launched.pid();
    drop(launched);
    world.wait_for_rounds(2).await;
    let again = Machine::launch(&qemu().await, &world.config()).await.expect_err("it runs");
    assert!(matches!(again, Error::AlreadyRunning { pid: found } if found == pid), "{again}");
    let machine = Machine::adopt(&world.dir).await.expect("looked").expect("it runs");
    assert_eq!((machine.pid(), machine.state().run), (pid, RunState::Running));
    let exit = machine.power_down(GRACE, false).await.expect("it powers off");
    assert_eq!(exit.cause, ExitCause::GuestShutdown, "{exit:?}");
    world.assert_nothing_left();
}

#[tokio::test]
async fn a_killed_qemu_is_seen_and_starts_again() {
    let world = World::new();
    let machine = world.launch().await;
    let pid = rustix::process::Pid::from_raw(machine.pid().cast_signed()).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("ours");
    let exit = machine.wait_exited().await;
    assert_eq!(exit.cause, ExitCause::HostSignal, "{exit:?}");
    world.assert_nothing_left();
    let machine = world.launch().await;
    world.wait_for_rounds(1).await;
    machine.force_off().await.expect("ends");
}

#[tokio::test]
async fn a_stopped_qemu_is_killed_when_it_does_not_quit() {
    let world = World::new();
    let machine = world.launch().await;
    let pid = rustix::process::Pid::from_raw(machine.pid().cast_signed()).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("ours");
    let exit = machine.force_off().await.expect("killed");
    assert_eq!(exit.cause, ExitCause::Forced, "{exit:?}");
    world.assert_nothing_left();
}

#[tokio::test]
async fn a_reset_restarts_the_guest() {
    let world = World::new();
    let machine = world.launch().await;
    let mut events = machine.events();
    world.wait_for_rounds(1).await;
    machine.reset().await.expect("reset");
    assert_eq!(events.recv().await.expect("told"), MachineEvent::Reset { by_guest: false });
    world.wait_until("a second greeting", || world.console().matches("kiln guest up").count() == 2).await;
    machine.force_off().await.expect("ends");
}

#[tokio::test]
async fn a_restart_of_the_base_server_is_invisible_to_the_guest() {
    let mut world = World::new();
    let machine = world.launch().await;
    world.wait_for_rounds(2).await;
    world.stop_serving_base();
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.serve_base();
    world.wait_for_rounds(5).await;
    machine.power_down(GRACE, false).await.expect("it powers off");
}

#[tokio::test]
async fn a_machine_whose_base_is_gone_can_still_be_forced_off() {
    let mut world = World::new();
    let machine = world.launch().await;
    world.wait_for_rounds(1).await;
    world.stop_serving_base();
    let exit = machine.force_off().await.expect("ends");
    assert_eq!(exit.cause, ExitCause::Forced, "{exit:?}");
    world.assert_nothing_left();
}

#[tokio::test]
async fn a_failed_start_says_why_and_leaves_nothing() {
    let mut world = World::new();
    let qemu = qemu().await;
    std::fs::write(world.file(layout::ROOT), b"no disk").expect("written");
    let error = Machine::launch(&qemu, &world.config()).await.expect_err("no disk").to_string();
    assert!(error.contains("qcow2"), "{error}");
    world.assert_nothing_left();

    std::fs::remove_file(world.file(layout::ROOT)).expect("removed");
    world.make_overlay(layout::ROOT);
    world.stop_serving_base();
    std::fs::remove_file(world.file(layout::BASE_SOCKET)).expect("removed");
    let error = Machine::launch(&qemu, &world.config()).await.expect_err("no base").to_string();
    assert!(error.contains("base.sock"), "{error}");
    world.assert_nothing_left();
}

#[tokio::test]
async fn a_cancelled_start_leaves_nothing() {
    let world = World::new();
    let (qemu, config) = (qemu().await, world.config());
    for millis in [0, 1, 5, 20, 60] {
        let launch = Machine::launch(&qemu, &config);
        let cancelled = tokio::time::timeout(Duration::from_millis(millis), launch).await;
        if let Ok(machine) = cancelled {
            machine.expect("it starts").force_off().await.expect("ends");
        }
        world.wait_until("the end of the process", || !world.file(layout::PID_FILE).exists()).await;
        world.assert_nothing_left();
    }
    world.launch().await.force_off().await.expect("ends");
}

#[tokio::test]
async fn the_detected_accelerator_runs_guests() {
    let world = World::new();
    let qemu = qemu().await;
    let scratch = tempfile::tempdir().expect("a directory");
    let found = detect(AcceleratorChoice::Auto, &qemu, None, scratch.path()).await.expect("detected");
    let config = MachineConfig { accelerator: found.accelerator, ..world.config() };
    let machine = Machine::launch(&qemu, &config).await.expect("it starts");
    world.wait_for_rounds(2).await;
    machine.power_down(GRACE, false).await.expect("powers off");
    assert_eq!(std::fs::read_dir(scratch.path()).expect("listed").count(), 0, "{}", found.reason);
}

#[tokio::test]
async fn a_forwarded_port_is_open_on_the_loopback_address_while_the_machine_runs() {
    let world = World::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let host_port = free.local_addr().expect("bound").port();
    drop(free);
    let mut config = world.config();
    if let Network::User(network) = &mut config.network {
        network.forwards.push(PortForward { host_port, guest_port: 22 });
    }
    let machine = Machine::launch(&qemu().await, &config).await.expect("it starts");
    std::net::TcpStream::connect(("127.0.0.1", host_port)).expect("forwarded");
    let taken = MachineConfig { dir: World::new().dir.clone(), ..config };
    assert!(Machine::launch(&qemu().await, &taken).await.is_err(), "the port is in use");
    machine.force_off().await.expect("ends");
    std::net::TcpStream::connect(("127.0.0.1", host_port)).expect_err("closed");
}

/// Removes the network interface it names.
struct Interface(&'static str);

impl Drop for Interface {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "delete", "dev", self.0]).status();
    }
}

#[tokio::test]
async fn a_bridged_machine_has_a_port_on_the_bridge_for_as_long_as_it_runs() {
    let bridge = Interface("kilntestbr");
    run(Command::new("ip").args(["link", "add", "dev", bridge.0, "type", "bridge"]));
    let ports = || std::fs::read_dir("/sys/class/net/kilntestbr/brif").expect("a bridge").count();
    let world = World::new();
    let config = MachineConfig { network: Network::Bridge { bridge: bridge.0.into() }, ..world.config() };
    let machine = Machine::launch(&qemu().await, &config).await.expect("it starts");
    assert_eq!(ports(), 1);
    drop(machine);
    let machine = Machine::adopt(&world.dir).await.expect("looked").expect("it runs");
    machine.force_off().await.expect("ends");
    assert_eq!(ports(), 0);
    let missing = MachineConfig { network: Network::Bridge { bridge: "kilnnone".into() }, ..config };
    Machine::launch(&qemu().await, &missing).await.expect_err("no such bridge");
    world.assert_nothing_left();
}

#[tokio::test]
async fn a_full_host_disk_stops_the_guest_until_there_is_room() {
    let world = World::on_small_disk("1m");
    // Room is left for Kiln's files and the console, not for the first clusters of the overlay.
    let filler = world.file("filler");
    std::fs::write(&filler, vec![1; 1 << 20]).expect_err("the file system is full");
    let file = std::fs::File::options().write(true).open(&filler).expect("there");
    file.set_len(file.metadata().expect("there").len() - (24 << 10)).expect("shortened");
    drop(file);
    let machine = world.launch().await;
    let mut events = machine.events();
    world.wait_until("the pause", || machine.state().run == RunState::OutOfSpace).await;
    let error = MachineEvent::DiskError { operation: "write".into(), out_of_space: true };
    let mut heard = Vec::new();
    while let Ok(event) = events.try_recv() {
        heard.push(event);
    }
    assert!(heard.contains(&error), "{heard:?}");
    std::fs::remove_file(filler).expect("removed");
    machine.resume().await.expect("goes on");
    world.wait_for_rounds(3).await;
    machine.force_off().await.expect("ends");
}
