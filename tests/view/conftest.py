import threading

import gymnasium as gym
import pytest
import uvicorn

from maskgym.view.server import bind, make_app
from maskgym.view.session import Session


@pytest.fixture(scope="session")
def session():
    def game(env_id):
        size = {"MaskMIM3D-v0": "32x32x32", "MaskMIMSmall-v0": "64x64"}[env_id]
        network = {"MaskMIM3D-v0": "phantoms-3d", "MaskMIMSmall-v0": "phantoms-64"}[env_id]

        def make(ratio, queries):
            if queries:
                more = {"image_size": size, "reconstructor": network, "queries": queries}
                return gym.make("maskgym:MaskMIMQuery-v0", split="test", ratio=ratio, **more)
            return gym.make(f"maskgym:{env_id}", split="test", ratio=ratio)

        return make

    return Session({"small": game("MaskMIMSmall-v0"), "volumes": game("MaskMIM3D-v0")}, queries=3)


@pytest.fixture(scope="session")
def port(session):
    """The port of a server that runs while the tests do."""
    with bind(0) as place:
        config = uvicorn.Config(make_app(session), log_level="warning", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]}, daemon=True)
        thread.start()
        yield place.getsockname()[1]
        server.should_exit = True
        thread.join(10)
