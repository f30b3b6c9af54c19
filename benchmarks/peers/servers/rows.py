"""The columns as a pydantic model with their ranges and categories."""

from typing import Annotated, Literal

from onnx_model import read_columns
from pydantic import BaseModel, ConfigDict, Field, create_model


def make_row() -> type[BaseModel]:
    """What one would write by hand: `median_income: float = Field(ge=0.4999, le=15.0001)`, and so on."""
    fields = {}
    for column in read_columns():
        if column["kind"] == "category":
            kind = Literal[tuple(column["categories"])]
        else:
            kind = Annotated[float, Field(ge=column.get("minimum"), le=column.get("maximum"))]
        fields[column["name"]] = (kind | None, None) if column.get("missing") else (kind, ...)
    return create_model("Row", __config__=ConfigDict(extra="forbid"), **fields)


Row = make_row()


class Rows(BaseModel):
    """A request."""

    rows: list[Row]


class Predictions(BaseModel):
    """An answer."""

    predictions: list[float]
