"""What real guests are told and say: cloud-init's user data, the serial console, SSH."""

import base64
import subprocess
import time

# What a guest prints on its console when cloud-init has done its last step.
READY = "KILN-GUEST-READY"
# Boots are emulated where there is no KVM, a few of them at once on two cores.
BOOT_SECONDS = 900
# How ssh itself ends where it got no connection; a guest that boots gives none.
UNREACHABLE = 255


def user_data(*commands):
    """A cloud-config that runs commands at the first boot and then says that the guest is ready, base64."""
    lines = [f"  - {command}" for command in [*commands, f"echo {READY} $(hostname) > /dev/ttyS0"]]
    return base64.b64encode("\n".join(["#cloud-config", "runcmd:", *lines, ""]).encode()).decode()


def console(account, instance, region="ap-guangzhou"):
    """What the guest has printed so far, as far as Kiln keeps it."""
    return account.connection(instance, region)["ConsoleTail"]


def console_shows(account, instance, text, seconds=BOOT_SECONDS, times=1):
    """Waits until the guest has printed a text, so many times; everything that it printed."""
    end = time.monotonic() + seconds
    while (said := console(account, instance)).count(text) < times:
        assert time.monotonic() < end, f"{instance} did not say {text!r} within {seconds} s:\n{said[-3000:]}"
        time.sleep(0.5)
    return said


class KeyPair:
    """A key of a test's own, for logging in."""

    def __init__(self, directory):
        self.file = directory / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.file], check=True)
        self.public_key = self.file.with_suffix(".pub").read_text().strip()

    def ssh(self, account, instance, command, user="root"):
        """Runs a command in a guest, once the guest lets itself be reached; what it printed."""
        port = account.connection(instance)["SshPort"]
        options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR",
                   "IdentitiesOnly=yes", "ConnectTimeout=20"]  # fmt: skip
        options = [part for option in options for part in ("-o", option)]
        line = ["ssh", "-i", self.file, *options, "-p", str(port), f"{user}@127.0.0.1", command]
        end = time.monotonic() + BOOT_SECONDS
        while (done := subprocess.run(line, capture_output=True, text=True)).returncode == UNREACHABLE:
            assert time.monotonic() < end, f"{instance} is not reached by SSH: {done.stderr}"
            time.sleep(1)
        assert done.returncode == 0, f"{command!r} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout
