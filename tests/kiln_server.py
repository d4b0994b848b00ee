"""A Kiln server of a test's own: started on a free port of the loopback address, over a data directory of its own.

What a server starts outlives it on purpose (its guests' QEMU processes), so `remove` ends these too. They are known
by their working directory, which is the instance's, also where Kiln was killed before it wrote their numbers down.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from cloud import Account

START_SECONDS = 30
STOP_SECONDS = 30
# Not every answer: tests poll.
LOG_FILTER = "info,kiln_tencent_api=warn,s3s=off"


def wait_until(happened, seconds, what):
    """Asks again and again until `happened()` gives something true, which is returned."""
    end = time.monotonic() + seconds
    while True:
        found = happened()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.05)


class KilnServer:
    """One data directory, and the process that serves it, if one does at the moment."""

    def __init__(self, binary, config="", environment=None, data_dir=None):
        self.binary = binary
        self.home = Path(tempfile.mkdtemp(prefix="kiln-test-"))
        self.data_dir = data_dir or self.home / "data"
        self.log = self.home / "server.log"
        self.first_output = self.home / "first-output.json"
        self.environment = {**os.environ, "KILN_LOG": LOG_FILTER, **(environment or {})}
        self.config = self.home / "kiln.toml"
        self.config.write_text(config)
        self.process = None
        self.endpoint = None
        # Whom clients trust, where the server speaks TLS.
        self.authority = str(self.data_dir / "tls" / "authority.pem")

    # ---- the process -----------------------------------------------------------------------------------------------

    def start(self):
        """Starts the server and waits until it is ready."""
        self.spawn()
        wait_until(self.has_started, START_SECONDS, lambda: f"the server started:\n{self.log.read_text()}")
        assert self.endpoint, f"the server ended with status {self.process.returncode}:\n{self.log.read_text()}"
        return self

    def spawn(self):
        """Starts the server's process only."""
        self.endpoint = None
        log = self.log.open("ab")
        self.log_start = log.tell()
        command = [self.binary, "serve", "--data-dir", self.data_dir]
        options = ["--listen", "127.0.0.1:0", "--config", self.config]
        with log, self.first_output.open("ab") as output:
            self.process = subprocess.Popen([*command, *options], stdout=output, stderr=log, env=self.environment)

    def has_started(self):
        said = self.log.read_bytes()[self.log_start :].decode(errors="replace")
        found = re.search(r"^kiln serves at (https?://[0-9.:]+) ", said, re.MULTILINE)
        self.endpoint = found and found.group(1)
        objects = re.search(r"^kiln serves objects at (\S+)$", said, re.MULTILINE)
        self.objects_endpoint = objects and objects.group(1)
        return found or self.process.poll() is not None

    def kill(self):
        """What a power cut does to the process, and to nothing else."""
        self._end(signal.SIGKILL)

    def stop(self):
        """What an operator does."""
        self._end(signal.SIGTERM)
        assert self.process.returncode == 0, f"stopped with {self.process.returncode}:\n{self.log.read_text()}"

    def _end(self, number):
        self.process.send_signal(number)
        self.process.wait(STOP_SECONDS)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def remove(self):
        """Ends everything that this server started, and removes its data."""
        if self.running():
            self.kill()
        self.end_machines()
        shutil.rmtree(self.home, ignore_errors=True)

    def end_machines(self):
        for pid in self.machine_pids():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.machine_pids(), STOP_SECONDS, "the machines ended")

    # ---- what it keeps ---------------------------------------------------------------------------------------------

    def instance_dir(self, instance):
        return self.data_dir / "instances" / instance

    def machine_pids(self):
        """The QEMU processes that live in the data directory."""
        return sorted(pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if self.is_machine(pid))

    def is_machine(self, pid):
        try:
            return os.readlink(f"/proc/{pid}/cwd").startswith(f"{self.data_dir.resolve()}/instances/")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return False

    def machine_pid(self, instance):
        """The QEMU process of an instance, as Kiln wrote it down."""
        return json.loads((self.instance_dir(instance) / "qemu.pid").read_text())["pid"]

    def staged_files(self):
        """What is left of imports that are under way, or were."""
        return sorted(self.data_dir.glob("regions/*/staging/*"))

    def operator(self):
        return self.account(json.loads((self.data_dir / "credentials.json").read_text()))

    def account(self, credentials):
        return Account(self, credentials["Uin"], credentials["SecretId"], credentials["SecretKey"])

    # ---- the command line ------------------------------------------------------------------------------------------

    def run(self, *arguments, account=None, check=True, region=None, environment=None):
        """Runs the command line client, as the operator unless told otherwise."""
        command = [self.binary, "--data-dir", self.data_dir, *arguments]
        environment = {**self.environment, "KILN_ENDPOINT": self.endpoint or "", **(environment or {})}
        if account:
            environment |= {"TENCENTCLOUD_SECRET_ID": account.secret_id, "TENCENTCLOUD_SECRET_KEY": account.secret_key}
        if region:
            environment["TENCENTCLOUD_REGION"] = region
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        if check:
            assert done.returncode == 0, f"{arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done

    def json(self, *arguments, **options):
        """Runs the command line client for its JSON."""
        return json.loads(self.run("--output", "json", *arguments, **options).stdout)

    def create_account(self, nickname, allow_import=True):
        flags = ["--allow-import"] if allow_import else []
        return self.account(json.loads(self.run("account", "create", "--nickname", nickname, *flags).stdout))

    def check_store(self):
        """Asserts that every region's store is whole; what is in it, by region."""
        checked = self.run("--output", "json", "store", "check", "--config", self.config, check=False)
        assert checked.returncode == 0, f"the store is damaged:\n{checked.stdout}{checked.stderr}"
        return {store["Region"]: store for store in json.loads(checked.stdout)["Stores"]}

    def collect(self, *flags):
        """Collects the stores' garbage; what happened, by region."""
        stores = self.json("store", "gc", "--config", self.config, *flags)["Stores"]
        return {store["Region"]: store for store in stores}

    def get(self, path):
        """Status and text of a page."""
        try:
            with urllib.request.urlopen(f"{self.endpoint}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

