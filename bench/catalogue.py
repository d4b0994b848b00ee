"""A catalogue with many images: copies of the rows of one real image, in accounts that are copies of one account.

The rows are copied whatever columns they have, while the server does not run. The content of all images is that of the
one, so only the catalogue grows.
"""

import contextlib
import sqlite3
import string
from pathlib import Path

IMAGES_PER_ACCOUNT = 50
DIGITS = string.digits + string.ascii_lowercase
FIRST_UIN, FIRST_APP_ID = 900_000_000_000, 9_000_000_000


def fill(data_dir: Path, image: str, count: int):
    """Brings a catalogue to `count` images: the account of `image` gets as many as every other."""
    with contextlib.closing(sqlite3.connect(data_dir / "catalog.sqlite")) as catalogue, catalogue:
        catalogue.row_factory = sqlite3.Row
        [row], [disk] = rows(catalogue, "images", "id", image), rows(catalogue, "image_disks", "image", image)
        [snapshot] = rows(catalogue, "snapshots", "id", disk["snapshot"])
        [account] = rows(catalogue, "accounts", "uin", row["owner"])
        [present] = catalogue.execute("SELECT COUNT(*) FROM images").fetchone()
        for number in range(present, count):
            holder, position = divmod(number, IMAGES_PER_ACCOUNT)
            owner = row["owner"] if holder == 0 else FIRST_UIN + holder
            if holder > 0 and (position == 0 or number == present):
                insert(catalogue, "accounts", {**account, "uin": owner, "app_id": FIRST_APP_ID + holder}, "OR IGNORE")
            made = f"img-{identifier(number)}"
            copied = {"id": made, "owner": owner, "name": f"copy {number}", "created_at": row["created_at"] + number}
            insert(catalogue, "images", {**row, **copied})
            of_it = {"id": f"snap-{identifier(number)}", "owner": owner, "of_image": made, "source_image": made}
            insert(catalogue, "snapshots", {**snapshot, **of_it})
            insert(catalogue, "image_disks", {**disk, "image": made, "snapshot": of_it["id"]})


def rows(catalogue, table: str, column: str, value) -> list[dict]:
    return [dict(row) for row in catalogue.execute(f"SELECT * FROM {table} WHERE {column} = ?", [value])]


def insert(catalogue, table: str, row: dict, otherwise: str = ""):
    places = ", ".join("?" * len(row))
    catalogue.execute(f"INSERT {otherwise} INTO {table} ({', '.join(row)}) VALUES ({places})", list(row.values()))


def identifier(number: int) -> str:
    """A number as the eight characters of an identifier."""
    text = ""
    for _ in range(8):
        number, digit = divmod(number, len(DIGITS))
        text = DIGITS[digit] + text
    return text
