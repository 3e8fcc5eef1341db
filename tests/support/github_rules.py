"""What GitHub leaves of the HTML in a notebook: the rules of its html-pipeline, as its source documents them.

Away go styles and classes, SVG whole, and the addresses of pictures that begin with `data:`. Plain elements stay, the
attributes below, and words.
"""

from __future__ import annotations

import re
from html import unescape

import nh3

ELEMENTS = (
    "h1 h2 h3 h4 h5 h6 br b i strong em a pre code img tt div ins del sup sub p ol ul table thead tbody tfoot"
    " blockquote dl dt dd kbd q samp var hr ruby rt rp li tr td th s strike summary details caption figure figcaption"
    " abbr bdo cite dfn mark small span time wbr"
)
ATTRIBUTES = (
    "abbr accept accept-charset accesskey action align alt aria-describedby aria-hidden aria-label aria-labelledby axis"
    " border cellpadding cellspacing char charoff charset checked clear cols colspan color compact coords datetime dir"
    " disabled enctype for frame headers height hreflang hspace id ismap label lang maxlength media method multiple name"
    " nohref noshade nowrap open progress prompt readonly rel rev role rows rowspan rules scope selected shape size span"
    " start summary tabindex title type usemap valign value width itemprop"
)
OWN_ATTRIBUTES = {
    "a": {"href"},
    "img": {"src", "longdesc"},
    "div": {"itemscope", "itemtype"},
    "blockquote": {"cite"},
    "del": {"cite"},
    "ins": {"cite"},
    "q": {"cite"},
}
WHOLE = {"script", "style", "svg", "math", "iframe", "noscript", "title"}  #: these go with what is in them


def as_on_github(html: str) -> str:
    """The HTML that is left."""
    return nh3.clean(
        html,
        tags=set(ELEMENTS.split()),
        attributes={"*": set(ATTRIBUTES.split()), **OWN_ATTRIBUTES},
        clean_content_tags=WHOLE,
        url_schemes={"http", "https", "mailto"},
        link_rel=None,
    )


def words_of(html: str) -> str:
    """What a person reads there: the words, and those of pictures that are missing."""
    alone = re.sub(r'<img[^>]*?alt="([^"]*)"[^>]*>', r"\1", html)
    return unescape(re.sub(r"<[^>]+>", "", alone))
