"""What holds for every test: nothing is skipped in silence, and hypothesis is the same in CI as at a desk."""

from collections.abc import Generator

import hypothesis
import pytest

# No deadline: a shared machine under coverage is slow now and then, and a test that is right must not fail for it.
hypothesis.settings.register_profile("annals", deadline=None, print_blob=True)
hypothesis.settings.load_profile("annals")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skipped test has proven nothing: it fails, and says what was missing."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: a skip is a failure here: {reason}"
    return report
