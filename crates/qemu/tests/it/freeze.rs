//! Freezing and merging the root disk under a guest that never stops writing.

use std::time::Duration;

use kiln_qemu::{DiskName, Error, Machine, RunState, layout, settle_disks};

use crate::world::{World, qemu};

const GRACE: Duration = Duration::from_secs(30);

async fn frozen(world: &World) -> Machine {
    let machine = world.launch().await;
    world.wait_for_rounds(5).await;
    world.make_overlay(layout::NEW_LIVE);
    machine.freeze_disks(&[DiskName::Root]).await.expect("freezes");
    machine
}

#[tokio::test]
async fn a_frozen_disk_is_one_moment_of_the_guest_and_the_guest_goes_on() {
    let world = World::new();
    let machine = frozen(&world).await;
    let bytes = std::fs::read(world.file(layout::ROOT)).expect("readable");
    let moment = World::newest_number(&world.disk(&[layout::ROOT]));
    assert!(moment >= 5);
    world.wait_for_rounds(10).await;
    assert_eq!(std::fs::read(world.file(layout::ROOT)).expect("readable"), bytes, "the frozen file changed");

    machine.frozen_disks().expect("frozen").merge_back().await.expect("merges");
    assert!(!machine.state().frozen && machine.state().run == RunState::Running, "{:?}", machine.state());
    assert_eq!(DiskName::Root.layers(&world.dir), [world.file(layout::ROOT)]);
    world.wait_for_rounds(5).await;
    machine.power_down(GRACE, false).await.expect("powers off");
    let newest = World::newest_number(&world.disk(&[layout::ROOT]));
    assert_eq!(newest as usize, world.rounds(), "every write the guest finished is there");
    let check = ["check", "-q", "-f", "qcow2"];
    crate::world::run(std::process::Command::new("qemu-img").args(check).arg(world.file(layout::ROOT)));
}

#[tokio::test]
async fn freezing_again_and_again_loses_no_write() {
    let world = World::new();
    let machine = world.launch().await;
    for _ in 0..5 {
        world.wait_for_rounds(1).await;
        world.make_overlay(layout::NEW_LIVE);
        let disk = machine.freeze_disks(&[DiskName::Root]).await.expect("freezes");
        world.wait_for_rounds(1).await;
        let twice = machine.freeze_disks(&[DiskName::Root]).await.expect_err("it is frozen");
        assert!(matches!(twice, Error::AlreadyFrozen), "{twice}");
        disk.merge_back().await.expect("merges");
    }
    machine.power_down(GRACE, false).await.expect("powers off");
    assert_eq!(World::newest_number(&world.disk(&[layout::ROOT])) as usize, world.rounds());
}

#[tokio::test]
async fn an_adopted_machine_is_still_frozen_and_merges() {
    let world = World::new();
    drop(frozen(&world).await);
    let machine = Machine::adopt(&world.dir).await.expect("looked").expect("runs");
    world.wait_for_rounds(3).await;
    machine.frozen_disks().expect("still frozen").merge_back().await.expect("merges");
    machine.power_down(GRACE, false).await.expect("powers off");
    assert_eq!(World::newest_number(&world.disk(&[layout::ROOT])) as usize, world.rounds());
}

#[tokio::test]
async fn a_merge_that_lost_its_kiln_is_finished_by_the_next() {
    let world = World::new();
    let machine = frozen(&world).await;
    world.wait_for_rounds(3).await;
    let disk = machine.frozen_disks().expect("frozen");
    // Cancelled, and every handle dropped: at whatever step the merge is, nobody is left to take the next.
    let _ = tokio::time::timeout(Duration::from_millis(3), disk.merge_back()).await;
    drop(machine);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let machine = Machine::adopt(&world.dir).await.expect("looked").expect("runs");
    world.wait_until("the merge's end", || !machine.state().merging).await;
    if let Some(disk) = machine.frozen_disks() {
        disk.merge_back().await.expect("merges");
    }
    world.wait_for_rounds(3).await;
    machine.power_down(GRACE, false).await.expect("powers off");
    assert_eq!(World::newest_number(&world.disk(&[layout::ROOT])) as usize, world.rounds());
}

#[tokio::test]
async fn a_machine_that_died_frozen_keeps_both_layers_until_they_are_merged() {
    let world = World::new();
    let machine = frozen(&world).await;
    world.wait_for_rounds(5).await;
    machine.force_off().await.expect("ends");
    let layers = [world.file(layout::LIVE), world.file(layout::ROOT)];
    assert_eq!(DiskName::Root.layers(&world.dir), layers);
    let before = world.disk(&[layout::LIVE, layout::ROOT]);
    // The end may come between a write and the guest's word that it was done.
    let unsaid = World::newest_number(&before) as usize - world.rounds();
    assert!(unsaid <= 1);

    settle_disks(&qemu().await, &world.config()).await.expect("merges");
    assert_eq!(DiskName::Root.layers(&world.dir), layers[1..]);
    assert!(world.disk(&[layout::ROOT]) == before, "merging changed the disk");
    world.assert_nothing_left();
}

#[tokio::test]
async fn a_machine_starts_with_both_layers_and_merges_while_it_runs() {
    let world = World::new();
    frozen(&world).await.force_off().await.expect("ends");
    let machine = world.launch().await;
    let disk = machine.frozen_disks().expect("both layers");
    // The guest counts anew, so the numbers on the disk are this run's once it went round.
    world.wait_for_rounds(70).await;
    disk.merge_back().await.expect("merges");
    machine.power_down(GRACE, false).await.expect("powers off");
    assert_eq!(World::newest_number(&world.disk(&[layout::ROOT])) as usize, world.rounds());
}

#[tokio::test]
async fn an_unsuitable_overlay_leaves_the_machine_as_it_was() {
    let world = World::new();
    let machine = world.launch().await;
    std::fs::write(world.file(layout::NEW_LIVE), b"no qcow2").expect("written");
    let error = machine.freeze_disks(&[DiskName::Root]).await.expect_err("no qcow2");
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    let error = machine.freeze_disks(&[DiskName::Root]).await.expect_err("no file");
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert_eq!(DiskName::Root.layers(&world.dir).len(), 1);
    assert!(machine.frozen_disks().is_none());
    world.wait_for_rounds(3).await;
    world.make_overlay(layout::NEW_LIVE);
    machine.freeze_disks(&[DiskName::Root]).await.expect("freezes").merge_back().await.expect("merges");
    machine.force_off().await.expect("ends");
}
