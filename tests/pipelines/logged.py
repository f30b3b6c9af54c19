"""A champion's answers in a prediction log, as a server that had answered them would have left them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tideline.bundle import load_bundle
from tideline.catalog import get_task
from tideline.champion import champion_bundle
from tideline.layout import Layout
from tideline.predictor import Predictor, columns_from_frame
from tideline.predlog import Label, Record, Store, mint_ids


def log_answers(store: Store, root: Path, frame: pd.DataFrame, start: int, labelled: bool = False) -> None:
    """The champion's answers to rows of housing, one a second from `start` (µs); labelled: with the rows' target."""
    task, layout = get_task("housing"), Layout("housing", root)
    bundle = load_bundle(champion_bundle(layout))
    answers = Predictor(bundle).predict(columns_from_frame(task, frame))
    plain = frame[list(task.feature_names)].astype(object).where(frame[list(task.feature_names)].notna(), None)
    names = mint_ids(len(frame))
    store.append(
        [
            Record(
                name, "r", start + i * 1_000_000, "housing", version=bundle.path.name, role="champion", features=row,
                prediction=float(answers.values[i]),
                intervals={str(b.level): [float(b.lower[i]), float(b.upper[i])] for b in answers.intervals},
            )
            for i, (name, row) in enumerate(zip(names, plain.to_dict("records"), strict=True))
        ]
    )  # fmt: skip
    if labelled:
        values = frame[task.target.name].tolist()
        taken = store.record_labels([Label(name, value) for name, value in zip(names, values, strict=True)])
        assert {answer.state for answer in taken} == {"accepted"}
