"""Which engines the tests can try on this machine."""

import pytest

from engines import onnx_model, openvino_engine
from engines.native import libraries

needs_native = pytest.mark.skipif(libraries.why_not() is not None, reason=str(libraries.why_not()))
_why_not_avx512 = libraries.why_not(*libraries.FOR_AVX512)
needs_avx512 = pytest.mark.skipif(_why_not_avx512 is not None, reason=str(_why_not_avx512))
needs_openvino = pytest.mark.skipif(not openvino_engine.is_installed(), reason="openvino is not installed")
needs_onnx = pytest.mark.skipif(onnx_model.why_not() is not None, reason=str(onnx_model.why_not()))
ENGINES = [
    "torch",
    pytest.param("openvino", marks=needs_openvino),
    pytest.param("native", marks=needs_native),
]
DETECTORS = [*ENGINES, pytest.param("avx512", marks=needs_avx512)]  # and what else runs on our AVX-512 kernels
