//! Start, adoption, the ways to end, and failures.

use std::time::Duration;

use kiln_qemu::{Error, ExitCause, Machine, MachineEvent, MachineState, RunState, layout};

use crate::world::{World, qemu};

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
