"""What validation found, as pages that load nothing from anywhere."""

from tideline.data_docs.offline import make_offline
from tideline.data_docs.page import render_page

__all__ = ["make_offline", "render_page"]
