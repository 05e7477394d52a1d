"""A study file with every kind of table, its jobs, and how to read one."""

from maskgym.studies.plan import Job

STUDY = """
data = ["phantoms", "lgg:/nowhere"]
seeds = [0, 1]
shares = [0.1, 1.0]
[pretrain]
image_size = "32x32"
patch_size = 4
[finetune]
steps = 20
[reconstructor]
steps = 40
widths = [8, 8]
[[policy]]
agent = "a3c?width=8"
steps = 64
[[policy]]
name = "carried"
on = 0
[score]
images = 6
steps = 100
[[method]]
name = "scratch"
[[method]]
name = "random"
recipe = "random"
[[method]]
name = "shared"
recipe = "ahm"
[method.pretrain]
agent = "policy"
[[method]]
name = "abroad"
recipe = "ahm"
[method.pretrain]
agent = "carried"
[[method]]
name = "anew"
recipe = "ahm"
[method.pretrain]
agent = "a3c"
reconstructor = "reconstructor"
[[method]]
name = "inside"
recipe = "random"
[method.pretrain]
agent = "loss-map?network={reconstructor}"
[[method]]
name = "other-size"
recipe = "random"
[method.pretrain]
patch_size = 8
"""


def after(job: Job, option: str) -> str:
    return job.words[job.words.index(option) + 1]
