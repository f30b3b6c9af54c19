"""Takes out of Great Expectations' pages whatever a browser would fetch: CDNs, and images that count who reads them."""

from __future__ import annotations

import shutil
from html import escape
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

# Their pages run on jQuery and are dressed by Bootstrap, both from CDNs: without these no script of theirs works.
EMPTY = {"link", "img", "base", "source", "embed"}
WHOLE = {"script", "style", "iframe", "object", "video", "audio", "svg"}
GUARD = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"


def make_offline(folder: Path) -> None:
    """Rewrite each page below `folder` in the report's style; their fonts, pictures and index go.

    Their index is a table that a script of a CDN fills; links to it lead to index.html beside `folder` instead.
    """
    shutil.rmtree(folder / "static", ignore_errors=True)
    (folder / "index.html").unlink()
    home = files("tideline")
    sheets = (home / "report" / "style.css", home / "data_docs" / "great_expectations.css")
    style = "".join(sheet.read_text(encoding="utf-8") for sheet in sheets)
    for page in sorted(folder.rglob("*.html")):
        page.write_text(strip_page(page.read_text(encoding="utf-8"), style), encoding="utf-8")


def strip_page(page: str, style: str) -> str:
    """The page with its words, its links to its own pages, and nothing else that names an address."""
    stripper = _Stripper()
    stripper.feed(page)
    stripper.close()
    head = f"{GUARD}\n<style>{style}</style>\n</head>"
    return "".join(stripper.kept).replace("</head>", head, 1)


class _Stripper(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.kept: list[str] = []
        self.inside: list[str] = []  # elements that go whole, open now

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in WHOLE:
            self.inside.append(tag)
        elif tag not in EMPTY:
            own = [_write(name, value or "") for name, value in attrs if not _reaches_out(name, value or "")]
            self._keep(f"<{tag}{''.join(own)}>")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in WHOLE:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag not in WHOLE:
            self._keep(f"</{tag}>")
        elif tag in self.inside:
            while self.inside.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        self._keep(data)

    def handle_entityref(self, name: str) -> None:
        self._keep(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self._keep(f"&#{name};")

    def handle_decl(self, decl: str) -> None:
        self._keep(f"<!{decl}>")

    def _keep(self, text: str) -> None:
        if not self.inside:
            self.kept.append(text)


def _reaches_out(name: str, value: str) -> bool:
    """True for an address elsewhere, a script, and a style that fetches a picture."""
    return name.startswith("on") or "//" in value or "url(" in value.lower()


def _write(name: str, value: str) -> str:
    up = "../" if name == "href" and value.endswith("/index.html") else ""
    return f' {name}="{up}{escape(value)}"'
