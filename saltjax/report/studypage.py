"""A study as one self-contained HTML page: pictures, then the tables; no scripts, nothing fetched from anywhere."""

from collections.abc import Iterator
from html import escape
from typing import Any

from saltjax.report.page import filled, table
from saltjax.report.studypictures import task_picture
from saltjax.study.tables import tables


def study_page(found: dict[str, Any], json_name: str) -> str:
    return filled(f"saltjax study: {found['name']}", "\n".join(_parts(found)), json_name)


def _parts(found: dict[str, Any]) -> Iterator[str]:
    runs, languages = found["runs"], found["languages"]
    yield (
        f"<p>{runs['done']:,} of {runs['planned']:,} runs. Seen languages: {escape(', '.join(languages['seen']))}; "
        f"unseen: {escape(', '.join(languages['unseen']) or 'none')}; "
        f"in every run: {escape(languages['core'] or 'none')}.</p>"
    )
    if found["warnings"]:
        yield '<ul class="warnings">' + "".join(f"<li>{escape(one)}</li>" for one in found["warnings"]) + "</ul>"
    yield "<h2>Curves</h2>"
    for task, metric in found["metrics"].items():
        if curves := [one for one in found["curves"] if one["task"] == task]:
            yield task_picture(task, metric, curves)
    yield "<h2>Numbers</h2>"
    for one in tables(found):
        yield f"<h3>{escape(one.title)}</h3>"
        if one.remark:
            yield f'<p class="note">{escape(one.remark)}</p>'
        yield table(one.header, one.rows)
