"""What is changed about a guest after its launch, on a real Debian: key pairs, password, host name.

A guest finds a change at its next start, makes it once, and keeps everything else: its host keys stay, and the user's
own data are not carried out again. The key pair that it starts with is one that the server made.
"""

import base64
import contextlib
import json
import sqlite3
import subprocess

import pytest
from cloud import refused
from conftest import CONFIG
from guests import KeyPair

PASSWORD = "Not-the-0ld-one"
COUNT_RUNS = base64.b64encode(b"#!/bin/sh\necho run >> /root/runs\n").decode()


@pytest.fixture(scope="module")
def server(make_server):
    return make_server(CONFIG).start()


class MadeKeyPair(KeyPair):
    """A key pair that the server made; only its answer has the private key."""

    def __init__(self, account, directory):
        made = account.call("CreateKeyPair", KeyName="made", ProjectId=0).KeyPair
        self.id, self.public_key = made.KeyId, made.PublicKey
        self.file = directory / "made"
        self.file.touch(mode=0o600)
        self.file.write_text(made.PrivateKey)


@pytest.fixture(scope="module")
def made(alice, tmp_path_factory):
    return MadeKeyPair(alice, tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def own(alice, tmp_path_factory):
    """A key pair of the user's own."""
    pair = KeyPair(tmp_path_factory.mktemp("own"))
    pair.id = alice.call("ImportKeyPair", KeyName="own", ProjectId=0, PublicKey=pair.public_key).KeyId
    return pair


@pytest.fixture(scope="module")
def instance(alice, debian, made):
    login = {"KeyIds": [made.id]}
    [instance] = alice.launched(debian, HostName="before", LoginSettings=login, UserData=COUNT_RUNS, InstanceType="S5.SMALL1")
    return instance


def opens(pair, account, instance):
    """Whether a key opens a guest that is known to be up."""
    port = str(account.connection(instance)["SshPort"])
    options = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    line = ["ssh", "-i", pair.file, "-o", "IdentitiesOnly=yes", *options, "-p", port, "root@127.0.0.1", "true"]
    return subprocess.run(line, capture_output=True).returncode == 0


def test_a_made_private_key_fits_its_public_key(alice, made):
    derived = subprocess.run(["ssh-keygen", "-y", "-f", made.file], check=True, capture_output=True, text=True).stdout
    assert derived.split()[:2] == made.public_key.split()[:2]
    [listed] = alice.call("DescribeKeyPairs", KeyIds=[made.id]).KeyPairSet
    assert listed.PrivateKey is None and listed.PublicKey == made.public_key


def test_a_guest_is_changed_at_its_next_start(alice, instance, made, own):
    before = made.ssh(alice, instance, "cloud-init status --wait >/dev/null; cat /root/runs; cat /etc/ssh/ssh_host_*_key.pub")
    assert before.startswith("run\n") and "ssh-ed25519" in before

    # Running: refused, or else restarted.
    keys = {"InstanceIds": [instance], "KeyIds": [own.id]}
    refused("UnsupportedOperation.InstanceStateRunning", alice.call, "AssociateInstancesKeyPairs", **keys)
    alice.call("AssociateInstancesKeyPairs", **keys, ForceStop=True)
    restarted = alice.instance_in("RUNNING", instance, seconds=300)
    assert restarted.LatestOperation == "AssociateInstancesKeyPairs"
    assert restarted.LoginSettings.KeyIds == [own.id]
    after = own.ssh(alice, instance, "cloud-init status --wait >/dev/null; cat /root/runs; cat /etc/ssh/ssh_host_*_key.pub")
    assert after == before
    assert not opens(made, alice, instance)
    assert "passwordauthentication no" in own.ssh(alice, instance, "sshd -T")

    # Stopped: what is changed is found at the next start.
    alice.stopped(instance, "SOFT_FIRST")
    alice.call("ResetInstancesPassword", InstanceIds=[instance], Password=PASSWORD)
    alice.call("ModifyInstancesAttribute", InstanceIds=[instance], HostName="after")
    alice.call("StartInstances", InstanceIds=[instance])
    found = alice.instance_in("RUNNING", instance)
    assert found.HostName == "after"
    shadow = own.ssh(alice, instance, "cloud-init status --wait >/dev/null; hostname; grep ^root: /etc/shadow; sshd -T")
    assert shadow.startswith("after\n") and "passwordauthentication yes" in shadow
    crypted = shadow.splitlines()[1].split(":")[1]
    check = f"python3 -W ignore -c 'import crypt; print(crypt.crypt(\"{PASSWORD}\", \"{crypted}\"))'"
    assert own.ssh(alice, instance, check).strip() == crypted
    assert own.ssh(alice, instance, "cat /root/runs") == "run\n"


def test_the_password_is_kept_no_longer_than_needed(server, instance):
    """The guest has it; the catalogue has forgotten it."""
    with contextlib.closing(sqlite3.connect(f"file:{server.data_dir}/catalog.sqlite?mode=ro", uri=True)) as catalogue:
        [settings] = catalogue.execute("SELECT settings FROM instances WHERE id = ?", [instance]).fetchone()
    assert PASSWORD not in settings and "change" not in json.loads(settings)


def test_what_cannot_be_changed(alice, instance):
    modify = ("ModifyInstancesAttribute",)
    refused("MissingParameter", alice.call, *modify, InstanceIds=[instance])
    both = {"InstanceName": "a", "HostName": "b-c"}
    refused("InvalidParameter.SpecifyOneParameter", alice.call, *modify, InstanceIds=[instance], **both)
    refused("InvalidInstanceId.NotFound", alice.call, *modify, InstanceIds=["ins-00000000"], InstanceName="a")
    refused("InvalidPassword", alice.call, "ResetInstancesPassword", InstanceIds=[instance], Password="short")
    keys = {"InstanceIds": [instance], "KeyIds": ["skey-00000000"]}
    refused("InvalidKeyPairId.NotFound", alice.call, "AssociateInstancesKeyPairs", **keys)


def test_a_reinstalled_guest_is_new_and_opens_to_the_same_keys(alice, instance, own):
    """It has the disk of its image again, new host keys, and carries its user's data out as at a first boot."""
    before = own.ssh(alice, instance, "touch /root/left-behind; sync; cat /etc/ssh/ssh_host_ed25519_key.pub")
    alice.call("ResetInstance", InstanceId=instance, HostName="anew")
    found = alice.instance_in("RUNNING", instance)
    assert (found.HostName, found.LoginSettings.KeyIds) == ("anew", [own.id])
    said = own.ssh(
        alice, instance,
        "cloud-init status --wait >/dev/null; hostname; ls /root; cat /root/runs; cat /etc/ssh/ssh_host_ed25519_key.pub",
    )  # fmt: skip
    assert said.startswith("anew\nruns\nrun\n")
    assert "left-behind" not in said and before not in said
