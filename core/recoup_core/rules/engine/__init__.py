"""From a policy to something that decides: the rules engine, held to a plain evaluator."""
