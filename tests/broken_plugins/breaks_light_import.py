"""Imports an engine before it is needed."""

import onnxruntime
from squares import *
