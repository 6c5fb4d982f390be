"""The harness needs a real Mosquitto: without one its tests are skipped, or fail where CI=true."""

import os

import pytest

from faults.broker import INSTALL, find_mosquitto


@pytest.fixture(autouse=True)
def mosquitto_is_installed(request):
    if request.node.get_closest_marker("broker") and find_mosquitto() is None:
        if os.environ.get("CI") == "true":
            pytest.fail(INSTALL)
        pytest.skip(INSTALL)
