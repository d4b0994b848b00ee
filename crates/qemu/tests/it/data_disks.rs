//! Data disks: there from the start, coming and going while the guest runs, and frozen together with the root disk.

use std::time::Duration;

use kiln_qemu::{DataDisk, DiskName, Error, Machine, MachineConfig, settle_disks};

use crate::world::{EXPORT, World, qemu};

const GRACE: Duration = Duration::from_secs(30);

fn disk(serial: &str, slot: u8, base: Option<&str>) -> DataDisk {
    DataDisk { serial: serial.into(), slot, base_export: base.map(str::to_owned) }
}

fn name(serial: &str) -> DiskName {
    DiskName::Data(serial.into())
}

async fn launch(world: &World, data_disks: Vec<DataDisk>) -> Machine {
    let config = MachineConfig { data_disks, ..world.config() };
    Machine::launch(&qemu().await, &config).await.expect("starts")
}

#[tokio::test]
async fn a_disk_comes_while_the_guest_runs_and_goes_with_a_reset() {
    let world = World::new();
    world.make_overlay(&name("first").file());
    world.make_overlay(&name("second").file());
    let machine = launch(&world, vec![disk("first", 0, None)]).await;
    machine.attach_disk(disk("second", 1, Some(EXPORT))).await.expect("comes");
    machine.attach_disk(disk("second", 1, Some(EXPORT))).await.expect("is there already");
    world.wait_for_rounds(2).await;

    let taken = machine.attach_disk(disk("third", 1, None)).await.expect_err("neither file nor slot");
    assert!(matches!(taken, Error::Io { .. }), "{taken}");
    world.make_overlay(&name("third").file());
    let taken = machine.attach_disk(disk("third", 1, None)).await.expect_err("the slot is taken");
    assert!(matches!(taken, Error::Refused { .. }), "{taken}");
    machine.attach_disk(disk("third", 2, None)).await.expect("nothing was left of the refused one");

    // The guest knows nothing of disks that go; a restart ends its hold on what it was asked for.
    let (asked, ()) = tokio::join!(machine.detach_disk("second"), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        machine.reset().await.expect("restarts");
    });
    asked.expect("goes");
    machine.detach_disk("second").await.expect("is gone already");
    machine.attach_disk(disk("second", 1, Some(EXPORT))).await.expect("comes again");
    machine.force_off().await.expect("ends");
}

#[tokio::test]
async fn disks_are_frozen_and_merged_together() {
    let world = World::new();
    world.make_overlay(&name("data").file());
    let machine = launch(&world, vec![disk("data", 0, None)]).await;
    world.wait_for_rounds(3).await;
    let both = [DiskName::Root, name("data")];
    for disk in &both {
        world.make_overlay(&disk.new_live_file());
    }
    let frozen = machine.freeze_disks(&both).await.expect("freezes");
    let bytes = std::fs::read(frozen.overlay(&both[1])).expect("readable");
    world.wait_for_rounds(3).await;
    assert_eq!(std::fs::read(frozen.overlay(&both[1])).expect("readable"), bytes);
    assert!(both.iter().all(|disk| disk.layers(&world.dir).len() == 2));
    frozen.merge_back().await.expect("merges");
    assert!(both.iter().all(|disk| disk.layers(&world.dir).len() == 1));
    assert!(machine.frozen_disks().is_none());
    world.wait_for_rounds(2).await;
    machine.power_down(GRACE, false).await.expect("powers off");
}

#[tokio::test]
async fn layers_of_all_disks_are_settled() {
    let world = World::new();
    world.make_overlay(&name("data").file());
    let data_disks = vec![disk("data", 0, None)];
    let machine = launch(&world, data_disks.clone()).await;
    let both = [name("data"), DiskName::Root];
    for disk in &both {
        world.make_overlay(&disk.new_live_file());
    }
    machine.freeze_disks(&both).await.expect("freezes");
    world.wait_for_rounds(2).await;
    machine.force_off().await.expect("ends");
    assert!(both.iter().all(|disk| disk.layers(&world.dir).len() == 2));
    let config = MachineConfig { data_disks, ..world.config() };
    settle_disks(&qemu().await, &config).await.expect("merges");
    assert!(both.iter().all(|disk| disk.layers(&world.dir).len() == 1));
    world.assert_nothing_left();
}

#[tokio::test]
async fn a_disk_that_the_guest_has_not_is_not_frozen() {
    let world = World::new();
    let machine = world.launch().await;
    let disks = [DiskName::Root, name("none")];
    for disk in &disks {
        world.make_overlay(&disk.new_live_file());
    }
    let error = machine.freeze_disks(&disks).await.expect_err("there is no such disk");
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(machine.frozen_disks().is_none());
    assert_eq!(DiskName::Root.layers(&world.dir).len(), 1);
    world.wait_for_rounds(2).await;
    world.make_overlay(&DiskName::Root.new_live_file());
    machine.freeze_disks(&disks[..1]).await.expect("freezes").merge_back().await.expect("merges");
    machine.force_off().await.expect("ends");
}
