"""Which engines the tests can try on this machine."""

import pytest

from runtime import native_engine, openvino_engine

needs_native = pytest.mark.skipif(native_engine.why_not() is not None, reason=str(native_engine.why_not()))
needs_openvino = pytest.mark.skipif(not openvino_engine.is_installed(), reason="openvino is not installed")
ENGINES = [
    "torch",
    pytest.param("openvino", marks=needs_openvino),
    pytest.param("native", marks=needs_native),
]
