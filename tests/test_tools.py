"""What operators and other programs meet beside the API: foreign readers of exports, the files and pages of a server,
its configuration, and what it says where something is missing.
"""

import json
import stat
import subprocess

import pytest
from cloud import refused
from conftest import BARE_DISKS, CONFIG
from image_files import MIB, run, same_disk

NBD_OVER_TCP = """
[nbd]
listen = "127.0.0.1:0"
"""


@pytest.fixture(scope="module")
def server(make_server):
    return make_server(CONFIG + BARE_DISKS + NBD_OVER_TCP).start()


@pytest.fixture(scope="module")
def image(alice, host, small_disk):
    return alice.imported(host.url("small.qcow2"), "small")


# ---- image files -----------------------------------------------------------------------------------------------------

# What `kiln image convert` calls its formats, and what qemu-img calls them.
FORMATS = {"raw": "raw", "qcow2": "qcow2", "qcow2-zstd": "qcow2", "vhd": "vpc", "vhd-fixed": "vpc", "vmdk": "vmdk"}


def convert(server, source, target, form):
    command = [server.binary, "image", "convert", source, target, "--format", form]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("form", FORMATS)
def test_an_image_file_is_converted_to_what_others_read(server, small_disk, tmp_path, form):
    there, back = tmp_path / "there", tmp_path / "back"
    done = convert(server, small_disk, there, form)
    assert done.returncode == 0, done.stderr
    run("qemu-img", "compare", "-f", "raw", "-F", FORMATS[form], small_disk, there)
    done = convert(server, there, back, "raw")
    assert done.returncode == 0 and back.read_bytes() == small_disk.read_bytes(), done.stderr


def test_a_conversion_leaves_all_or_nothing(server, small_disk, tmp_path):
    target, layer = tmp_path / "there.qcow2", tmp_path / "layer.qcow2"
    target.write_text("mine")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", small_disk, layer)
    for source, to, reason in (
        (small_disk, target, "there already"),
        (layer, tmp_path / "flat", "backing file"),
        (tmp_path / "nothing", tmp_path / "flat", "No such file"),
        (small_disk, tmp_path / "no" / "directory", "No such file"),
    ):
        done = convert(server, source, to, "qcow2")
        assert done.returncode == 1 and reason in done.stderr, done.stderr
    assert target.read_text() == "mine"
    assert sorted(tmp_path.iterdir()) == [layer, target]


# ---- exports ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["unix", "tcp"])
def export(server, alice, image, request):
    """An address at which the image can be read: the operator's socket, or its owner's TCP export."""
    if request.param == "unix":
        return server.json("image", "export-url", image)["Url"]
    url = server.run("image", "export-url", image, "--tcp", account=alice).stdout.strip()
    assert url.startswith("nbd://127.0.0.1:")
    return url


def test_qemu_img_reads_an_export(export, small_disk):
    same_disk(export, small_disk)


def test_nbdinfo_describes_an_export(export, small_disk):
    described = json.loads(run("nbdinfo", "--json", export))
    [found] = described["exports"]
    assert (found["export-size"], found["is_read_only"]) == (small_disk.stat().st_size, True)
    assert "base:allocation" in found["contexts"]


def test_nbdcopy_copies_an_export_without_its_holes(export, small_disk, tmp_path):
    copy = tmp_path / "copy.raw"
    run("nbdcopy", export, copy)
    assert copy.read_bytes() == small_disk.read_bytes()
    assert copy.stat().st_blocks * 512 < small_disk.stat().st_size - 16 * MIB


def test_an_export_cannot_be_written(export):
    written = subprocess.run(["qemu-io", "-f", "raw", "-c", "write 0 512", export], capture_output=True, text=True)
    assert written.returncode != 0


def test_the_operators_socket_lists_images_and_is_the_operators(server, image):
    socket = server.data_dir / "run" / "nbd.sock"
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    listed = json.loads(run("nbdinfo", "--json", "--list", f"nbd+unix:///?socket={socket}"))
    assert image in [found["export-name"] for found in listed["exports"]]


def test_tcp_exports_are_not_listed_and_need_their_name(server, alice, image):
    url = server.run("image", "export-url", image, "--tcp", account=alice).stdout.strip()
    address = url.rsplit("/", 1)[0]
    for wrong in (f"{address}/{image}", f"{address}/", f"{address}/{'0' * 48}"):
        assert subprocess.run(["nbdinfo", wrong], capture_output=True).returncode != 0, wrong


# ---- the server's own files and pages --------------------------------------------------------------------------------


def test_the_first_start_keeps_and_prints_the_operators_key_once(server):
    file = server.data_dir / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kept = json.loads(file.read_text())
    assert kept.keys() == {"Uin", "AppId", "SecretId", "SecretKey"}
    assert json.loads(server.first_output.read_text()) == kept
    server.stop()
    server.start()
    assert json.loads(server.first_output.read_text()) == kept, "the second start printed nothing"
    assert server.operator().kiln("DescribeAccounts")["AccountSet"]


def test_health(server):
    assert server.get("/healthz") == (200, "ok\n")
    assert server.get("/readyz") == (200, "ready\n")
    assert server.get("/elsewhere")[0] == 404


def test_a_second_server_stays_out(server, kiln_binary):
    command = [kiln_binary, "--data-dir", server.data_dir, "serve", "--listen", "127.0.0.1:0"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert second.returncode != 0 and "another kiln serves" in second.stderr
    assert server.get("/readyz")[0] == 200


def test_no_secret_is_in_the_log(server, alice):
    alice.images()
    log = server.log.read_text()
    assert alice.secret_key not in log and server.operator().secret_key not in log


# ---- the command line ------------------------------------------------------------------------------------------------


def test_the_example_configuration_serves(make_server, kiln_binary):
    example = subprocess.run([kiln_binary, "example-config"], capture_output=True, text=True, check=True).stdout
    server = make_server(example).start()
    assert server.json("image", "list")["TotalCount"] == 0


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("[transfer]\nallow_privat = []\n", "allow_privat"),
        ("[limits]\npreset = 'generous'\n", "generous"),
        ("[instances]\naccelerator = 'steam'\n", "accelerator"),
        ("listen = 5456\n", "listen"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_an_error(make_server, config, words):
    server = make_server(config)
    server.spawn()
    assert server.process.wait(30) != 0
    assert words in server.log.read_text()


def test_doctor_finds_what_is_there(server):
    findings = {row["What"]: row for row in server.json("doctor")["Findings"]}
    assert findings["QEMU (instances)"]["State"] == "ok"
    assert findings["accelerator"]["State"] in ("KVM", "TCG")


def test_errors_are_told_on_standard_error(server, alice):
    told = server.run("image", "show", "img-00000000", account=alice, check=False)
    assert told.returncode != 0 and told.stdout == ""
    assert "InvalidImageId.NotFound" in told.stderr
    elsewhere = server.run("image", "list", check=False, environment={"KILN_ENDPOINT": "http://127.0.0.1:1"})
    assert elsewhere.returncode != 0 and "kiln serve" in elsewhere.stderr


# ---- a machine without QEMU ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def without_qemu(make_server, tmp_path_factory):
    """A server that finds no program at all."""
    return make_server(environment={"PATH": str(tmp_path_factory.mktemp("empty"))}).start()


def test_without_qemu_everything_but_instances_works(without_qemu, host, small_disk):
    owner = without_qemu.create_account("owner")
    image = owner.imported(host.url("small.qcow2"), "small")
    same_disk(without_qemu.json("image", "export-url", image)["Url"], small_disk)
    sentence = refused("ResourceUnavailable.Qemu", owner.run_instances, image)
    assert "qemu-system-x86" in sentence
    owner.call("DeleteImages", ImageIds=[image])


def test_doctor_says_what_installs_qemu(without_qemu):
    told = without_qemu.run("doctor", check=False)
    assert told.returncode != 0 and "qemu-system-x86" in told.stdout, told.stdout


def test_what_was_found_in_an_image_is_told_before_it_is_shared_and_before_it_is_launched(without_qemu, host, small_disk):
    """Where no guest starts: what is told comes before the refusal, which is told as well."""
    lender, borrower = (without_qemu.create_account(name) for name in ("lender", "borrower"))
    lent, own = (account.imported(host.url("small.qcow2"), "small") for account in (lender, borrower))

    def tells_findings(told):
        """What did not pass, with no word of what did."""
        assert "WARN" in told.stderr and "PrivateKeys" in told.stderr, told.stderr
        assert "PASS" not in told.stderr and "FileFormat" not in told.stderr, told.stderr

    shared = without_qemu.run("--output", "json", "image", "share", lent, borrower.uin, account=lender)
    tells_findings(shared)
    assert "RequestId" in json.loads(shared.stdout)
    for command in (["run", lent], ["reset", "ins-00000000", "--image", lent]):
        told = without_qemu.run("instance", *command, account=borrower, check=False)
        tells_findings(told)
        assert "not reviewed" in told.stderr and lender.uin in told.stderr, told.stderr
        assert told.returncode != 0 and told.stdout == "" and "ResourceUnavailable.Qemu" in told.stderr
    # Of one's own nothing is told, and where there is nothing to look at, only the action's own reason.
    told = without_qemu.run("instance", "run", own, account=borrower, check=False)
    assert "ResourceUnavailable.Qemu" in told.stderr and "reviewed" not in told.stderr and "WARN" not in told.stderr
    told = without_qemu.run("image", "share", "img-00000000", borrower.uin, account=lender, check=False)
    assert told.stderr.count("InvalidImageId.NotFound") == 1 and "could not be shown" not in told.stderr
    assert without_qemu.run("image", "unshare", lent, borrower.uin, account=lender).stderr == ""


def test_nothing_that_is_kept_is_another_local_users(server, alice):
    alice.images()
    kept = [server.data_dir, *server.data_dir.rglob("*")]
    assert len(kept) > 5
    assert [path for path in kept if path.stat().st_mode & 0o007] == []
