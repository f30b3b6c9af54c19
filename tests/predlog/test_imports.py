"""The log is light enough for a server: what it does not need at once is imported when it is used."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("alembic", "psycopg", "pyarrow", "pandas", "sklearn", "torch", "tensorflow", "scipy", "numpy")

CODE = f"""
import sys
from tideline.predlog import Label, open_store
with open_store("sqlite:///" + sys.argv[1]) as store, store.writer() as writer:
    writer.submit_labels([Label("x", 1.0)]).result()
print([name for name in {HEAVY!r} if name in sys.modules])
"""


def test_server_imports_neither_frameworks_nor_migrations_of_a_store_that_is_up_to_date(tmp_path: object) -> None:
    said = [
        subprocess.run([sys.executable, "-c", CODE, f"{tmp_path}/x.db"], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert [done.stdout.strip() for done in said] == ["['alembic']", "[]"]
