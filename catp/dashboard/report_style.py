"""How the page of a run in a file looks, and what its states are called."""

__all__ = ["STATES", "STYLE"]

STATES = {
    "pending": ("○", "pending"), "ready": ("◔", "ready"), "running": ("◐", "running"), "ok": ("✓", "ok"),
    "complete": ("✓", "complete"), "degraded": ("◪", "degraded"), "skipped": ("⤼", "skipped"),
    "failed": ("✕", "failed"), "cancelled": ("■", "cancelled"), "refused": ("$", "stopped by budget"),
    "waiting": ("✋", "awaiting approval"), "waiting_approval": ("✋", "awaiting approval"),
    "poisoned": ("⊘", "not reached"), "interrupted": ("⚡", "interrupted"), "lost": ("?", "lost"),
}  # fmt: skip
"""Shape and word; the same as in static/parts/basics.js."""

STYLE = """
:root { color-scheme: light dark; --page: light-dark(#f6f7f8, #14171a); --card: light-dark(#fff, #1d2125);
  --line: light-dark(#d5dae0, #363d45); --text: light-dark(#16191d, #e8ebee); --muted: light-dark(#57606a, #9aa5b1);
  --bar: light-dark(#9db8dc, #3d5f8c); --hot: light-dark(#c2410c, #fb8b4b); }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 15px/1.45 system-ui, "DejaVu Sans", sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .75rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin: 0 0 .5rem; }
h3 { font-size: .95rem; margin: .8rem 0 .3rem; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 11rem), 1fr)); gap: .5rem 1rem;
  margin: 0 0 1rem; }
dt { color: var(--muted); font-size: .82rem; } dd { margin: 0; overflow-wrap: anywhere; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .8rem;
  margin: 0 0 1rem; }
.scroll { overflow: auto; max-height: 80vh; } .scroll:focus-visible { outline: 2px solid var(--hot); }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; max-height: 30rem; overflow: auto;
  font: .9em ui-monospace, "DejaVu Sans Mono", monospace; unicode-bidi: isolate; }
img { max-width: 100%; height: auto; border: 1px solid var(--line); }
table { border-collapse: collapse; width: 100%; min-width: 48rem; font-size: .9rem; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--muted); font-weight: 600; white-space: nowrap; } tfoot th { color: var(--text); }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
p, footer { color: var(--muted); margin: .4rem 0 0; font-size: .9rem; }
svg text { fill: var(--text); font: 12px system-ui, "DejaVu Sans", sans-serif; }
.bar { fill: var(--bar); } .bar.hot { stroke: var(--hot); stroke-width: 2; }
@media print { .scroll, pre { overflow: visible; max-height: none; } body { background: #fff; } }
""".strip()
