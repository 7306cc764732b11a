"""check_onnx.py DIR: every DIR/NAME.onnx is a good file, and onnxruntime makes of NAME.x what is in NAME.y."""
import pathlib
import sys

import numpy
import onnx
import onnxruntime

worst = 0
files = sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"))
for file in files:
    onnx.checker.check_model(onnx.load(file), full_check=True)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    assert shape[0] == "batch", shape
    x = numpy.fromfile(file.with_suffix(".x"), numpy.float32).reshape(100, *shape[1:])
    y = numpy.fromfile(file.with_suffix(".y"), numpy.float32).reshape(100, -1)
    for batch in 1, 32:
        got = numpy.concatenate(
            [session.run(["output"], {"input": x[i : i + batch]})[0] for i in range(0, 100, batch)]
        )
        difference = float(abs(got.reshape(100, -1) - y).max())
        worst = max(worst, difference)
        if not difference < 1e-4:
            sys.exit(f"{file.name}: batch {batch}: {difference} from ours (outputs up to {abs(y).max()})")
print(f"{len(files)} files, largest difference {worst:.2g}")
sys.exit(not files)
