"""The games of several queries, `MaskMIMQuery-v0` and its small sister: single and vector."""

from __future__ import annotations

from typing import ClassVar

from maskgym.envs.episodes import OneShot
from maskgym.envs.mask_mim import MaskMIM
from maskgym.envs.query import Queries
from maskgym.envs.vector import MaskMIMVector


class MaskMIMQuery(MaskMIM):
    """Find a mask that a frozen network cannot rebuild, by trying a few.

    ## Description
    The image, the grid, the network and the reward of a mask are those of MaskMIM, but an episode has several steps. A
    step tries a mask, exactly K patches hidden as ever, and is told what every patch of it came to. What counts in the
    end is the best mask tried. How good a mask can be had for how many questions to the network is the question of this
    game; with `queries=1` it is the one-step game, rewarded from the random baseline up.

    ## Action Space
    That of MaskMIM: `MultiBinary(N)`, or `Box(-1, 1, (N,))` with `action_type="score"`.

    ## Observation Space
    With `observation="dict"` (default) a `Dict`:

    | key | space | what it is |
    |---|---|---|
    | `image` | `Box(0, 255, (H, W, C), uint8)` | the image, as in MaskMIM |
    | `best_mask` | `MultiBinary(N)` | the best mask so far |
    | `best_reward` | `Box(-100, 100, (N,), float32)` | its patch rewards |
    | `last_mask` | `MultiBinary(N)` | the mask tried last |
    | `last_reward` | `Box(-100, 100, (N,), float32)` | its patch rewards |
    | `left` | `Box(0, 1, (1,), float32)` | share of the queries that is left |

    With `observation="channels"` the same as one image, `Box(0, 255, (H, W, C + 5), uint8)`: the channels of the image,
    then one channel each for best mask (0 or 255), best patch rewards, last mask, last patch rewards and queries left.
    A patch reward r is shown as 128 + 64 sign(r) sqrt(|r|).

    ## Rewards
    What was gained over the best so far, 0 if nothing was: `max(0, R_t - best)`, where R_t is the reward of the mask
    tried at step t, the mean over its patches, and best the highest of all before it. An episode begins with a random
    baseline mask, whose reward R_0 is the first best. The rewards of an episode therefore add up to
    `max(R_0, ..., R_T) - R_0`: the best reward found minus that of the baseline.

    ## Starting State
    An image as in MaskMIM, and its random baseline mask, which is both best and last mask. It is always the same one of
    an image, so that episodes of one image can be compared; it is evaluated once for each image and costs no query.

    ## Episode End
    `terminated=True` after `queries` masks, or as soon as the best mask so far is tried again: that is how an agent
    says that it has made its choice. Such a step costs no query and earns nothing. A rule that needs no extra bit
    leaves the action space that of MaskMIM, and no agent stops by accident: a mask completed at random is hardly ever
    the same. Never truncated: the queries left are part of the observation.

    ## Information
    `index` and, after a reset, `baseline` (R_0). After a step also `mask`, `patch_reward`, `requested`, `lesion_cover`
    as in MaskMIM, `best` (the highest reward so far, R_0 included) and `queries` (asked in this episode: one a mask,
    two under a reward that compares two networks, and what the agent asked of the network it is lent).

    ## Arguments
    The fields of the settings, by keyword.

    ## Vectorized environment
    `gym.make_vec("maskgym:MaskMIMQuery-v0", num_envs=64)` plays all episodes in one batch, one forward a step; see
    docs/environments/wrappers.md for its autoreset modes.

    ## Version History
    * v0: first release
    """

    episodes_type: ClassVar[type[OneShot]] = Queries


class MaskMIMQueryVector(MaskMIMVector):
    """`MaskMIMQuery` many times over, one forward of the network a step."""

    episodes_type: ClassVar[type[OneShot]] = Queries
