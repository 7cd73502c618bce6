"""A finding as one page of HTML that opens anywhere: no script, no picture, no other file; it can be printed and filed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

Document = Mapping[str, Any]

_STYLE = """
:root { --ink: #1c2430; --soft: #5b6675; --line: #d5dbe3; --good: #0b6b3a; --bad: #a3122a; --paper: #fff; --shade: #f5f7fa }
* { box-sizing: border-box }
body { font: 15px/1.5 "Noto Sans", "Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC", system-ui, sans-serif; color: var(--ink);
  background: var(--paper); max-width: 74rem; margin: 0 auto; padding: 2rem 1.5rem 4rem }
h1 { font-size: 1.6rem; margin: 0 0 .25rem } h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; border-bottom: 2px solid var(--ink) }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem }
.soft { color: var(--soft) } .verdict { font-size: 1.15rem; font-weight: 600; padding: .75rem 1rem; border-left: .4rem solid; margin: 1rem 0;
  background: var(--shade) }
.good { color: var(--good) } .bad { color: var(--bad) } .verdict.good { border-color: var(--good) } .verdict.bad { border-color: var(--bad) }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem } th, td { text-align: left; vertical-align: top; padding: .35rem .6rem;
  border-bottom: 1px solid var(--line) } th { color: var(--soft); font-weight: 600; white-space: nowrap }
code, pre { font: 12.5px/1.45 "Noto Sans Mono", Consolas, Menlo, monospace; overflow-wrap: anywhere }
pre { background: var(--shade); padding: .75rem; white-space: pre-wrap; margin: .5rem 0 }
details { border: 1px solid var(--line); border-radius: .3rem; padding: .4rem .75rem; margin: .35rem 0 } summary { cursor: pointer }
details.bad-case { border-color: var(--bad) } li { margin: .25rem 0 }
@media print { body { max-width: none; padding: 0 } details { break-inside: avoid } }
"""


def render(document: Document) -> str:
    """The page. Whatever a member wrote is escaped: it can be read here and does nothing."""
    holds = document["holds"]
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
        *_files(document["files"]),
        *(part for chapter in document["grants"] for part in _grant(chapter)),
        *_others(document["others"]),
        *_trust(document["trust"]),
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


def _files(files: Iterable[Document]) -> Iterable[str]:
    yield "<h2>What was handed over 提交材料</h2>"
    for file in files:
        about = (
            f"the log of {_text(file['member'])}, {_entries(file)}"
            if file.get("member")
            else "malformed, so nothing is proven"
        )
        yield f'<details class="{"" if file["holds"] else "bad-case"}"><summary>{_mark(file["holds"])} '
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


def _grant(chapter: Document) -> Iterable[str]:
    yield f"<h2>Grant 授权 <code>{_text(chapter['grant'])}</code></h2>"
    compared = (
        "compared with the chain"
        if chapter["compared_with_chain"]
        else "not compared with the chain: the trust file does not say"
    )
    yield f'<p class="soft">From the logs of {_text(", ".join(chapter["logs_of"]))}; {compared}.</p>'
    yield from _steps(chapter["steps"])


def _others(steps: list[Document]) -> Iterable[str]:
    if steps:
        yield "<h2>Entries about no grant 其他记录</h2>"
        yield from _steps(steps)


def _steps(steps: Iterable[Document]) -> Iterable[str]:
    for step in steps:
        holds = step["fault"] is None and not step["compromised"]
        number = f" · delivery {step['sequence']}" if step["sequence"] else ""
        signed = ", ".join(step["signed_by"]) or "nobody: it carries no statement"
        yield f'<details class="{"" if holds else "bad-case"}"><summary>{_mark(holds)} <b>{_text(step["event"])}</b>{number} '
        yield f'<span class="soft">{_text(step["time"])} · log of {_text(step["member"])} · entry {step["index"]}</span></summary>'
        yield "<table>"
        rows = [
            ("outcome 结果", step["outcome"]),
            ("whose act 行为方", step["actor"]),
            ("statement 声明", step["statement"] or "none"),
            ("signed by 签名方", signed),
            ("proven by 证明文件", step["proven_by"]),
            ("detail 说明", step["detail"]),
            ("does not hold 不成立", step["fault"]),
            ("compromised key 失密密钥", ", ".join(step["compromised"])),
        ]
        for name, value in rows:
            if value:
                yield f"<tr><th>{name}</th><td>{_text(value)}</td></tr>"
        yield "</table>"
        if step["text"]:
            yield f"<pre>{_text(step['text'])}</pre>"
        yield "</details>"


def _trust(trust: Document) -> Iterable[str]:
    yield "<h2>What the auditor knew 审计方已知</h2>"
    if not trust["members"] and not trust["blocks"]:
        yield '<p class="bad">Nothing: no trust file was given, so keys and blocks had to be taken from the files themselves.</p>'
        return
    yield "<table>"
    for name, value in (
        ("keys of members 成员公钥", ", ".join(trust["members"])),
        ("blocks known to be final 已知区块", trust["blocks"]),
        ("contracts 合约", ", ".join(trust["contracts"])),
        (
            "witnesses 见证方",
            f"{', '.join(trust['witnesses'])}; {trust['cosignatures_needed']} needed" if trust["witnesses"] else "",
        ),
    ):
        if value:
            yield f"<tr><th>{name}</th><td>{_text(value)}</td></tr>"
    yield "</table>"


def _mark(holds: bool) -> str:  # noqa: FBT001 - the thing shown
    return '<span class="good">✔ holds</span>' if holds else '<span class="bad">✘ does not hold</span>'


def _class(holds: bool) -> str:  # noqa: FBT001 - likewise
    return "good" if holds else "bad"


def _short(value: str) -> str:
    return f"<code>{_text(value[:12])}…</code>"


def _text(value: object) -> str:
    """Text as it is, with what could reorder or hide it made visible."""
    return escape("".join(char if char.isprintable() or char in "\n\t" else "�" for char in str(value)))
