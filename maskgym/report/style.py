"""How the page looks: on paper, on a phone, in the dark."""

STYLE = """
:root { --ink: #1f2430; --quiet: #666d7d; --rule: #dfe2ea; --paper: #ffffff; --shade: #f6f7fa; --link: #2f5fb3;
  --edge: #1f243030 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e6ec; --quiet: #9aa1b2; --rule: #343a48; --paper: #14171e; --shade: #1c2029; --link: #8db4ff;
    --edge: #00000090 }
}
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100% }
body { margin: 0 auto; max-width: 1360px; padding: 2.5rem clamp(1rem, 3vw, 2.5rem) 5rem; color: var(--ink);
  background: var(--paper);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif }
header { border-bottom: 2px solid var(--ink); padding-bottom: 1rem; margin-bottom: 1.5rem }
header p { margin: .3rem 0 0; color: var(--quiet); max-width: 110ch }
.kind { font-size: .8rem; letter-spacing: .08em; text-transform: uppercase }
h1 { font-size: clamp(1.8rem, 4vw, 2.6rem); line-height: 1.15; margin: .2rem 0; overflow-wrap: anywhere }
h2 { font-size: 1.45rem; line-height: 1.25; margin: 3rem 0 .6rem; padding-top: .5rem;
  border-top: 1px solid var(--rule) }
h3 { font-size: 1.12rem; line-height: 1.3; margin: 2.2rem 0 .5rem }
h2, h3 { text-wrap: balance; overflow-wrap: anywhere }
main { min-width: 0 }
main > section:first-child h2 { margin-top: 0; border-top: 0; padding-top: 0 }
p, li { max-width: 80ch; overflow-wrap: anywhere }
main ul { padding-left: 1.1rem }
main li { margin: .25rem 0 }
a { color: var(--link); text-decoration: none }
a:hover { text-decoration: underline }
nav ul { list-style: none; margin: 0; padding: 0; font-size: .9rem }
nav li { margin: .25rem 0 }
nav .level3 { display: none }
@media (max-width: 1049px) { nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem } }
@media (min-width: 1050px) {
  body { display: grid; grid-template-columns: 13rem minmax(0, 1fr); column-gap: 2.5rem; align-items: start }
  header { grid-column: 1 / -1 }
  nav { position: sticky; top: 1.5rem; max-height: calc(100vh - 3rem); overflow-y: auto }
  nav .level3 { display: list-item; padding-left: .9rem; font-size: .94em }
  nav .level2 { margin-top: .6rem }
}
.block, details { margin: 1.1rem 0 1.6rem }
.caption, summary, figcaption { color: var(--quiet); font-size: .9rem }
.caption { margin: 0 0 .5rem; max-width: 100ch }
summary { cursor: pointer; max-width: 100ch }
details[open] > summary { margin-bottom: .6rem }
.scroll { overflow-x: auto; width: fit-content; max-width: 100%;
  border-top: 1.5px solid var(--ink); border-bottom: 1.5px solid var(--ink);
  background: linear-gradient(to left, var(--paper), transparent) right / 2.5rem 100% no-repeat local,
    linear-gradient(to left, var(--edge), transparent) right / .8rem 100% no-repeat scroll }
table { border-collapse: collapse; font-size: .9rem; line-height: 1.3; font-variant-numeric: tabular-nums }
th, td { padding: .42rem .75rem; text-align: right; vertical-align: top; white-space: nowrap }
thead th { font-weight: 600; vertical-align: bottom; white-space: normal; border-bottom: 1px solid var(--ink) }
tbody tr + tr > * { border-top: 1px solid var(--rule) }
tbody tr:hover > * { background: var(--shade) }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--paper);
  font-weight: 500; white-space: nowrap }
thead th:first-child { font-weight: 600 }
th i { display: inline-block; width: .62rem; height: .62rem; border-radius: 50%; margin-right: .45rem }
td small { display: block; color: var(--quiet); font-size: .8em; margin-top: .05rem }
.words th, .words td { text-align: left }
.words td { white-space: normal; overflow-wrap: break-word; max-width: 40rem }
.gallery { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr));
  gap: 1.6rem 2rem; align-items: start }
.photos { grid-template-columns: repeat(auto-fill, minmax(min(100%, 280px), 1fr)) }
figure { margin: 0; max-width: 560px }
figure svg { display: block; width: 100%; height: auto }
figure svg text { font-family: inherit !important }
figure img { max-width: 100%; height: auto; border-radius: 3px; display: block }
figcaption { margin-top: .35rem }
@media (max-width: 600px) { th, td { padding: .38rem .45rem } body { padding-top: 1.2rem } }
@media print { nav { display: none } body { display: block } .scroll { overflow: visible } }
"""
