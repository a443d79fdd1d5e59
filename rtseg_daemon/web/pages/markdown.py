"""Our own pages and cards, from Markdown to HTML. Raw HTML in them is shown as text, and links lead nowhere unsafe."""

import re
from functools import lru_cache

from markdown_it import MarkdownIt
from markupsafe import Markup

RELATIVE = re.compile(r'<a href="(?!https?://|#)[^"]*">(.*?)</a>', re.DOTALL)
FIRST_HEADING = re.compile(r"^\s*<h1>.*?</h1>\s*", re.DOTALL)
DEEPER = re.compile(r"<(/?)h([1-5])>")


@lru_cache(maxsize=32)
def html_of(text: str) -> Markup:
    """The page without its first heading, whose place the page around it takes, and the others one level deeper.

    Links to files beside it are shown without the link: an installed package has no such files.
    """
    rendered = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    body = RELATIVE.sub(r"\1", FIRST_HEADING.sub("", rendered, count=1))
    deeper = DEEPER.sub(lambda found: f"<{found[1]}h{int(found[2]) + 1}>", body)
    scrolled = deeper.replace("<table>", '<div class="wide" tabindex="0" role="group"><table>')
    return Markup(scrolled.replace("</table>", "</table></div>"))  # noqa: S704 - made above, from text that was escaped
