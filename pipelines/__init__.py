"""Runners of the one graph. They hold no maths: every step is a verb of `tideline` or a stage of dvc.yaml."""

import os
from pathlib import Path

# Prefect and DVC read these when they are imported, so they stand here. Whatever the environment says comes first.
# Prefect makes its home, but not the folder that it lies in.
for _name, _value in {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # 20 are too few on a busy machine
    "PREFECT_HOME": str(Path.cwd() / ".tideline" / "prefect"),
}.items():
    os.environ.setdefault(_name, _value)
Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
