"""What the configuration says of a region's place and of single limits holds."""

import shutil

from cloud import BEIJING, GUANGZHOU, refused
from conftest import BARE_DISKS, CONFIG

IMPORT = {"Architecture": "x86_64", "OsType": "Debian", "OsVersion": "12"}
IMAGES_PER_REGION = 2


def region(identifier, short, name, number, more=""):
    zone = f'{{ id = "{identifier}-3", name = "{name} Zone 3", number = {number} }}'
    plain = f'id = "{identifier}"\nshort = "{short}"\nname = "{name}"\ncopying = true\nzones = [{zone}]'
    return f"[[regions]]\n{plain}\n{more}\n"


def two_regions(beijing_dir):
    return region(GUANGZHOU, "gz", "Guangzhou", 100003) + region(BEIJING, "bj", "Beijing", 800003, f'data_dir = "{beijing_dir}"')


def refusal_to_start(server):
    server.spawn()
    assert server.process.wait(30) != 0
    return server.log.read_bytes()[server.log_start :].decode()


def packs(directory):
    return [path for path in directory.glob("store/packs/**/*") if path.is_file()]


def test_a_regions_data_and_limits_are_as_the_configuration_says(make_server, host, small_disk, tmp_path):
    elsewhere = tmp_path / "disk" / "beijing"
    preset = 'preset = "current"\n'
    assert preset in CONFIG
    config = CONFIG.replace(preset, f"{preset}images_per_region = {IMAGES_PER_REGION}\n")
    server = make_server(config + two_regions(elsewhere) + BARE_DISKS).start()
    owner = server.create_account("owner")
    url = host.url("small.qcow2")
    regions = server.data_dir / "regions"

    first = owner.imported(url, "first", BEIJING)
    assert packs(elsewhere) and not packs(regions / GUANGZHOU)
    assert [path.name for path in regions.iterdir()] == [GUANGZHOU], "nothing of Beijing's is in the data directory"
    assert elsewhere.stat().st_mode == (regions / GUANGZHOU).stat().st_mode
    owner.call("SyncImages", BEIJING, ImageIds=[first], DestinationRegions=[GUANGZHOU])
    owner.normal_image(owner.image_named("first").ImageId)
    assert packs(regions / GUANGZHOU)

    owner.imported(url, "second", BEIJING)
    third = {**IMPORT, "ImageUrl": url, "ImageName": "third"}
    message = refused("ImageQuotaLimitExceeded", owner.call, "ImportImage", BEIJING, **third)
    assert f"limit of {IMAGES_PER_REGION} " in message

    # What is there is looked for, by the server and by what works beside it.
    server.stop()
    mounted = elsewhere.rename(tmp_path / "not-mounted")
    for there in (None, "empty", "foreign"):
        if there:
            elsewhere.mkdir(exist_ok=True)
        if there == "foreign":
            (elsewhere / "objects").mkdir()
            (elsewhere / "objects" / "precious").write_text("a stranger's")
        assert "the data of ap-beijing are not in" in refusal_to_start(server)
        failed = server.run("store", "gc", "--config", server.config, check=False)
        assert failed.returncode != 0 and "the data of ap-beijing are not in" in failed.stderr
    assert (elsewhere / "objects" / "precious").exists()
    shutil.rmtree(elsewhere)
    mounted.rename(elsewhere)
    # A copy is not taken for what was copied.
    shutil.copytree(elsewhere, tmp_path / "copy")
    server.config.write_text(server.config.read_text().replace(str(elsewhere), str(tmp_path / "copy")))
    assert "is a copy" in refusal_to_start(server)
    shutil.rmtree(elsewhere)
    server.start()
    assert owner.image(first, BEIJING).ImageState == "NORMAL"
    assert server.check_store()[BEIJING]["Packs"] > 0


def test_another_ones_directory_is_not_taken(make_server, tmp_path):
    place = tmp_path / "beijing"
    config = CONFIG + two_regions(place)
    make_server(config).start().stop()
    assert "data of another installation of Kiln" in refusal_to_start(make_server(config))
    own = place.rename(tmp_path / "own")
    place.mkdir()
    (place / "precious").write_text("a stranger's")
    assert f"{place} is not empty" in refusal_to_start(make_server(config))
    assert [path.name for path in place.iterdir()] == ["precious"] and (own / "region").is_file()
    # Two of one installation.
    server = make_server(CONFIG + two_regions(tmp_path / "third")).start()
    server.stop()
    shutil.copytree(server.data_dir / "regions" / GUANGZHOU, tmp_path / "fourth")
    server.config.write_text(CONFIG + two_regions(tmp_path / "fourth"))
    assert f"are the data of {GUANGZHOU}, not of {BEIJING}" in refusal_to_start(server)
