"""How Sphinx builds the site from the pages that tools/site.py lays out; nothing is asked of any server."""

import re
import sys
from pathlib import Path

from docutils import nodes
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from companion.formats import mathml  # noqa: E402

project = "reidlib"
author = "The reidlib authors"
html_title = "reidlib"
language = "en"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

html_theme = "sphinx_book_theme"
html_static_path = [str(ROOT / "site" / "_static")]
html_css_files = ["site.css"]
html_theme_options = {
    "home_page_in_toc": True,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "navigation_with_keys": True,
    "navbar_persistent": [],
}
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"

myst_enable_extensions = ["dollarmath", "attrs_block"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_render_markdown_format = "myst"
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
nb_number_source_lines = False
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header", "misc.highlighting_failure"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
maximum_signature_line_length = 88
python_use_unqualified_type_names = True


def formula(translator, node: nodes.Element) -> None:
    display = "block" if isinstance(node, nodes.math_block) else "inline"
    drawn = mathml(node.astext(), display=display)
    translator.body.append(f'<div class="formula">{drawn}</div>' if display == "block" else drawn)
    raise nodes.SkipNode


def lazy(app, pagename, templatename, context, doctree) -> None:
    """Pictures are loaded when they come into sight, and keep their place until then."""

    def sized(match: re.Match) -> str:
        file = Path(app.outdir, "_images", match[1])
        if not file.is_file() or file.suffix == ".svg":
            return f'<img loading="lazy" decoding="async"{match[0][4:]}'
        width, height = Image.open(file).size
        return f'<img loading="lazy" decoding="async" width="{width}" height="{height}"{match[0][4:]}'

    if "body" in context:
        context["body"] = re.sub(r'<img\b[^>]*?src="[^"]*?_images/([^"]+)"', sized, context["body"])


def plain_bars(app, what, name, obj, options, lines: list[str]) -> None:
    """Bars in docstrings are norms, not substitutions; source and deviation are paragraphs."""
    text = "\n".join(lines).replace("|", r"\|")
    noted = re.compile(r"^(Source|Deviation): (.+(?:\n +.+)*)", re.MULTILINE)
    text = noted.sub(lambda m: f"\n**{m[1]}:** " + re.sub(r"\n +", " ", m[2]) + "\n", text)
    lines[:] = text.split("\n")


def setup(app) -> None:
    app.connect("autodoc-process-docstring", plain_bars)
    app.add_html_math_renderer("mathml", (formula, None), (formula, None))
    app.connect("html-page-context", lazy)
