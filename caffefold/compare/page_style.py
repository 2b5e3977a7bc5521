"""How the HTML page looks, in light and in dark."""

STYLE = """
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#1d2330;--soft:#667085;--line:#e4e7ec;
--red:#b42318;--red-bg:#fef1f0;--green:#067647;--green-bg:#ecfaf2;
--amber:#935c06;--amber-bg:#fff8e8;
--blue:#175cd3;--blue-bg:#eef4ff;--code:#f2f4f7}
@media (prefers-color-scheme:dark){:root{--bg:#12151b;--card:#1a1f28;--ink:#e6e9ef;
--soft:#98a2b3;
--line:#2b323e;--red:#ff8a80;--red-bg:#331c1d;--green:#6ce0a5;--green-bg:#15301f;--amber:#f5c163;
--amber-bg:#33290f;--blue:#84adff;--blue-bg:#19263f;--code:#252c37}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,
"Segoe UI",
Roboto,"Helvetica Neue",Arial,sans-serif}
header,main{max-width:1180px;margin:0 auto;padding:0 24px}
header{padding-top:32px}
.brand{margin:0;color:var(--soft);font-size:12px;font-weight:600;letter-spacing:.08em;
text-transform:uppercase}
h1{margin:4px 0 14px;font-size:26px;line-height:1.25;overflow-wrap:anywhere}
h2{margin:0 0 14px;font-size:17px}
section{margin:22px 0;padding:20px 22px;background:var(--card);border:1px solid var(--line);
border-radius:12px}
.badges{display:flex;flex-wrap:wrap;gap:8px}
.badge{padding:3px 11px;border-radius:99px;font-weight:600;font-size:13px}
.removed{--tone:var(--red);--wash:var(--red-bg)}.added{--tone:var(--green);--wash:var(--green-bg)}
.changed{--tone:var(--amber);--wash:var(--amber-bg)}.moved{--tone:var(--blue);--wash:var(--blue-bg)}
.same{--tone:var(--soft);--wash:var(--code)}
.badge,.sign{color:var(--tone);background:var(--wash)}
.sides{display:grid;grid-template-columns:1fr 1fr;gap:0;padding:0;overflow:hidden}
.side{padding:16px 22px;min-width:0}.side+.side{border-left:1px solid var(--line)}
.side h3{display:flex;margin:0 0 8px;font-size:14px;font-weight:600;overflow-wrap:anywhere}
.side h3 b{flex:none;width:22px;height:22px;margin-right:8px;border-radius:6px;
background:var(--code);text-align:center;line-height:22px;font-size:12px}
.side table{border-spacing:0;font-size:14px}
.side th{padding:1px 14px 1px 0;color:var(--soft);font-weight:400;text-align:left;
vertical-align:top}
.side td{overflow-wrap:anywhere}
.note{margin:10px 0;padding:9px 14px;border-left:3px solid var(--amber);background:var(--amber-bg);
border-radius:0 8px 8px 0;font-size:14px;overflow-wrap:anywhere}
.story{display:grid;grid-template-columns:96px 1fr;margin:0;row-gap:10px}
.story dt{padding-top:3px;color:var(--soft);font-size:13px;font-weight:600}
.story dd{margin:0;min-width:0}
.item{display:flex;gap:10px;padding:3px 0}.item>div{min-width:0;overflow-wrap:anywhere}
.sign{flex:none;width:22px;height:22px;border-radius:6px;text-align:center;font-weight:700;
line-height:22px}
.item strong{font-weight:600}.what{margin-left:6px;color:var(--soft)}
.more{margin:2px 0;color:var(--soft);font-size:14px}
.alarm{color:var(--red);font-weight:600}
details>summary{cursor:pointer;color:var(--soft);font-size:13px}
.item details p{margin:4px 0}
code{display:inline-block;margin:0 5px 5px 0;padding:1px 7px;border-radius:5px;
background:var(--code);
font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
.numbers{width:100%;border-spacing:0;font-size:14px;font-variant-numeric:tabular-nums}
.numbers th{color:var(--soft);font-weight:600;text-align:right}
.numbers td{padding:3px 0;border-top:1px solid var(--line);text-align:right}
.numbers :is(th,td):first-child{text-align:left;overflow-wrap:anywhere}
.rows{border:1px solid var(--line);border-radius:8px;overflow:hidden;font-size:13.5px}
.row{display:grid;grid-template-columns:46px minmax(0,1fr) 28px minmax(0,1fr) 46px;
border-top:1px solid var(--line)}
.row.top{border-top:0;background:var(--code)}.row.top b{padding:3px 10px}
.row>i{padding:4px 8px;color:var(--soft);font-style:normal;font-size:12px;text-align:right;
font-variant-numeric:tabular-nums}
.row>span{color:var(--tone);font-weight:700;text-align:center;padding-top:3px}
.a,.b{padding:3px 10px;min-width:0}
.row p{margin:0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap;color:var(--soft);
padding-left:12px}
.row p:hover{white-space:normal;overflow-wrap:anywhere}
.row p.name{padding-left:0;color:var(--ink)}.row p.name b{font-weight:600}
.row em{margin-left:4px;color:var(--soft);font-style:normal;font-size:12.5px}
.row p.why{padding-left:0;font-size:13px}
.removed>.a,.added>.b{background:var(--wash)}
.changed>.a,.changed>.b,.moved>.a,.moved>.b{background:var(--wash)}
.removed>.a b,.added>.b b{color:var(--tone)}
.run{border-top:1px solid var(--line)}
.run>summary{padding:4px 0;background:var(--bg);text-align:center;list-style:none}
.run>summary::-webkit-details-marker{display:none}
.run>summary::before{content:"\\25B8\\00a0"}.run[open]>summary::before{content:"\\25BE\\00a0"}
@media (max-width:760px){.sides,.story{grid-template-columns:1fr}.side+.side{border-left:0;
border-top:1px solid var(--line)}
.row{grid-template-columns:30px minmax(0,1fr) 20px minmax(0,1fr) 30px}}
@media print{body{background:#fff}section{break-inside:avoid-page}}
"""
