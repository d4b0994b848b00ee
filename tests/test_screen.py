"""Instances' screens: DescribeInstanceVncUrl, its tickets, and a VNC viewer that somebody else wrote.

The viewer connects through `kiln instance screen`. The machine has no system: what its firmware prints is enough to see.
"""

import http.client
import socket
import subprocess
import time

import pytest
from cloud import refused
from conftest import BARE_DISKS, CONFIG

SECONDS = 30
SHAKE = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip


@pytest.fixture(scope="module")
def server(make_server):
    return make_server(CONFIG + BARE_DISKS).start()


@pytest.fixture(scope="module")
def instance(alice, host, small_disk):
    [instance] = alice.launched(alice.imported(host.url("small.qcow2"), "small"))
    return instance


def address(alice, instance):
    """Host and path of a screen."""
    url = alice.raw("DescribeInstanceVncUrl", InstanceId=instance)["InstanceVncUrl"]
    scheme, rest = url.split("://")
    assert scheme == "ws"
    host, path = rest.split("/", 1)
    return host, f"/{path}"


def shake(host, path, headers=SHAKE):
    """The status of a WebSocket's beginning, and its connection."""
    connection = http.client.HTTPConnection(host, timeout=SECONDS)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer, connection


def test_a_ticket_opens_a_screen_once(alice, instance):
    host, path = address(alice, instance)
    answer, connection = shake(host, path)
    assert answer.status == 101
    # A binary message of 12 bytes: the protocol's version, which the server says first. It may have come with the answer.
    assert answer.fp.read(14) == b"\x82\x0cRFB 003.008\n"
    again, other = shake(host, path)
    assert again.status == 403 and b"DescribeInstanceVncUrl" in again.read()
    connection.close(), other.close()


@pytest.mark.parametrize("path", ["/vnc/made-up", "/vnc/" + "0" * 48])
def test_what_was_not_issued_opens_nothing(alice, instance, path):
    answer, connection = shake(address(alice, instance)[0], path)
    assert answer.status == 403
    connection.close()


def test_who_has_no_screen(server, alice, bob, instance):
    refused("InvalidInstanceId.NotFound", bob.raw, "DescribeInstanceVncUrl", InstanceId=instance)
    looker = alice.sub_account("looker", "READ_ONLY")
    refused("UnauthorizedOperation", looker.raw, "DescribeInstanceVncUrl", InstanceId=instance)
    host, path = address(alice, instance)
    alice.stopped(instance)
    refused("UnsupportedOperation.InstanceStateStopped", alice.raw, "DescribeInstanceVncUrl", InstanceId=instance)
    # A ticket from before leads nowhere.
    answer, connection = shake(host, path)
    assert answer.status == 503
    connection.close()
    alice.call("StartInstances", InstanceIds=[instance])
    alice.instance_in("RUNNING", instance)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def looks(server, account, instance, picture):
    """Has a viewer take a picture of a screen, through the command line client."""
    port = free_port()
    command = [server.binary, "--data-dir", server.data_dir, "instance", "screen", instance, "--port", str(port)]
    keys = {"TENCENTCLOUD_SECRET_ID": account.secret_id, "TENCENTCLOUD_SECRET_KEY": account.secret_key}
    environment = {**server.environment, **keys, "KILN_ENDPOINT": server.endpoint}
    bridge = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert str(port) in bridge.stderr.readline()
        end = time.monotonic() + SECONDS
        while True:
            viewer = ["vncsnapshot", "-quiet", f"127.0.0.1:{port - 5900}", picture]
            seen = subprocess.run(viewer, capture_output=True, text=True, timeout=SECONDS)
            # A screen on which there is nothing yet is an error to it.
            if seen.returncode == 0:
                break
            assert time.monotonic() < end, seen.stdout + seen.stderr
            time.sleep(0.5)
    finally:
        bridge.terminate()
        bridge.wait()
        bridge.stderr.close()
    assert picture.read_bytes().startswith(b"\xff\xd8") and picture.stat().st_size > 1000


def test_a_viewer_sees_what_the_firmware_prints(server, alice, instance, tmp_path):
    """Also after a restart of the server, whose tickets are new and whose machines are not."""
    looks(server, alice, instance, tmp_path / "before.jpg")
    server.kill()
    server.start()
    alice.instance_in("RUNNING", instance)
    looks(server, alice, instance, tmp_path / "after.jpg")


def test_a_screen_is_shown_over_tls(make_server, host, small_disk, tmp_path):
    server = make_server(CONFIG + BARE_DISKS + '\n[tls]\nmode = "on"\n').start()
    operator = server.operator()
    [instance] = operator.launched(operator.imported(host.url("small.qcow2"), "small"))
    url = operator.raw("DescribeInstanceVncUrl", InstanceId=instance)["InstanceVncUrl"]
    assert url.startswith(server.endpoint.replace("https", "wss"))
    looks(server, operator, instance, tmp_path / "screen.jpg")
