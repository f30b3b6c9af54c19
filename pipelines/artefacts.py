"""What a run leaves in Prefect for a person to look at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from tideline.layout import Layout


def show_training(task: str, seconds: Mapping[str, float], outcomes: Mapping[str, str]) -> None:
    """What became of each stage; the leaderboard and the link to the report, once there are any."""
    rows = [
        {"stage": name, "outcome": how, "seconds": round(seconds.get(name, 0.0), 1)} for name, how in outcomes.items()
    ]
    create_table_artifact(rows, key=artefact_key("stages", task), description=f"Stages of {task}")
    layout = Layout(task)
    selection = layout.selection / "selection.json"
    if selection.exists():
        text = describe_leaderboard(json.loads(selection.read_text()))
        create_markdown_artifact(text, key=artefact_key("leaderboard", task), description=f"Leaderboard of {task}")
    report = layout.reports / "report.html"
    if report.exists():
        link = Path(report).resolve().as_uri()
        create_link_artifact(link, link_text=f"report of {task}", key=artefact_key("report", task))


def describe_leaderboard(selection: Mapping[str, object]) -> str:
    """selection.json's leaderboard as a Markdown table, the winner in bold."""
    metric, winner, board = selection["metric"], selection["winner"], selection["leaderboard"]
    assert isinstance(board, list)
    lines = [f"| model | {metric} (cross-validated) | deviation | seconds | |", "| --- | ---: | ---: | ---: | --- |"]
    for row in board:
        name = f"**{row['model']}**" if row["model"] == winner else row["model"]
        lines.append(
            f"| {name} | {row['mean']:,.6g} | {row['std']:,.4g} | {row['seconds']:,.1f} | {row['refused'] or ''} |"
        )
    return "\n".join(lines)


def artefact_key(kind: str, task: str) -> str:
    """The name under which Prefect keeps an artefact's versions."""
    return f"{kind}-{task}".replace("_", "-").lower()  # Prefect takes lower case, digits and dashes
