"""What every backend must pass: contract suites to subclass, models, and wrappers that inject faults.

It needs the extra ``testing`` (pytest and Hypothesis). Nothing outside of tests imports it.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("lunacore.testing.record_store", "lunacore.testing.expiring_store")
pytest.register_assert_rewrite(
    "lunacore.testing.keyring_store", "lunacore.testing.key_provider", "lunacore.testing.audit_sink"
)
