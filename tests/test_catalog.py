"""`kiln catalog`: public images from a catalogue in the simplestreams format, served on the loopback address."""

import hashlib
import json

import pytest
from cloud import BEIJING, GUANGZHOU
from file_host import FileHost
from image_files import qcow2, system_disk

PULL = ["catalog", "pull", "--boot-mode", "Legacy BIOS"]


class Catalogue:
    """A catalogue of Ubuntu's shape, which a test adds versions to."""

    def __init__(self, directory):
        self.directory = directory
        self.host = FileHost(directory)
        self.url = f"http://{self.host.address}"
        self.products = {}
        index = {"other": self.entry("gone.json", "image-ids"), "download": self.entry("products.json", "image-downloads")}
        (directory / "index.json").write_text(json.dumps({"format": "index:1.0", "index": index}))

    def entry(self, name, datatype):
        return {"datatype": datatype, "format": "products:1.0", "path": f"streams/v1/{name}"}

    def add(self, serial, seed, release="bookworm", number="12", arch="amd64", variant="", **changed):
        """Publishes another version, whose content the seed decides."""
        name = f"{release}-{serial}.qcow2"
        if not (self.directory / name).exists():
            qcow2(system_disk(self.directory / f"{release}-{serial}.raw", seed, content_mib=4)).read_bytes()
        file = self.directory / name
        item = {
            "ftype": "disk1.img", "path": f"images/{name}", "size": file.stat().st_size,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(), **changed,
        }  # fmt: skip
        product = self.products.setdefault(f"{release}:{arch}:{variant}", {
            "os": "debian", "release": release, "version": number, "arch": arch, "variant": variant,
            "aliases": f"{number},stable", "versions": {},
        })  # fmt: skip
        items = {"disk1.img": item, "root.tar.xz": {**item, "ftype": "root.tar.xz"}}
        product["versions"][serial] = {"items": items}
        (self.directory / "products.json").write_text(json.dumps({"format": "products:1.0", "products": self.products}))
        return item

    def fetched(self, serial):
        return sum(serial in path for path, _ in self.host.requests)


@pytest.fixture
def catalogue(tmp_path):
    catalogue = Catalogue(tmp_path)
    yield catalogue
    catalogue.host.close()


def public(account, region=GUANGZHOU):
    images = account.images(region, Filters=[{"Name": "image-type", "Values": ["PUBLIC_IMAGE"]}])
    return {image.ImageName: image for image in images}


def test_the_newest_version_becomes_public_once_and_follows_the_catalogue(server, bob, catalogue):
    catalogue.add("20240101", 1)
    catalogue.add("20240423", 2)
    catalogue.add("20240101", 3, release="trixie", number="13")
    pull = [*PULL, catalogue.url, "--release", "12", "--to", BEIJING]
    [image] = server.json(*pull)["ImageSet"]
    assert (image["ImageName"], image["ImageFamily"]) == ("debian-12-20240423", "debian-12")
    for region in (GUANGZHOU, BEIJING):
        [(name, seen)] = public(bob, region).items()
        assert (name, seen.ImageState, seen.OsName) == ("debian-12-20240423", "NORMAL", "Debian 12")
    assert catalogue.fetched("20240423") and not catalogue.fetched("20240101")
    fetched = catalogue.fetched("20240423")
    assert server.json(*pull)["ImageSet"] == [image] and catalogue.fetched("20240423") == fetched
    [instance] = bob.launched(image["ImageId"])
    bob.call("TerminateInstances", InstanceIds=[instance])

    catalogue.add("20240501", 4)
    [newer] = server.json(*pull, "--keep", "1")["ImageSet"]
    for region in (GUANGZHOU, BEIJING):
        assert public(bob, region).keys() == {"debian-12-20240501"}
        assert bob.raw("DescribeImageFromFamily", region, ImageFamily="debian-12")["Image"]["ImageName"] == newer["ImageName"]
    server.check_store()


def test_what_a_catalogue_offers_is_listed_without_a_server(server, catalogue):
    catalogue.add("20240101", 1)
    catalogue.add("20240101", 1, release="trixie", number="13", arch="arm64")
    listed = server.json("catalog", "list", catalogue.url, environment={"KILN_ENDPOINT": "http://127.0.0.1:1"})
    assert [(one["Family"], one["Serial"]) for one in listed["OfferSet"]] == [("debian-12", "20240101")]
    listed = server.json("catalog", "list", f"{catalogue.url}/streams/v1/index.json", "--arch", "arm64", "--release", "stable")
    assert [one["Family"] for one in listed["OfferSet"]] == ["debian-13-arm64"]


def test_a_file_that_is_not_the_catalogues_does_not_become_public(server, operator, bob, catalogue):
    catalogue.add("20230101", 1, sha256="0" * 64)
    done = server.run(*PULL, catalogue.url, "--release", "12", check=False)
    assert done.returncode != 0 and "FailedOperation.ImageChecksumMismatch" in done.stderr
    assert "debian-12-20230101" not in public(bob)
    assert public(operator)["debian-12-20230101"].ImageState == "IMPORTFAILED"
    catalogue.add("20230101", 1)
    server.run(*PULL, catalogue.url, "--release", "12")
    assert public(bob)["debian-12-20230101"].ImageState == "NORMAL"


@pytest.mark.parametrize(("changed", "said"), [
    ({"path": "http://127.0.0.2/x.img"}, "leads out of"),
    ({"path": "//127.0.0.2/x.img"}, "leads out of"),
    ({"sha256": None}, "offers no disk images"),
])  # fmt: skip
def test_a_catalogue_that_leads_elsewhere_or_vouches_for_nothing_is_refused(server, catalogue, changed, said):
    catalogue.add("20220101", 1, **changed)
    done = server.run(*PULL, catalogue.url, "--release", "12", check=False)
    assert done.returncode != 0 and said in done.stderr


def test_what_is_asked_for_has_to_be_clear(server, bob, catalogue, tmp_path):
    catalogue.add("20220202", 1)
    catalogue.add("20220202", 1, variant="cloud")
    for arguments, said in (
        (["--release", "7"], "offers no 7 for amd64"),
        (["--release", "12"], "say which with --variant"),
        (["--release", "12", "--arch", "s390x"], "for s390x"),
    ):
        done = server.run(*PULL, catalogue.url, *arguments, check=False)
        assert done.returncode != 0 and said in done.stderr, done.stderr
    [image] = server.json(*PULL, catalogue.url, "--release", "12", "--variant", "cloud")["ImageSet"]
    assert image["ImageFamily"] == "debian-12-cloud"
    done = server.run(*PULL, catalogue.url, "--release", "12", "--variant", "cloud", account=bob, check=False)
    assert done.returncode == 0, "what is public already is there for everybody"
    (tmp_path / "index.json").write_text("<html>")
    done = server.run(*PULL, catalogue.url, "--release", "12", check=False)
    assert "no simplestreams document" in done.stderr
    done = server.run(*PULL, "http://images.example/releases", "--release", "12", check=False)
    assert "--insecure" in done.stderr
