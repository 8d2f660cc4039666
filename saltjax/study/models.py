"""The models of a study, by the content of their files: one that changed since the plan is noticed."""

from collections.abc import Iterable
from pathlib import Path

from saltjax.errors import UserError
from saltjax.hub.locate import locate
from saltjax.study.design import Study
from saltjax.study.yamlstudy import settings_of
from saltjax.train.origin import model_digests

Models = dict[str, dict[str, str]]  # name -> {file name: SHA-256}
JUDGE = "the judge"  # no model's name: it has a space


def places(study: Study) -> dict[str, str]:
    """{name: directory or hub id} of the models that learn, and of the judge if it is loaded here."""
    judge = {JUDGE: study.judge.model} if study.judge and not study.judge.url else {}
    return study.models | judge


def read_models(study: Study, names: Iterable[str]) -> Models:
    """Of those that are named in `places`, each hashed once. Raises UserError with a line for every model that cannot
    be had."""
    notes = Path(settings_of(study).cache).expanduser() / "fingerprints"
    found, problems, where = {}, [], places(study)
    for name in names:
        try:
            found[name] = model_digests(locate(where[name]), notes)
        except UserError as error:
            problems.append(f"{'judge.model' if name == JUDGE else f'models.{name}'}: {error}")
    if problems:
        raise UserError("\n".join(problems))
    return found


def check_models(study: Study, planned: Models, names: Iterable[str]) -> None:
    """Raises UserError, naming the files, where models are not what they were when the study was planned."""
    where = places(study)
    changed = [
        str(Path(where[name]) / file)
        for name, files in read_models(study, names).items()
        for file in sorted({*files, *planned[name]})
        if files.get(file) != planned[name].get(file)
    ]
    if changed:
        raise UserError(f"{', '.join(changed)}: changed since the study was planned; plan it in another folder")
