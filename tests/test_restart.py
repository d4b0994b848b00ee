"""Kiln stops, and is killed, under a running guest: the guest goes on, its disk reads continue, and the instance is
taken up again.

The guest's root disk is an overlay whose base Kiln itself serves, so while Kiln is away a read of the base waits.
"""

import re
import time

import pytest
from file_host import FileHost
from guests import READY, console_shows, user_data
from kiln_server import wait_until

# Reads the whole disk past the guest's cache, again and again, and counts what it has read on the console.
READER = (
    "sh -c 'n=0; while :; do for at in $(seq 0 4 2044); do "
    "dd if=/dev/vda of=/dev/null bs=4M count=1 skip=$((at / 4)) iflag=direct status=none || echo READ-FAILED; "
    "n=$((n + 1)); echo READS=$n; done; done > /dev/ttyS0 2>&1 &'"
)
READS_AFTER = 20
READS_SECONDS = 60
ERRORS = re.compile(r"READ-FAILED|I/O error|Buffer I/O|EXT4-fs error|hung_task|blocked for more than", re.IGNORECASE)


@pytest.fixture(scope="module")
def guest(alice, guest_image):
    """A booted instance that reads its disk all the time."""
    host = FileHost(guest_image.parent)
    image = alice.imported(host.url(guest_image.name), "debian-12")
    host.close()
    [instance] = alice.launched(image, HostName="reader", UserData=user_data(READER))
    console_shows(alice, instance, READY)
    return instance


def reads(alice, guest):
    """How many reads the guest has counted."""
    counted = re.findall(r"READS=(\d+)\r?\n", alice.connection(guest)["ConsoleTail"])
    return int(counted[-1]) if counted else 0


def reads_beyond(alice, guest, number):
    wait_until(lambda: reads(alice, guest) > number, READS_SECONDS, lambda: f"the guest read on after {number} reads")
    return reads(alice, guest)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_guest_reads_on_when_kiln_is_restarted(server, alice, guest, end):
    pid = server.machine_pid(guest)
    reads_beyond(alice, guest, 0)
    getattr(server, end)()
    # Long enough that the guest runs into the missing base: it reads several times a second.
    time.sleep(3)
    assert server.machine_pids() == [pid], "the guest's machine goes on without Kiln"
    server.start()
    after = reads(alice, guest)
    reads_beyond(alice, guest, after + READS_AFTER)
    assert not ERRORS.findall(alice.connection(guest)["ConsoleTail"])
    assert alice.instance(guest).InstanceState == "RUNNING"
    assert server.machine_pid(guest) == pid, "it is the same machine"


def test_the_guest_waits_for_its_disk_and_not_for_kiln_alone(server, alice, guest):
    """Without Kiln the reads stand still, which shows that the other tests' reads do come from the base."""
    server.kill()
    log = server.instance_dir(guest) / "console.log"
    wait_until(lambda: stands_still(log), 30, "the guest's reads came to wait for the base")
    server.start()
    reads_beyond(alice, guest, reads(alice, guest))


def stands_still(log):
    size = log.stat().st_size
    time.sleep(1.5)
    return log.stat().st_size == size


def test_an_adopted_instance_obeys(server, alice, guest):
    alice.call("RebootInstances", InstanceIds=[guest], StopType="HARD")
    alice.instance_in("RUNNING", guest)
    alice.stopped(guest, "HARD")
    assert server.machine_pids() == []
    alice.call("TerminateInstances", InstanceIds=[guest])
    alice.instance_in("TERMINATED", guest)
    assert not server.instance_dir(guest).exists()


def test_a_machine_that_ended_while_kiln_was_away_is_found_stopped(make_server, host, small_disk):
    """Nobody was there to see it end; it is off, not lost, and can be started."""
    server = make_server().start()
    owner = server.create_account("owner")
    [instance] = owner.launched(owner.imported(host.url("small.qcow2"), "small"))
    server.kill()
    server.end_machines()
    server.start()
    assert owner.instance(instance).InstanceState == "STOPPED"
    owner.call("StartInstances", InstanceIds=[instance])
    owner.instance_in("RUNNING", instance)


def test_what_an_ended_import_left_is_removed_at_the_start(make_server, host, small_disk):
    """As a crash between an import's end and the removal of its file would leave it. What is no import's stays."""
    server = make_server().start()
    owner = server.create_account("owner")
    owner.imported(host.url("small.qcow2"), "small")
    [task] = [one["TaskId"] for one in owner.kiln("DescribeTasks")["TaskSet"]]
    server.kill()
    staging = server.data_dir / "regions" / "ap-guangzhou" / "staging"
    for name in (task, f"{task}.resume", "notes"):
        (staging / name).write_text("left")
    server.start()
    assert [path.name for path in server.staged_files()] == ["notes"]
