"""Where everything lies, relative to the project's root. The one place that knows paths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """Paths of one task. Every path below data/, work/, models/ and reports/ is written by one stage alone."""

    task: str
    root: Path = Path()

    @property
    def raw(self) -> Path:
        """Folder of data.parquet and manifest.json (provenance)."""
        return self.root / "data" / self.task / "raw"

    @property
    def labelled(self) -> Path:
        """Folder of the labelled snapshot (labelled.py); empty before the first one."""
        return self.root / "data" / self.task / "labelled"

    @property
    def quarantine(self) -> Path:
        """Folder of windows of the log that may not be learnt from, each with the reasons."""
        return self.root / "data" / self.task / "quarantine"

    @property
    def validation(self) -> Path:
        """Folder of validation.json: the evidence that the raw data passed; downstream stages depend on it."""
        return self.root / "data" / self.task / "validation"

    @property
    def data_docs(self) -> Path:
        """Folder of index.html, what validation found, and Great Expectations' own pages."""
        return self.root / "reports" / self.task / "data_docs"

    @property
    def split(self) -> Path:
        """Folder of train.parquet, test.parquet, split.json (hash, shares), folds.npy; maybe fresh.parquet."""
        return self.root / "data" / self.task / "split"

    @property
    def preparation(self) -> Path:
        """preparation.json: chosen values of the searchable steps."""
        return self.root / "data" / self.task / "preparation"

    @property
    def features(self) -> Path:
        """Folder of preprocess.joblib, preprocess.onnx, matrices.npz, transformed.npz, features.json."""
        return self.root / "data" / self.task / "features"

    def tune(self, model: str) -> Path:
        """Folder of best.json: the parameters to train with, and where they come from."""
        return self.root / "work" / self.task / "tune" / model

    @property
    def studies(self) -> Path:
        """Folder of Optuna's SQLite studies; outside the graph, so that a killed search continues."""
        return self.root / ".tideline" / "studies" / self.task

    def train(self, model: str) -> Path:
        """Folder of model.joblib (blend: blend.json), oof.npy, train.json."""
        return self._of(model, "train")

    def export(self, model: str) -> Path:
        """Folder of net.onnx (from the float32 matrix), model.onnx (from raw columns) and parity.json."""
        return self._of(model, "export")

    def _of(self, model: str, step: str) -> Path:
        # The blend reads every other model's folder, so its own may not lie among them.
        inner = ("blend", step) if model == "blend" else (step, model)
        return self.root.joinpath("work", self.task, *inner)

    @property
    def selection(self) -> Path:
        """Folder of selection.json: leaderboard, refused models, winner, intervals."""
        return self.root / "work" / self.task / "selection"

    @property
    def candidate(self) -> Path:
        """Folder of the selected bundle before it is scored."""
        return self.root / "work" / self.task / "candidate"

    @property
    def reports(self) -> Path:
        """Folder of metrics.json, report.html, plots/ and data_docs/."""
        return self.root / "reports" / self.task

    @property
    def bundle(self) -> Path:
        """Folder of what ships: model.onnx, manifest.json, reference.json."""
        return self.root / "models" / self.task / "bundle"

    @property
    def decisions(self) -> Path:
        """Every decision about retraining, also the decision to wait (retraining/journal.py)."""
        return self.registry / "retraining.jsonl"

    @property
    def registry(self) -> Path:
        """Folder of versions/, champion.json and ledger.jsonl."""
        return self.root / "registry" / self.task
