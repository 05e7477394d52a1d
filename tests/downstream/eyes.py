"""Made-up eyes in Messidor-2's layout: the higher the grade, the more of the eye is spotted."""

from pathlib import Path

import numpy as np
from PIL import Image


def eyes(folder: Path, count: int = 100) -> Path:
    (folder / "IMAGES").mkdir(parents=True)
    lines = ["image_id,adjudicated_dr_grade"]
    y, x = np.indices((48, 48)) - 24
    for number in range(count):
        rng, grade = np.random.default_rng(number), number % 5
        eye = np.where((y**2 + x**2 < 22**2)[..., None], np.array([180, 90, 30]), 0)
        spots = rng.random((48, 48)) < 0.15 * grade
        eye = np.where((spots & (y**2 + x**2 < 22**2))[..., None], np.array([250, 230, 160]), eye)
        eye = np.clip(eye + rng.normal(0, 4, eye.shape), 0, 255).astype(np.uint8)
        Image.fromarray(eye).save(folder / "IMAGES" / f"eye_{number:03d}.png")
        lines.append(f"eye_{number:03d}.png,{grade}")
    (folder / "messidor_data.csv").write_text("\n".join(lines) + "\n")
    return folder
