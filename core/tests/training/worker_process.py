"""A worker of a run on several devices, for ``conftest.ForkedWorker``; it first runs the code in the variable ``AT_START``."""

import os
from pathlib import Path

os.environ.clear()  # that of the server
os.environ.update(globals()["environment"])

import torch

from selfsup.training.run.launch import work

torch.set_num_threads(1)
exec(os.environ.get("AT_START", ""), {})
work(Path(globals()["folder"]))
