"""The report: one self-contained page of pictures, and the data behind its plots."""

from tideline.report.evidence import Contender, Evidence
from tideline.report.page import write_report
from tideline.report.plots import write_plots

__all__ = ["Contender", "Evidence", "write_plots", "write_report"]
