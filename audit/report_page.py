"""A finding as one page of HTML that opens anywhere: no script, no picture, no other file; it can be printed and filed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from html import escape
from typing import Any

Document = Mapping[str, Any]
Naming = Callable[[object], str]

_STYLE = """
:root { --ink: #1c2430; --soft: #5b6675; --line: #d5dbe3; --good: #0b6b3a; --bad: #a3122a; --paper: #fff; --shade: #f5f7fa }
* { box-sizing: border-box }
body { font: 15px/1.5 "Noto Sans", "Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC", system-ui, sans-serif; color: var(--ink);
  background: var(--paper); max-width: 74rem; margin: 0 auto; padding: 2rem 1.5rem 4rem }
h1 { font-size: 1.6rem; margin: 0 0 .25rem } h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; border-bottom: 2px solid var(--ink) }
.soft { color: var(--soft) } .verdict { font-size: 1.15rem; font-weight: 600; padding: .75rem 1rem; border-left: .4rem solid; margin: 1rem 0;
  background: var(--shade) }
.good { color: var(--good) } .bad { color: var(--bad) } .verdict.good { border-color: var(--good) } .verdict.bad { border-color: var(--bad) }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem } th, td { text-align: left; vertical-align: top; padding: .35rem .6rem;
  border-bottom: 1px solid var(--line) } th { color: var(--soft); font-weight: 600; white-space: nowrap }
code, pre { font: 12.5px/1.45 "Noto Sans Mono", Consolas, Menlo, monospace; overflow-wrap: anywhere }
pre { background: var(--shade); padding: .75rem; white-space: pre-wrap; margin: .5rem 0 }
details { border: 1px solid var(--line); border-radius: .3rem; padding: .4rem .75rem; margin: .35rem 0 } summary { cursor: pointer }
details.bad-case { border-color: var(--bad) } li { margin: .25rem 0 }
@media print { body { max-width: none; padding: 0 } details { break-inside: avoid } summary { list-style: none }
  details::details-content { content-visibility: visible; block-size: auto; display: block } }
"""


def render(document: Document) -> str:
    """The page. Whatever a member wrote is escaped: it can be read here and does nothing."""
    holds = document["holds"]
    names: Mapping[str, str] = document["names"]

    def name(code: object) -> str:
        """A member as people know it."""
        held = names.get(str(code))
        return f"{_text(held)} <code>{_text(code)}</code>" if held else f"<code>{_text(code)}</code>"

    verdict = (
        "Everything that was handed over holds, and nothing contradicts anything else. 所提交材料全部成立，相互之间无矛盾。"
        if holds
        else "Something does not hold. 存在不成立之处。"
    )
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        "<title>Kiteline: finding 审计结论</title>",
        f"<style>{_STYLE}</style></head><body>",
        "<h1>Finding 审计结论</h1>",
        (
            f'<p class="soft">Made {_text(document["time"])} with the offline verifier of Kiteline, from {len(document["files"])} files. '
            "No node, no chain and no record was needed.</p>"
        ),
        f'<p class="verdict {_class(holds)}">{verdict}</p>',
        *_wrong(document),
        *(part for chapter in document["grants"] for part in _grant(chapter, name)),
        *_others(document["others"], name),
        *_files(document["files"], name),
        *_trust(document["trust"], name),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _wrong(document: Document) -> Iterable[str]:
    findings = [("", finding) for finding in document["findings"]]
    findings += [(chapter["grant"], finding) for chapter in document["grants"] for finding in chapter["findings"]]
    if not findings:
        return
    yield "<h2>What does not hold 不成立之处</h2><ol>"
    for grant, finding in findings:
        where = f' <span class="soft">grant {_short(grant)}</span>' if grant else ""
        yield f'<li class="bad"><b>{_text(finding["kind"])}</b> {_text(finding["says"])}{where}</li>'
    yield "</ol>"


def _files(files: Iterable[Document], name: Naming) -> Iterable[str]:
    yield "<h2>What was handed over 提交材料</h2>"
    for file in files:
        about = (
            f"the log of {name(file['member'])}, {_entries(file)}"
            if file.get("member")
            else "malformed, so nothing is proven"
        )
        yield f"{_details(file['holds'])}<summary>{_mark(file['holds'])} "
        yield f"<code>{_text(file['file'])}</code> — {about}</summary>"
        if file["fault"]:
            yield f'<p class="bad">{_text(file["fault"])}</p>'
        yield "<table><tr><th>link 环节</th><th>verdict 结论</th><th>what it says 内容</th><th>rests on 依据</th></tr>"
        for link in file["links"]:
            yield f"<tr><td>{_text(link['name'])}</td><td>{_mark(link['holds'])}</td>"
            yield f"<td>{_text(link['says'])}</td><td>{_text(link['rests_on'])}</td></tr>"
        yield f'</table><p class="soft">SM3 <code>{_text(file["sm3"])}</code>, {file["bytes"]:,} bytes</p></details>'


def _entries(file: Document) -> str:
    first, count = file["first"], file["entries"]
    return f"entry {first}" if count == 1 else f"entries {first} to {first + count - 1}"


def _grant(chapter: Document, name: Naming) -> Iterable[str]:
    yield f"<h2>Grant 授权 <code>{_text(chapter['grant'])}</code></h2>"
    compared = (
        "compared with the chain"
        if chapter["compared_with_chain"]
        else "not compared with the chain: the trust file does not say"
    )
    yield f'<p class="soft">From the logs of {", ".join(map(name, chapter["logs_of"]))}; {compared}.</p>'
    yield from _steps(chapter["steps"], name)


def _others(steps: list[Document], name: Naming) -> Iterable[str]:
    if steps:
        yield "<h2>Entries about no grant 其他记录</h2>"
        yield from _steps(steps, name)


def _steps(steps: Iterable[Document], name: Naming) -> Iterable[str]:
    for step in steps:
        holds = step["fault"] is None and not step["compromised"]
        number = f" · delivery {step['sequence']}" if step["sequence"] else ""
        signed = ", ".join(map(name, step["signed_by"])) or "nobody: it carries no statement"
        yield f"{_details(holds)}<summary>{_mark(holds)} <b>{_text(step['event'])}</b>{number} "
        yield f'<span class="soft">{_text(step["time"])} · log of {name(step["member"])} · entry {step["index"]}</span></summary>'
        yield "<table>"
        rows = [
            ("outcome 结果", _text(step["outcome"])),
            ("whose act 行为方", name(step["actor"])),
            ("statement 声明", _text(step["statement"] or "none")),
            ("signed by 签名方", signed),
            ("proven by 证明文件", f"<code>{_text(step['proven_by'])}</code>"),
            ("detail 说明", _text(step["detail"] or "")),
            ("does not hold 不成立", _text(step["fault"] or "")),
            ("compromised key 失密密钥", ", ".join(map(name, step["compromised"]))),
        ]
        yield from (f"<tr><th>{title}</th><td>{value}</td></tr>" for title, value in rows if value)
        yield "</table>"
        if step["text"]:
            yield f"<pre>{_text(step['text'])}</pre>"
        yield "</details>"


def _trust(trust: Document, name: Naming) -> Iterable[str]:
    yield "<h2>What the auditor knew 审计方已知</h2>"
    if not trust["members"] and not trust["blocks"]:
        yield '<p class="bad">Nothing: no trust file was given, so keys and blocks had to be taken from the files themselves.</p>'
        return
    yield "<table>"
    needed = f"; {trust['cosignatures_needed']} needed" if trust["witnesses"] else ""
    final = f"; {trust['finality_needed']} needed" if trust["finality_members"] else ""
    rows = (
        ("keys of members 成员公钥", ", ".join(map(name, trust["members"]))),
        ("blocks known to be final 已知区块", _text(trust["blocks"])),
        ("contracts 合约", f"<code>{_text(', '.join(trust['contracts']))}</code>"),
        ("witnesses 见证方", ", ".join(map(name, trust["witnesses"])) + needed),
        ("who may state finality 可声明终局者", ", ".join(map(name, trust["finality_members"])) + final),
    )
    yield from (f"<tr><th>{title}</th><td>{value}</td></tr>" for title, value in rows if value)
    yield "</table>"


def _details(holds: bool) -> str:  # noqa: FBT001 - the thing shown
    """What holds can be opened; what does not is open."""
    return "<details>" if holds else '<details class="bad-case" open>'


def _mark(holds: bool) -> str:  # noqa: FBT001 - the thing shown
    return '<span class="good">✔ holds</span>' if holds else '<span class="bad">✘ does not hold</span>'


def _class(holds: bool) -> str:  # noqa: FBT001 - likewise
    return "good" if holds else "bad"


def _short(value: str) -> str:
    return f"<code>{_text(value[:12])}…</code>"


def _text(value: object) -> str:
    """Text as it is, with what could reorder or hide it made visible."""
    return escape("".join(char if char.isprintable() or char in "\n\t" else "�" for char in str(value)))
