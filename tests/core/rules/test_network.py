"""What is computed beforehand says of every fact what the engine would."""

from itertools import product

import pytest

from recoup_core.rules.engine.network import And, Atom, Expr, Or, predicate
from recoup_core.rules.engine.ruleset import Ruleset, import_engine

EUR, USD, JPY = (Atom("c", "eq", word) for word in ("EUR", "USD", "JPY"))
EXPRESSIONS: dict[str, Expr] = {
    **{op: Atom("n", op, 2) for op in ("eq", "neq", "lt", "lte", "gt", "gte", "ex", "nex")},
    "a text": Atom("c", "neq", "EUR"),
    "a truth": Atom("t", "eq", True),
    "all": And((Atom("n", "gte", 1), Atom("n", "lt", 3), Atom("c", "ex"))),
    "a list": Or((EUR, USD), exclusive=True),
    "amounts": Or((And((EUR, Atom("n", "lt", 2))), And((USD, Atom("n", "gte", 2)))), exclusive=True),
    "a word twice": Or((And((EUR, Atom("n", "lt", 1))), And((EUR, Atom("n", "gt", 2))), JPY), exclusive=False),
    "words of two texts": Or((EUR, Atom("d", "eq", "USD")), exclusive=False),
    "numbers": Or((Atom("n", "eq", 1), Atom("n", "eq", 3)), exclusive=True),
    "a part without a word": Or((And((EUR, Atom("n", "lt", 2))), Atom("t", "eq", True)), exclusive=False),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_predicate_says_what_the_engine_says(name: str) -> None:
    """Every kind of expression over every fact, absent properties included."""
    expr = EXPRESSIONS[name]
    ruleset = Ruleset(import_engine(), [(Atom("e", "eq", 1), *(expr.parts if isinstance(expr, And) else (expr,)))])
    holds = predicate(expr)

    for number, word, truth in product((None, 0, 1, 2, 3), (None, "EUR", "USD", "*"), (None, True, False)):
        fact = {name: value for name, value in (("n", number), ("c", word), ("t", truth)) if value is not None}
        parts = ['"e":1', *(f'"{key}":{_json(value)}' for key, value in fact.items())]
        assert holds(fact) is (ruleset.first("{" + ",".join(parts) + "}") == 0)
    ruleset.close()


def _json(value: int | str | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)
