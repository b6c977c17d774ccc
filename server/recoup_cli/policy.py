"""`recoup policy`: is this file right, and what would it do?"""

import click

from recoup_cli import (
    policy_apply,
    policy_check,
    policy_diff,
    policy_explain,
    policy_history,
    policy_replay,
    policy_simulate,
    policy_tests,
    policy_trials,
    policy_versions,
)


@click.group(
    epilog="From a file to live: check, test, explain, diff, simulate; then submit, shadow, activate "
    "(docs/policies/first-policy.md)."
)
def policy() -> None:
    """Check policy files, ask what they would do, and put them in force."""


for command in (
    policy_check.check,
    policy_tests.test,
    policy_explain.explain_command,
    policy_check.schema,
    policy_check.problems,
    policy_replay.replay,
    policy_history.history,
    policy_diff.diff,
    policy_simulate.simulate_command,
    policy_apply.apply,
    policy_versions.versions,
    policy_versions.show,
    policy_versions.submit,
    policy_versions.shadow,
    policy_versions.activate,
    policy_versions.retire,
    policy_versions.rollback,
    policy_trials.shadow_seen,
    policy_trials.experiment,
    policy_trials.migrate,
):
    policy.add_command(command)
