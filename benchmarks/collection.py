"""Whether every token is found, and how fast: ``python benchmarks/collection.py`` from the project folder.

Ten thousand tokens of a space of exactly ten thousand, of the same with constraints and an earlier collection, and of
the collection that comes along, with exact numbers of every value.
Invariant: nothing is taken on trust; uniqueness, constraints and numbers are counted anew from the tokens.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from common import ROOT, Claims, machine, row, scratch, title

from tirada.workflows.tokens import metadata, page
from tirada.workflows.tokens.catalogue import Collection, load
from tirada.workflows.tokens.deciding import Decision, decide, read_quotas
from tirada.workflows.tokens.quotas import targets
from tirada.workflows.tokens.rarity import rarities
from tirada.workflows.tokens.sampling import choose, numbers
from tirada.workflows.tokens.space import Box, Space, Token
from tirada.workflows.tokens.supply import Supply, Trait

COUNT = 10_000
#: Ten values of each of four traits.
SIZES = (10, 10, 10, 10)
TRAITS = [Trait(name, "abcdefghij") for name in ("skin", "face", "body", "head")]
QUOTAS = ("head=Top Hat:777", "head=Little Moon:5", "skin=Moonlight:33", "body=Diving Suit:250", "face=Monocle:1")
SECONDS = 10.0


def seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def pick(
    space: Space, count: int, taken: Sequence[Token] = (), wishes: Sequence[Mapping[int, int]] = ()
) -> list[Token]:
    """Tokens with equal weights for all values."""
    supply = Supply(space, taken)
    wishes = wishes or [{} for _ in space.sizes]
    wanted = targets(supply, count, [[1.0] * size for size in space.sizes], wishes, TRAITS, 1)
    return choose(supply, count, wanted, [set(wished) for wished in wishes], 1)


def whole(claims: Claims) -> None:
    """All of a space of exactly so many, with and without constraints, and in two collections."""
    title(f"{COUNT:,} tokens of a space of {COUNT:,}")
    found: list[Token] = []
    took = seconds(lambda: found.extend(pick(Space(SIZES), COUNT)))
    claims.equal("different tokens", len(set(found)), COUNT)
    row("seconds", f"{took:.2f}")

    # 10 x 10 x 10 x 20 combinations, of which the constraint forbids half: 10,000 are left.
    boxes: list[Box] = [
        (None, None, frozenset(range(5)), frozenset(range(10))),
        (None, None, frozenset(range(5, 10)), frozenset(range(10, 20))),
    ]
    space = Space((10, 10, 10, 20), boxes)
    claims.equal("tokens that constraints leave of 20,000", space.count(), COUNT)
    found.clear()
    supply = Supply(space)
    wanted = targets(
        supply,
        COUNT,
        [[1.0] * size for size in space.sizes],
        [{}] * 4,
        [*TRAITS[:3], Trait("head", "abcdefghijklmnopqrst")],
        1,
    )
    took = seconds(lambda: found.extend(choose(supply, COUNT, wanted, [set()] * 4, 1)))
    claims.equal("of these, found", len({token for token in found if space.allows(token)}), COUNT)
    row("seconds", f"{took:.2f}")

    edge = sorted(Space(SIZES), key=lambda token: (sum(token), token))[:3_000]
    wishes = [dict(enumerate(counts)) for counts in numbers(edge, SIZES)]
    found.clear()
    took = seconds(lambda: found.extend(pick(Space(SIZES), 3_000, wishes=wishes)))
    met = sum(
        a == b
        for rows in zip(numbers(found, SIZES), numbers(edge, SIZES), strict=True)
        for a, b in zip(*rows, strict=True)
    )
    claims.equal("of 40 quotas that only 3,000 certain tokens meet, met", met, 40)
    row("seconds", f"{took:.2f}")

    first: list[Token] = []
    second: list[Token] = []
    took = seconds(lambda: first.extend(pick(Space(SIZES), 6_500)))
    took += seconds(lambda: second.extend(pick(Space(SIZES), COUNT - 6_500, taken=first)))
    claims.equal("in a collection of 6,500 and one of 3,500 that excludes it", len({*first, *second}), COUNT)
    row("seconds", f"{took:.2f}")


def foxes(claims: Claims, collection: Collection) -> Decision:
    """As many of the millions that the shipped catalogue has, with quotas and weights exact."""
    space = collection.space()
    title(f"{COUNT:,} tokens of {collection.title}, of {space.count():,} that there can be")
    wishes = read_quotas(collection, QUOTAS)
    decisions: list[Decision] = []
    took = seconds(lambda: decisions.append(decide(collection, COUNT, wishes, [], 1)))
    (decision,) = decisions
    tokens = decision.tokens
    claims.equal("different tokens", len(set(tokens)), COUNT)
    claims.equal("of these, allowed by the constraints", sum(map(space.allows, tokens)), COUNT)
    came = numbers(tokens, space.sizes)
    met = sum(came[trait][value] == number for trait, row_ in enumerate(wishes) for value, number in row_.items())
    claims.equal("quotas that are met to the one", met, len(QUOTAS))
    exact = sum(
        have == want for rows in zip(came, decision.wanted, strict=True) for have, want in zip(*rows, strict=True)
    )
    claims.equal("values that come as often as weights and quotas say", exact, sum(space.sizes))
    claims.hold("seconds to decide", took < SECONDS, f"{took:.2f}", f"{SECONDS:.0f}")
    later: list[Decision] = []
    took = seconds(lambda: later.append(decide(collection, COUNT, wishes, tokens, 1)))
    claims.equal("tokens of a second collection that the first has", len({*later[0].tokens} & {*tokens}), 0)
    row("seconds to decide", f"{took:.2f}")
    return decision


def records(collection: Collection, decision: Decision, folder: Path) -> None:
    """What is written of them, without the images."""
    title(f"Records of {COUNT:,} tokens")
    about = metadata.About(title=collection.title, description=collection.description, token=collection.token)
    tokens = [
        metadata.Made(
            number=number,
            file=f"{number:05}.png",
            attributes={trait.title: trait.names[value] for trait, value in zip(collection.traits, token, strict=True)},
        )
        for number, token in enumerate(decision.tokens, start=1)
    ]
    start = time.perf_counter()
    found = rarities([token.attributes for token in tokens])
    row("rarity, seconds", f"{time.perf_counter() - start:.2f}")
    row("metadata of two standards, seconds", f"{seconds(lambda: metadata.write_tokens(folder, about, tokens)):.2f}")
    row("rarity.csv, seconds", f"{seconds(lambda: metadata.write_rarity(folder, about, tokens, found)):.2f}")
    start = time.perf_counter()
    text = page.render(about, tokens, found, (1024, 1024), planned=COUNT, numbers=page.Numbers())
    row("collection.html, seconds", f"{time.perf_counter() - start:.2f}")
    row("collection.html, MB", f"{len(text.encode()) / 1e6:.2f}")


def main() -> int:
    """Measure and print; 1 where something is not as it has to be."""
    print(machine())
    claims = Claims()
    whole(claims)
    collection = load(ROOT / "data", "foxes")
    decision = foxes(claims, collection)
    with scratch() as folder:
        records(collection, decision, folder)
    return claims.conclude()


if __name__ == "__main__":
    sys.exit(main())
