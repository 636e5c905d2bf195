"""Edit a random face with the files of `adfd export onnx`, without torch: FOLDER PICTURE YEARS."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

folder, picture, years = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
run = {f.stem: onnxruntime.InferenceSession(f) for f in folder.glob("*.onnx")}
path = np.load(folder / "path.npz")
z = np.random.RandomState(1).randn(1, run["mapping"].get_inputs()[0].shape[1]).astype(np.float32)
w = path["w_avg"] + 0.7 * (run["mapping"].run(None, {"x": z})[0] - path["w_avg"])
for moved in (w, w + years * path["younger_year" if years < 0 else "older_year"]):
    s = run["affine"].run(None, {"x": moved.astype(np.float32)})[0]
    img = run["synthesis"].run(None, {"x": s})[0]
    n = max(img.shape[-1] // 256, 1)  # the judges read 256 px, the mean of n x n pixels
    pooled = img.reshape(1, 3, img.shape[2] // n, n, img.shape[3] // n, n).mean(axis=(3, 5))
    print(f"reads {run['age'].run(None, {'x': pooled})[0][0]:.1f} years")
Image.fromarray(((img[0].clip(-1, 1) + 1) * 127.5).round().astype(np.uint8).transpose(1, 2, 0)).save(picture)
