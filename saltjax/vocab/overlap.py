"""Which tokens of the target tokenizer the source tokenizer has as well."""

from dataclasses import dataclass

from saltjax.vocab.dictionary import Pairs, translations
from saltjax.vocab.roles import match_roles
from saltjax.vocab.surface import Surface, Token
from saltjax.vocab.vocabulary import Vocabulary


@dataclass(frozen=True)
class Overlap:
    """shared: target id -> source id of ordinary tokens; among them those of which a dictionary says that they mean the
    same, and the fuzzy ones, which `translated` and `fuzzy` list by target id. special: the same of special tokens;
    roles says why: target id -> role, or "spelling"."""

    shared: dict[int, int]
    special: dict[int, int]
    roles: dict[int, str]
    fuzzy: frozenset[int] = frozenset()
    translated: frozenset[int] = frozenset()


def match(source: Vocabulary, target: Vocabulary, fuzzy: bool = False, pairs: Pairs = ()) -> Overlap:
    """Match a target vocabulary to a source vocabulary.

    Ordinary tokens by surface: same bytes, same word start. Where one side does not know the word start (None) it may
    be either: a target None takes a source None, else the unmarked token, else the marked one; a target True or False
    takes its equal, else a source None. Several source tokens with one surface: an ordinary token goes before a byte
    token (<0x41>), then the lowest id; several target tokens with one surface all get that one, but for byte tokens
    with an ordinary twin in the target (its tokenizer never gives them): those take a source byte token or nothing,
    for a second copy of a row would halve the probability of the first.

    Special tokens by role (`match_roles`), whatever they are called; special tokens without a role on either side, by
    equal text. A special token never matches an ordinary one, and unused tokens match nothing.

    `pairs` of a bilingual dictionary give a target token without an exact match the source token that translates it
    (`dictionary.translations`).

    `fuzzy` gives a target token without any of these the source token that differs only in the word start, or else
    only in case, or else in both (lower-cased text compared; then ordinary, lowest id). Text tokens only.
    """
    exact: dict[Surface, int] = {}
    byte_tokens: dict[Surface, int] = {}
    for token in sorted(_ordinary(source), key=_rank):
        exact.setdefault(_surface(token), token.id)
        if token.kind == "bytes":
            byte_tokens.setdefault(_surface(token), token.id)
    texts = {token.surface for token in target.tokens if token.kind == "text"}
    shared = {}
    for token in _ordinary(target):
        table = byte_tokens if token.kind == "bytes" and token.surface in texts else exact
        found = next((table[s] for s in _equals(_surface(token)) if s in table), None)
        if found is not None:
            shared[token.id] = found

    translated = {u: e for u, e in translations(source, target, pairs).items() if u not in shared}
    shared |= translated
    fuzzy_ids = _add_fuzzy(shared, source, target) if fuzzy else frozenset()

    special, reasons = {}, {}
    for target_id, (source_id, role) in match_roles(source.roles, target.roles).items():
        special[target_id], reasons[target_id] = source_id, role
    spelled = {token.piece: token.id for token in reversed(_without_role(source))}
    for token in _without_role(target):
        if token.piece in spelled:
            special[token.id], reasons[token.id] = spelled[token.piece], "spelling"
    return Overlap(dict(sorted(shared.items())), special, reasons, fuzzy_ids, frozenset(translated))


def _equals(surface: Surface) -> tuple[Surface, ...]:
    text, start = surface
    if start is None:
        return surface, Surface(text, False), Surface(text, True)
    return surface, Surface(text, None)


def _add_fuzzy(shared: dict[int, int], source: Vocabulary, target: Vocabulary) -> frozenset[int]:
    folded: dict[str, list[Token]] = {}
    for token in sorted(_ordinary(source), key=_rank):
        if token.kind == "text":
            folded.setdefault(_fold(token), []).append(token)
    added = set()
    for token in _ordinary(target):
        if token.kind != "text" or token.id in shared or not _surface(token).text.strip():
            continue
        text, start = _surface(token)

        def distance(other: Token, text: bytes = text, start: bool | None = start) -> tuple[bool, bool]:
            return _surface(other).text != text, _surface(other).word_start != start

        if candidates := folded.get(_fold(token)):
            shared[token.id] = min(candidates, key=distance).id
            added.add(token.id)
    return frozenset(added)


def _ordinary(vocabulary: Vocabulary) -> list[Token]:
    return [token for token in vocabulary.tokens if token.surface is not None]


def _without_role(vocabulary: Vocabulary) -> list[Token]:
    with_role = set(vocabulary.roles.values())
    return [token for token in vocabulary.tokens if token.kind == "special" and token.id not in with_role]


def _surface(token: Token) -> Surface:
    assert token.surface is not None
    return token.surface


def _fold(token: Token) -> str:
    return _surface(token).text.decode().lower()


def _rank(token: Token) -> tuple[bool, int]:
    return token.kind == "bytes", token.id
