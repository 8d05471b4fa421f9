"""The page that `dvc plots` fills, with its scripts inside: DVC's own loads them from a CDN.

`python -m inverse_rlhf.show.plots_page PATH` writes it; `make install` does, and tells DVC.
"""

import sys
from pathlib import Path

import vl_convert

from inverse_rlhf.files import atomic

VEGA_LITE = "5.21"
"""Of the major version that DVC's charts are written in."""
_TEMPLATE = Path(__file__).with_name("templates") / "plots.html"
_PLACEHOLDERS = ("{scripts}", "{plot_divs}", "{refresh_tag}")


def plots_page() -> str:
    """A template for `plots.html_template` of DVC, which replaces its placeholders."""
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    # What would end the script or be replaced by DVC may occur in its strings only.
    assert not any(placeholder in bundle for placeholder in _PLACEHOLDERS)
    bundle = bundle.replace("</script", r"<\/script")
    # In a block of its own, since its many short names are no business of the page's.
    return _TEMPLATE.read_text(encoding="utf-8").replace("__VEGA__", f"{{{bundle}}}")


def main() -> None:
    """Write the page to the path that is given."""
    with atomic(sys.argv[1]) as temporary:
        temporary.write_text(plots_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
