"""Commands that only leave what real ones leave, for tests of who runs what when; a log lies beside the study."""

import os
import sys
import time
from pathlib import Path


def main(words: list[str]) -> None:
    out = Path(words[words.index("--out") + 1])
    home = next(folder for folder in out.parents if (folder / "study.json").exists()).absolute().parent

    def say(what: str) -> None:
        with (home / "log").open("a") as log:
            log.write(f"{what}\n")

    say(f"begin {os.getpid()} {' '.join(words)}")
    if "anatomask" in words and (home / "break").exists():
        print("│ it broke │", file=sys.stderr)
        print("╰──────────╯", file=sys.stderr)
        raise SystemExit(3)
    try:
        while (home / "wait").exists():
            time.sleep(0.02)
    except KeyboardInterrupt:
        say("saved")
        raise SystemExit(130) from None
    if (home / "leave nothing").exists():
        return
    out.mkdir(parents=True, exist_ok=True)
    leaves = {"finetune": "scores.json", "pretrain": "model.safetensors"}[words[0]]
    (out / leaves).write_text(os.environ["OMP_NUM_THREADS"])
    say("end")
