"""Make a small folder `stl10/` of real images, without a download.

STL-10 itself is 2.5 GB. What this writes in its place are scikit-learn's 1,797 handwritten digits (they come with
the package), as 16x16 grey images: enough to watch a real model learn in seconds. data.json says so to who reads it.
"""

import json
from pathlib import Path

import numpy as np
from scipy.ndimage import zoom
from sklearn.datasets import load_digits

DESCRIPTION = (
    "a stand-in for STL-10: the 1,797 handwritten digits that come with scikit-learn (UCI optical recognition of "
    "handwritten digits, test set), enlarged from 8x8 to 16x16 grey pixels; not STL-10's photographs"
)


def main() -> None:
    """Write stl10/images.npz (arrays `images` and `labels`) and stl10/data.json."""
    folder = Path("stl10")
    folder.mkdir(exist_ok=True)
    digits = load_digits()
    enlarged = zoom(digits.images / 16, (1, 2, 2), order=1)  # 16 is the brightest pixel of the original
    images = np.round(enlarged * 255).astype(np.uint8)
    np.savez_compressed(folder / "images.npz", images=images, labels=digits.target.astype(np.uint8))
    about = {"description": DESCRIPTION, "images": len(images), "shape": images.shape[1:], "pixels": "0 to 255"}
    (folder / "data.json").write_text(json.dumps(about, indent=2) + "\n")
    print(f"{folder}/: {len(images)} images of 16x16 pixels, {DESCRIPTION}")


if __name__ == "__main__":
    main()
